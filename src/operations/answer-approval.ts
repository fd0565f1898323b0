import { recordChange } from '../audit/log.ts';
import {
  answerEvent,
  answerOf,
  type Approval,
  type ApprovalResponse,
  isWaiting,
} from '../domain/approval.ts';
import type { AuditLog } from '../domain/event.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import type { Store } from '../store/store.ts';

/** Answers of people to requests that wait. */

/**
 * Records an answer in the audit log, then writes it to the store, which the pending request polls.
 *
 * @param given `by` as in `Answer`; `at` in milliseconds since the epoch
 * @throws SidekeyError `not_found`, `approval_over`, `input_invalid` for the lease of a request that has
 * none; `audit_unavailable`, `store_unavailable`
 */
export async function respond(
  { store, audit }: { readonly store: Pick<Store, 'approvals'>; readonly audit: AuditLog },
  given: { readonly id: string; readonly said: ApprovalResponse; readonly by: string; readonly at: number },
): Promise<Approval> {
  const { id, said, by, at } = given;
  const asked = stillWaiting(await store.approvals.get(id), id, at);
  if (said === 'lease' && asked.who.lease === null) {
    throw inputInvalid(
      `The request ${id} has no lease.`,
      remedy('approval.answer', { approval: id, answer: 'for', span: '15m' }),
    );
  }
  const answer = answerOf(said, by, at);
  return recordChange(audit, answerEvent(asked, answer), async () => {
    const answered = await store.approvals.answer(id, answer);
    // Another approver may have answered, or the question may have expired meanwhile.
    return answered ?? stillWaiting(await store.approvals.get(id), id, Infinity);
  });
}

/** @throws SidekeyError `not_found`, `approval_over` */
function stillWaiting(approval: Approval | null, id: string, at: number): Approval {
  if (approval === null) throw unknownApproval(id);
  const hint = remedy('approval.list');
  const { answer } = approval;
  if (answer !== null) {
    const verdict = answer.outcome === 'denied' ? 'no' : 'yes';
    const isForOne = answer.outcome === 'denied' || answer.reach.kind === 'once';
    throw new SidekeyError(
      'approval_over',
      `The request ${id} was answered before: ${verdict}, by ${answer.by}.`,
      { hint: isForOne ? hint : remedy('approval.revoke', { approval: id }) },
    );
  }
  if (isWaiting(approval, at)) return approval;
  throw new SidekeyError('approval_over', `Too late: the request ${id} is no longer waiting.`, { hint });
}

export function unknownApproval(id: string): SidekeyError {
  return new SidekeyError(
    'not_found',
    `No request ${id} is waiting: it timed out, its client left, or the ID is wrong.`,
    { hint: remedy('approval.list') },
  );
}
