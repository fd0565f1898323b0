import type { AuditLog } from '../../domain/event.ts';
import { recordChange } from '../../audit/log.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { remedy } from '../../lib/hint.ts';
import type { Gone } from '../../proxy/http/message.ts';
import type { ApprovalStore } from '../../store/store.ts';
import { type Answer, answerEvent, type Approval, type Question } from '../../domain/approval.ts';

/** Reason why a wait ended. `removed`: the agent, lease or grant was removed, and with it the question. */
type End =
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'late' | 'gone' | 'stopping' | 'removed' };

/** Milliseconds for which a question can be answered after the last heartbeat of its process. */
const leaseMs = 10_000;

/** Milliseconds between heartbeats: several may fail. */
const heartbeatMs = 2_000;
/** Milliseconds between polls for answers of other processes; a poll takes about a microsecond. */
const pollMs = 100;

/** Returns the requests of this process that wait for an answer. Polls the store: any process may answer. */
function createPendingApprovals({ store, now, timers }: Pick<QueueParts, 'store' | 'now' | 'timers'>) {
  const waiting = new Map<string, (how: End) => void>();
  /** Ids of questions whose wait has ended and which must still be withdrawn. */
  const over = new Set<string>();
  let stopLooking: (() => void) | null = null;
  let beatAt = 0;
  let seen = -1;
  let closed = false;

  async function look(): Promise<void> {
    stopLooking = null;
    try {
      if (now() >= beatAt) await beat();
      await readAnswers();
    } catch {
      // A failing store may work again before the timeout.
    }
    lookLater();
  }

  async function beat(): Promise<void> {
    beatAt = now() + heartbeatMs;
    if (waiting.size > 0) await store.approvals.keepAlive([...waiting.keys()], now() + leaseMs);
    for (const id of over) {
      await store.approvals.withdraw(id);
      over.delete(id);
    }
  }

  async function readAnswers(): Promise<void> {
    const epoch = store.epoch();
    if (epoch === seen) return;
    for (const [id, end] of waiting) {
      const question = await store.approvals.get(id);
      if (question === null) end({ kind: 'removed' });
      else if (question.answer !== null) end({ kind: 'answer', answer: question.answer });
    }
    // A change during these reads is read at the next poll.
    seen = epoch;
  }

  function lookLater(): void {
    if (!closed && waiting.size + over.size > 0) stopLooking ??= timers.after(pollMs, () => void look());
  }

  return {
    /** Resolves with the first event that ends the wait. */
    until({ id, expiresAt }: Question, leaving: Gone): Promise<End> {
      return new Promise((resolve) => {
        const end = (how: End) => {
          if (!waiting.delete(id)) return;
          cancel();
          leaving.forget(left);
          resolve(how);
        };
        const left = () => end({ kind: 'gone' });
        // A question that was just stored counts as a heartbeat.
        if (waiting.size + over.size === 0) beatAt = now() + heartbeatMs;
        waiting.set(id, end);
        const cancel = timers.after(expiresAt - now(), () => end({ kind: 'late' }));
        leaving.listen(left);
        if (leaving.already) left();
        else if (closed) end({ kind: 'stopping' });
        // The answer may be older than this wait.
        seen = -1;
        lookLater();
      });
    },
    /** Ends the wait for this question, if any, with the answer. */
    answered: (id: string, answer: Answer) => waiting.get(id)?.({ kind: 'answer', answer }),
    /** Calls `ApprovalStore.withdraw`. Rejects if that fails, and tries again later. */
    async withdraw(id: string): Promise<Answer | null> {
      try {
        return await store.approvals.withdraw(id);
      } catch (error) {
        over.add(id);
        lookLater();
        throw error;
      }
    },
    /** Ends all present and future waits. */
    close(): void {
      closed = true;
      stopLooking?.();
      for (const end of waiting.values()) end({ kind: 'stopping' });
    },
  };
}

