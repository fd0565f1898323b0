import { audited } from '../audit/audited.ts';
import { SidekeyError } from '../errors.ts';
import { answerEvent } from './answer-event.ts';
import type { Answer, Approval } from './approval.ts';
import type { DeskParts } from './desk.ts';

/**
 * As `ApprovalStore.answer`, on record first; an answer that does not come about is on record as that.
 * @throws SidekeyError `audit_unavailable`: nobody was answered; `store_unavailable`
 */
export async function giveAnswer(
  { store, audit }: Pick<DeskParts, 'store' | 'audit'>,
  id: string,
  answer: Answer,
): Promise<Approval | null> {
  const asked = await store.approvals.get(id);
  if (asked === null || asked.answer !== null) return null;
  // Somebody was quicker, or it ended in this moment.
  const over = new SidekeyError('approval_over', `The request ${id} waits no longer.`, {
    hint: 'sidekey approve --list',
  });
  try {
    return await audited(audit, answerEvent(asked, answer), async () => {
      const answered = await store.approvals.answer(id, answer);
      if (answered === null) throw over;
      return answered;
    });
  } catch (error) {
    if (error === over) return null;
    throw error;
  }
}
