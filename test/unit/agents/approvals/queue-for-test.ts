import type { Answer, Approval, Question } from '../../../../src/domain/approval.ts';
import type { ApprovalQueue } from '../../../../src/agents/approvals/queue.ts';

/** A queue in memory that keeps the answers it was given. */
export interface QueueForTest extends Pick<ApprovalQueue, 'get' | 'answer' | 'body'> {
  readonly said: readonly Answer[];
  /** Withdraws the approval, as when the client leaves: later answers are refused. */
  withdraw(id: string): void;
}

/** Accepts answers as the store does. */
export function queueForTest(...questions: readonly Question[]): QueueForTest {
  const approvals = new Map<string, Approval>(questions.map((each) => [each.id, { ...each, answer: null }]));
  const said: Answer[] = [];
  return {
    said,
    body: () => null,
    get: async (id) => approvals.get(id) ?? null,
    async answer(id, answer) {
      said.push(answer);
      const approval = approvals.get(id);
      if (approval === undefined || approval.answer !== null || approval.expiresAt <= answer.at) return null;
      const answered = { ...approval, answer };
      approvals.set(id, answered);
      return answered;
    },
    withdraw: (id) => void approvals.delete(id),
  };
}