/**
 * Calls `ApprovalStore.answer` after it has recorded the answer; a failed answer is recorded as one.
 * @throws SidekeyError `audit_unavailable`: nobody was answered; `store_unavailable`
 */
async function giveAnswer(
  { store, audit }: Pick<QueueParts, 'store' | 'audit'>,
  id: string,
  answer: Answer,
): Promise<Approval | null> {
  const asked = await store.approvals.get(id);
  if (asked === null || asked.answer !== null) return null;
  // Another answer came first, or the question has just ended.
  const over = new SidekeyError('approval_over', `The request ${id} is no longer waiting.`, {
    hint: remedy('approval.list'),
  });
  try {
    return await recordChange(audit, answerEvent(asked, answer), async () => {
      const answered = await store.approvals.answer(id, answer);
      if (answered === null) throw over;
      return answered;
    });
  } catch (error) {
    if (error === over) return null;
    throw error;
  }
}

/** A question without its id and its times. */
export type Asked = Omit<Question, 'id' | 'askedAt' | 'expiresAt' | 'aliveUntil'>;

/** Result of a question. */
export type ApprovalResult =
  /** `standing`: the approval is for more than this request, and may be older. */
  | { readonly kind: 'allowed'; readonly id: string; readonly by: string; readonly standing: boolean }
  | { readonly kind: 'denied'; readonly id: string; readonly by: string }
  | { readonly kind: 'unanswered'; readonly id: string; readonly waitedMs: number }
  /** `gone`: the client disconnected. `removed`: the agent, the lease or the grant was removed. */
  | { readonly kind: 'gone' | 'stopping' | 'removed' }
  /** The agent has the maximum number of waiting requests. */
  | { readonly kind: 'too_many'; readonly maxPending: number };

/** Requests that wait for a person. */
export interface ApprovalQueue {
  /**
   * Waits for a person, unless a standing approval exists. Awaits `onAsked` before the question is visible;
   * `onAsked` may refuse by throwing. `body` is only kept in memory.
   * @throws SidekeyError `store_unavailable`: nobody can be asked
   */
  ask(
    asked: Asked,
    leaving: Gone,
    onAsked: (question: Question) => Promise<void>,
    body?: string | null,
  ): Promise<ApprovalResult>;
  /** Keeps the body of a question in memory until it is called with null. */
  showBody(id: string, body: string | null): void;
  /** The body that can be shown; null if there is none, or if another process has it. */
  body(id: string): string | null;
  /** Resolves to true while a standing approval is neither expired nor revoked. */
  stands(id: string): Promise<boolean>;
  /** Resolves to null if the question does not exist. */
  get(id: string): Promise<Approval | null>;
  /**
   * Calls `ApprovalStore.answer`, audited first. A request that waits in this process continues at once.
   * @throws SidekeyError `audit_unavailable`: nobody was answered; `store_unavailable`
   */
  answer(id: string, answer: Answer): Promise<Approval | null>;
  /** Refuses present and future questions. Idempotent. */
  close(): Promise<void>;
}

interface QueueParts {
  readonly store: { epoch(): number; readonly approvals: ApprovalStore };
  readonly audit: Pick<AuditLog, 'append' | 'note'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: { after(ms: number, run: () => void): () => void };
  readonly newId: () => string;
  /** The present limits of the config. */
  readonly limits: () => { readonly timeoutMs: number; readonly maxPending: number };
  /** Receives bodies where another process serves the pages; absent: this queue keeps them. */
  readonly showBody?: ApprovalQueue['showBody'] | undefined;
  /** Called with each question that can be answered; the returned function is called when it has ended. */
  readonly announce?: (question: Question) => () => void;
}

/** Milliseconds for which an ended question is kept. */
const retentionMs = 86_400_000;

/** Least time between two removals of ended questions, in milliseconds. */
const cleanupMs = 60_000;

