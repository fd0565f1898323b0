import type { Clock } from './deadline.ts';
import type { CheckedAddress } from './resolve.ts';

/** The families by turns, that of the first address first, so that one that is dead costs one try (RFC 8305 §4). */
export function interleave(addresses: readonly CheckedAddress[]): readonly CheckedAddress[] {
  const first = addresses[0]?.family;
  const preferred = addresses.filter(({ family }) => family === first);
  const others = addresses.filter(({ family }) => family !== first);
  if (others.length === 0) return addresses;
  const longest = Math.max(preferred.length, others.length);
  return Array.from({ length: longest }, (_, at) => [preferred[at], others[at]])
    .flat()
    .filter((address) => address !== undefined);
}

/** What a race is run with. */
export interface RaceOptions<T, C> {
  /** Tries one. It gives up, and leaves nothing behind, when the signal says so. */
  readonly attempt: (candidate: C, signal: AbortSignal) => Promise<T>;
  /** Milliseconds after which the next is tried beside one that has not come yet. */
  readonly delayMs: number;
  readonly clock: Clock;
  /** Ends all of it. */
  readonly signal: AbortSignal;
  /** Whether a failure is one that all the others would have as well. */
  readonly isFinal?: (error: unknown) => boolean;
}

/** Every candidate has failed: why, in the order in which they were tried. */
export class AllFailed extends Error {
  readonly reasons: readonly Error[];

  constructor(reasons: readonly Error[]) {
    super('every attempt failed', { cause: reasons[0] });
    this.reasons = reasons;
  }
}

/**
 * Happy Eyeballs (RFC 8305 §5): one after the other, the next as soon as one has failed or kept silent for `delayMs`; the
 * earlier ones go on meanwhile, and the first that comes wins. The others are given up.
 *
 * Rejects with the reason of the signal, with a final failure, or with `AllFailed`.
 */
export async function race<T extends { destroy(): unknown }, C>(
  candidates: readonly C[],
  { attempt, delayMs, clock, signal, isFinal = () => false }: RaceOptions<T, C>,
): Promise<T> {
  const [only] = candidates;
  if (candidates.length === 1 && only !== undefined) {
    return attempt(only, signal).catch((error: unknown) => {
      throw signal.aborted || isFinal(error) ? error : new AllFailed([error as Error]);
    });
  }
  const losers = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const reasons: Error[] = [];
  let tried = 0;
  let failed = 0;
  let over = false;
  let cancelNext: (() => void) | null = null;
  const end = () => {
    over = true;
    cancelNext?.();
    signal.removeEventListener('abort', abort);
    losers.abort();
  };
  const abort = () => {
    end();
    reject(signal.reason as Error);
  };
  const next = () => {
    cancelNext?.();
    const at = tried++;
    if (tried < candidates.length) cancelNext = clock.after(delayMs, next);
    attempt(candidates[at] as C, losers.signal).then(won, (error: unknown) => lost(at, error));
  };
  const won = (it: T) => {
    if (over) {
      it.destroy();
      return;
    }
    end();
    resolve(it);
  };
  const lost = (at: number, error: unknown) => {
    if (over) return;
    reasons[at] = error as Error;
    failed += 1;
    if (isFinal(error)) {
      end();
      reject(error);
    } else if (tried < candidates.length) next();
    else if (failed === candidates.length) {
      end();
      reject(new AllFailed(reasons));
    }
  };
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  else next();
  return promise;
}
