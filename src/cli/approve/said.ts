/** What a person says to a question, and what follows from it. */
import { answerEvent } from '../../approvals/answer-event.ts';
import { isWaiting, type Answer, type Approval } from '../../approvals/approval.ts';
import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { State } from '../../state.ts';
import { spanText } from '../span.ts';
import { beyondText } from './words.ts';

/** No; yes, to the one request; to all that the rule matches while the lease lives; or for so many milliseconds. */
export type Said = 'deny' | 'once' | 'lease' | { readonly forMs: number };

/**
 * Answers a question: in the audit first, then in the store, where the request that waits finds it.
 *
 * @param by as in `Answer`
 * @returns what came of it, as a sentence
 * @throws SidekeyError `not_found`, `approval_over`, `input_invalid` for the lease of a request that has none;
 * `audit_unavailable`, `store_unavailable`
 */
export async function say(
  { store, audit }: Pick<State, 'store' | 'audit'>,
  {
    id,
    said,
    by,
    at,
  }: { readonly id: string; readonly said: Said; readonly by: string; readonly at: number },
): Promise<{ readonly approval: Approval; readonly sentence: string }> {
  const found = await store.approvals.get(id);
  const asked = stillWaiting(found, id, at);
  if (said === 'lease' && asked.who.lease === null) throw underNoLease(asked);
  const answer = answerOf(said, by, at);
  const approval = await audited(audit, answerEvent(asked, answer), async () => {
    const answered = await store.approvals.answer(id, answer);
    // Somebody was quicker, or it ended in this moment.
    return answered ?? stillWaiting(await store.approvals.get(id), id, Infinity);
  });
  return { approval, sentence: sentenceOf(approval, said) };
}

function answerOf(said: Said, by: string, at: number): Answer {
  if (said === 'deny') return { at, by, outcome: 'denied' };
  const reach = typeof said === 'string' ? { kind: said } : ({ kind: 'until', at: at + said.forMs } as const);
  return { at, by, outcome: 'allowed', reach };
}

function sentenceOf(approval: Approval, said: Said): string {
  const { id } = approval;
  if (said === 'deny') return `Denied ${id}: the request is refused.`;
  if (said === 'once') return `Allowed ${id}: this request alone.`;
  const until = said === 'lease' ? 'as long as the lease lives' : `for ${spanText(said.forMs)}`;
  return `Allowed ${id}, and ${beyondText(approval)}, ${until}.`;
}

/** @throws SidekeyError `not_found`, `approval_over` */
function stillWaiting(approval: Approval | null, id: string, at: number): Approval {
  const hint = 'sidekey approve --list';
  if (approval === null) {
    throw new SidekeyError(
      'not_found',
      `No request ${id} waits: its time was over, its client left, or it has another id.`,
      { hint },
    );
  }
  const { answer } = approval;
  if (answer !== null) {
    const said = answer.outcome === 'denied' ? 'no' : 'yes';
    throw new SidekeyError(
      'approval_over',
      `The request ${id} was answered before: ${said}, by ${answer.by}.`,
      {
        hint:
          answer.outcome === 'denied' || answer.reach.kind === 'once'
            ? hint
            : `sidekey approve --revoke ${id}`,
      },
    );
  }
  if (isWaiting(approval, at)) return approval;
  throw new SidekeyError('approval_over', `It is too late: the request ${id} waits no longer.`, { hint });
}

function underNoLease({ id }: Approval): SidekeyError {
  return new SidekeyError('input_invalid', `The request ${id} comes under no lease.`, {
    hint: `sidekey approve ${id} --for 15m`,
  });
}