/** Maximum number of bodies in memory, of 4 KiB each. */
const maxBodies = 1_000;

export function createApprovalQueue(parts: QueueParts): ApprovalQueue {
  const { store, now, limits } = parts;
  const pending = createPendingApprovals(parts);
  const asking = new Set<Promise<unknown>>();
  /** Requests of each agent that wait or are about to. */
  const counts = new Map<string | null, number>();
  let forgotAt = -cleanupMs;
  let closed = false;

  const bodies = new Map<string, string>();

  function showBody(id: string, body: string | null): void {
    if (body !== null) bodies.set(id, body);
    else bodies.delete(id);
    // A worker that was killed does not take its bodies back.
    const [oldest] = bodies.size > maxBodies ? bodies.keys() : [];
    if (oldest !== undefined) bodies.delete(oldest);
  }

  function countOf(agent: string | null, change: 1 | -1): void {
    const count = (counts.get(agent) ?? 0) + change;
    if (count === 0) counts.delete(agent);
    else counts.set(agent, count);
  }

  async function submit(
    asked: Asked,
    leaving: Gone,
    onAsked: (question: Question) => Promise<void>,
    body: string | null,
  ): Promise<ApprovalResult> {
    const askedAt = now();
    const { timeoutMs } = limits();
    const question: Question = {
      ...asked,
      id: parts.newId(),
      askedAt,
      expiresAt: askedAt + timeoutMs,
      aliveUntil: askedAt + leaseMs,
    };
    await onAsked(question);
    if (askedAt >= forgotAt + cleanupMs) {
      forgotAt = askedAt;
      await store.approvals.removeEnded(askedAt - retentionMs);
    }
    await store.approvals.ask(question);
    const { id } = question;
    const show = parts.showBody ?? showBody;
    if (body !== null) show(id, body);
    const over = parts.announce?.(question);
    const how = await pending.until(question, leaving);
    if (body !== null) show(id, null);
    over?.();
    // Nobody can answer the question after this, so no unused approval remains.
    const answer = how.kind === 'answer' ? how.answer : await pending.withdraw(id);
    if (how.kind !== 'answer' && how.kind !== 'late') return { kind: how.kind };
    if (answer === null) return { kind: 'unanswered', id, waitedMs: timeoutMs };
    const { by } = answer;
    return answer.outcome === 'allowed'
      ? { kind: 'allowed', id, by, standing: answer.reach.kind !== 'once' }
      : { kind: 'denied', id, by };
  }

  async function ask(
    ...[asked, leaving, onAsked, body = null]: Parameters<ApprovalQueue['ask']>
  ): Promise<ApprovalResult> {
    const { who } = asked;
    const standing = await store.approvals.standing(who, now());
    if (standing !== null) return { kind: 'allowed', id: standing.id, by: standing.by, standing: true };
    const inStore = await store.approvals.countWaiting(now(), who.agent);
    if (closed) return { kind: 'stopping' };
    if (leaving.already) return { kind: 'gone' };
    const { maxPending } = limits();
    if (Math.max(inStore, counts.get(who.agent) ?? 0) >= maxPending) return { kind: 'too_many', maxPending };
    countOf(who.agent, 1);
    try {
      return await submit(asked, leaving, onAsked, body);
    } finally {
      countOf(who.agent, -1);
    }
  }

  return {
    ask(...args) {
      const work = ask(...args);
      asking.add(work);
      const done = () => void asking.delete(work);
      work.then(done, done);
      return work;
    },
    stands: async (id) => (await store.approvals.standingOf(id, now())) !== null,
    get: (id) => store.approvals.get(id),
    showBody,
    body: (id) => bodies.get(id) ?? null,
    async answer(id, answer) {
      const answered = await giveAnswer(parts, id, answer);
      if (answered !== null) pending.answered(id, answer);
      return answered;
    },
    async close() {
      closed = true;
      pending.close();
      await Promise.allSettled(asking);
    },
  };
}
