import type { AuditLog } from '../audit/event.ts';
import type { Gone } from '../gone.ts';
import type { ApprovalStore } from '../store/approvals.ts';
import { giveAnswer } from './answering.ts';
import type { Answer, Approval, Question } from './approval.ts';
import { aliveMs, createWaits } from './waits.ts';

/** What is asked, before it has a name and an end. */
export type Asked = Omit<Question, 'id' | 'askedAt' | 'expiresAt' | 'aliveUntil'>;

/** What comes of a question. */
export type Verdict =
  /** `standing`: the yes is for more than this request, and may be older. */
  | { readonly kind: 'allowed'; readonly id: string; readonly by: string; readonly standing: boolean }
  | { readonly kind: 'denied'; readonly id: string; readonly by: string }
  | { readonly kind: 'unanswered'; readonly id: string; readonly waitedMs: number }
  /** `removed`: the agent, the lease or the grant of the request is gone. */
  | { readonly kind: 'gone' | 'stopping' | 'removed' }
  /** The agent has as many requests waiting as it may. */
  | { readonly kind: 'too_many'; readonly most: number };

/** Where requests wait for people. */
export interface ApprovalDesk {
  /**
   * Waits for a person, unless one said yes to this before. `onAsked` is awaited before the question can be seen, and
   * may refuse by throwing.
   * @throws SidekeyError `store_unavailable`: nobody can be asked
   */
  ask(asked: Asked, leaving: Gone, onAsked: (question: Question) => Promise<void>): Promise<Verdict>;
  /** Whether a yes for more than one request is neither over nor revoked. */
  stands(id: string): Promise<boolean>;
  /** Null: there is no such question (any more). */
  get(id: string): Promise<Approval | null>;
  /**
   * As `ApprovalStore.answer`, on record first; a request that waits here goes on at once.
   * @throws SidekeyError `audit_unavailable`: nobody was answered; `store_unavailable`
   */
  answer(id: string, answer: Answer): Promise<Approval | null>;
  /** Refuses what waits, and what will ask. Idempotent. */
  close(): Promise<void>;
}

/** What a desk stands on. */
export interface DeskParts {
  readonly store: { epoch(): number; readonly approvals: ApprovalStore };
  readonly audit: Pick<AuditLog, 'append' | 'note'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: { after(ms: number, run: () => void): () => void };
  readonly newId: () => string;
  /** How long a request waits, and how many of one agent may wait at once: as the config says now. */
  readonly settings: () => { readonly patienceMs: number; readonly waiting: number };
  /** Hears of each question once it can be answered; what it answers with is called when the question is over. */
  readonly announce?: (question: Question) => () => void;
}

/** So long it is known how a question was answered. */
const rememberMs = 86_400_000;

/** At most so often, in milliseconds, what is older is looked for. */
const forgetEvery = 60_000;

/** Requests ask here one by one; who waits in this process is in `waits.ts`. */
export function createApprovalDesk(parts: DeskParts): ApprovalDesk {
  const { store, now, settings } = parts;
  const waits = createWaits(parts);
  const asking = new Set<Promise<unknown>>();
  /** Of each agent, those that wait and those that are about to. */
  const counts = new Map<string | null, number>();
  let forgotAt = -forgetEvery;
  let closed = false;

  function countOf(agent: string | null, change: 1 | -1): void {
    const count = (counts.get(agent) ?? 0) + change;
    if (count === 0) counts.delete(agent);
    else counts.set(agent, count);
  }

  /** How many requests of an agent wait, in all processes of the store. */
  async function countAll(agent: string | null): Promise<number> {
    const waiting = await store.approvals.waiting(now());
    return waiting.filter(({ who }) => who.agent === agent).length;
  }

  async function forgetOld(at: number): Promise<void> {
    if (at < forgotAt + forgetEvery) return;
    forgotAt = at;
    await store.approvals.removeEnded(at - rememberMs);
  }

  async function put(
    asked: Asked,
    leaving: Gone,
    onAsked: (question: Question) => Promise<void>,
  ): Promise<Verdict> {
    const askedAt = now();
    const { patienceMs } = settings();
    const question: Question = {
      ...asked,
      id: parts.newId(),
      askedAt,
      expiresAt: askedAt + patienceMs,
      aliveUntil: askedAt + aliveMs,
    };
    await onAsked(question);
    await forgetOld(askedAt);
    await store.approvals.ask(question);
    const over = parts.announce?.(question);
    const how = await waits.until(question, leaving);
    over?.();
    const { id } = question;
    // From here on nobody can answer it, so that no yes is left over for nobody.
    const answer = how.kind === 'answer' ? how.answer : await waits.withdraw(id);
    if (how.kind !== 'answer' && how.kind !== 'late') return { kind: how.kind };
    if (answer === null) return { kind: 'unanswered', id, waitedMs: patienceMs };
    const { by } = answer;
    return answer.outcome === 'allowed'
      ? { kind: 'allowed', id, by, standing: answer.reach.kind !== 'once' }
      : { kind: 'denied', id, by };
  }

  async function ask(...[asked, leaving, onAsked]: Parameters<ApprovalDesk['ask']>): Promise<Verdict> {
    const { who } = asked;
    const standing = await store.approvals.standing(who, now());
    if (standing !== null) return { kind: 'allowed', id: standing.id, by: standing.by, standing: true };
    const all = await countAll(who.agent);
    if (closed) return { kind: 'stopping' };
    if (leaving.already) return { kind: 'gone' };
    const { waiting: most } = settings();
    if (Math.max(all, counts.get(who.agent) ?? 0) >= most) return { kind: 'too_many', most };
    countOf(who.agent, 1);
    try {
      return await put(asked, leaving, onAsked);
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
    stands: async (id) => (await store.approvals.listStanding(now())).some((yes) => yes.id === id),
    get: (id) => store.approvals.get(id),
    async answer(id, answer) {
      const answered = await giveAnswer(parts, id, answer);
      if (answered !== null) waits.answered(id, answer);
      return answered;
    },
    async close() {
      closed = true;
      waits.close();
      await Promise.allSettled(asking);
    },
  };
}
