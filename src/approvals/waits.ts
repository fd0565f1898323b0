import type { Gone } from '../gone.ts';
import type { Answer, Question } from './approval.ts';
import type { DeskParts } from './desk.ts';

/** What ends a wait. `removed`: the agent, the lease or the grant of the request is gone, and its question with it. */
export type End =
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'late' | 'gone' | 'stopping' | 'removed' };

/** The requests of this process that wait. */
export interface Waits {
  /** Waits for whatever ends it first. */
  until(question: Question, leaving: Gone): Promise<End>;
  /** Ends a wait with its answer, where it is one of these. */
  answered(id: string, answer: Answer): void;
  /** As `ApprovalStore.withdraw`. Where that fails, it rejects, and is tried again later. */
  withdraw(id: string): Promise<Answer | null>;
  /** Ends all waits, and those to come. */
  close(): void;
}

/** So many milliseconds a question can be answered without a sign of life from whoever asks. */
export const aliveMs = 10_000;

/** Milliseconds between signs of life: several may fail. */
const beatEvery = 2_000;
/** Milliseconds between looks whether another process has answered; each costs about a microsecond. */
const lookEvery = 100;

/** Answers may come from any process of the store: what it says is looked at while something waits. */
export function createWaits({ store, now, timers }: Pick<DeskParts, 'store' | 'now' | 'timers'>): Waits {
  const waiting = new Map<string, (how: End) => void>();
  /** Over, and still to be withdrawn. */
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
      // A store that fails now may work again before the patience ends.
    }
    lookLater();
  }

  async function beat(): Promise<void> {
    beatAt = now() + beatEvery;
    if (waiting.size > 0) await store.approvals.keepAlive([...waiting.keys()], now() + aliveMs);
    for (const id of over) {
      await store.approvals.withdraw(id);
      over.delete(id);
    }
  }

  async function readAnswers(): Promise<void> {
    const epoch = store.epoch();
    if (epoch === seen) return;
    for (const [id, end] of waiting) {
      const found = await store.approvals.get(id);
      if (found === null) end({ kind: 'removed' });
      else if (found.answer !== null) end({ kind: 'answer', answer: found.answer });
    }
    // What changed while this read is looked at again.
    seen = epoch;
  }

  function lookLater(): void {
    if (!closed && waiting.size + over.size > 0) stopLooking ??= timers.after(lookEvery, () => void look());
  }

  return {
    until({ id, expiresAt }, leaving) {
      return new Promise((resolve) => {
        const end = (how: End) => {
          if (!waiting.delete(id)) return;
          cancel();
          leaving.forget(left);
          resolve(how);
        };
        const left = () => end({ kind: 'gone' });
        // Whoever begins to wait has just said so.
        if (waiting.size + over.size === 0) beatAt = now() + beatEvery;
        waiting.set(id, end);
        const cancel = timers.after(expiresAt - now(), () => end({ kind: 'late' }));
        leaving.listen(left);
        if (leaving.already) left();
        else if (closed) end({ kind: 'stopping' });
        // It may have been answered before it was waited for.
        seen = -1;
        lookLater();
      });
    },
    answered: (id, answer) => waiting.get(id)?.({ kind: 'answer', answer }),
    async withdraw(id) {
      try {
        return await store.approvals.withdraw(id);
      } catch (error) {
        over.add(id);
        lookLater();
        throw error;
      }
    },
    close() {
      closed = true;
      stopLooking?.();
      for (const end of waiting.values()) end({ kind: 'stopping' });
    },
  };
}
