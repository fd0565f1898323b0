/** The part of the store where requests wait for people. All times are milliseconds since the epoch. */
import type { Answer, Approval, Asking, Question, StandingApproval } from '../approvals/approval.ts';

export interface ApprovalStore {
  /**
   * Takes a question in; of a path 2,048 characters are kept, of a reason and a purpose 1,024.
   * @throws SidekeyError `grant_missing` where the grant, the agent or the lease is gone; `already_exists` where the id
   * was given before
   */
  ask(question: Question): Promise<void>;
  /** Null: there is none of that id (any more). */
  get(id: string): Promise<Approval | null>;
  /** Says that these wait still, until this time at least: `aliveUntil`. */
  keepAlive(ids: readonly string[], until: number): Promise<void>;
  /** Those that wait at this time (see `isWaiting`), in order of asking. */
  waiting(at: number): Promise<Approval[]>;
  /**
   * Answers a question that waits at `answer.at`, and keeps a yes that reaches further, at once. Null: it waits no
   * longer, and nothing was written.
   * @throws SidekeyError `input_invalid` for a yes as long as the lease, where there is none; nothing was written
   */
  answer(id: string, answer: Answer): Promise<Approval | null>;
  /**
   * Takes back a question that nobody has answered, and forgets it: from then on nobody can. Answers what was said
   * before; null: nothing.
   */
  withdraw(id: string): Promise<Answer | null>;
  /**
   * A yes that stands at this time for the same agent, lease, grant and rule; null: none. Under a lease none stands
   * longer than that.
   */
  standing(who: Asking, at: number): Promise<StandingApproval | null>;
  /** All that stand at this time, in order of the answers. */
  listStanding(at: number): Promise<StandingApproval[]>;
  /** Ends a yes. Null: there is none of that id. */
  revoke(id: string): Promise<StandingApproval | null>;
  /** Forgets questions and their answers that were asked and over before this time, but for a yes that stands then. */
  removeEnded(before: number): Promise<void>;
}
