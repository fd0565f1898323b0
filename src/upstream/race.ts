import type { Clock } from '../lib/timers.ts';
import type { CheckedAddress } from './resolve.ts';

/** Alternates the address families, first that of the first address: a dead family costs one attempt (RFC 8305 §4). */
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

interface RaceOptions<T, C> {
  /** Tries one candidate. When the signal is aborted it gives up and leaves nothing open. */
  readonly attempt: (candidate: C, signal: AbortSignal) => Promise<T>;
  /** Milliseconds after which the next attempt starts beside one that is still pending. */
  readonly delayMs: number;
  readonly clock: Clock;
  /** Ends the race. */
  readonly signal: AbortSignal;
  /** Reports whether all other attempts would fail with this error too. */
  readonly isFinal?: (error: unknown) => boolean;
}

/** Every attempt failed; the reasons are in the order of the attempts. */
export class AllFailed extends Error {
  readonly reasons: readonly Error[];

  constructor(reasons: readonly Error[]) {
    super('every attempt failed', { cause: reasons[0] });
    this.reasons = reasons;
  }
}

/**
 * Runs staggered attempts (Happy Eyeballs, RFC 8305 §5): the next one starts when one has failed or is pending for
 * `delayMs`. The first success wins; the other attempts are aborted.
 *
 * Rejects with the reason of the signal, with a final error, or with `AllFailed`.
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
