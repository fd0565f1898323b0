import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import type { Clock } from '../lib/timers.ts';
import { type AddressGuard, plainAddress } from '../policy/address.ts';
import { bareHost, isAddress } from '../policy/authority.ts';

/** An address that the guard let through. */
export interface CheckedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** What a resolver is made of. */
export interface ResolverOptions {
  readonly guard: AddressGuard;
  /** Canonical host → address, instead of the name service (`upstream.resolve`). */
  readonly pinned: ReadonlyMap<string, string>;
  /** The name service; the system's unless a test gives another. */
  readonly lookup?: (
    host: string,
  ) => Promise<readonly { readonly address: string; readonly family: number }[]>;
}

/**
 * Resolves a canonical host to addresses that may be dialed. Who dials must dial one of these very addresses, and
 * not the name again: a name can answer differently the second time (DNS rebinding).
 *
 * Rejects with SidekeyError `upstream_unreachable` where there is no address, `address_blocked` where none is allowed.
 */
export type Resolver = (host: string) => Promise<readonly CheckedAddress[]>;

/** A resolver keeps nothing: each call asks anew. */
export function createResolver({ guard, pinned, lookup = systemAddresses }: ResolverOptions): Resolver {
  return async (host) => {
    const addresses = (await candidates(host, pinned, lookup)).map(plainAddress);
    const allowed = addresses
      .filter(guard)
      .map((address): CheckedAddress => ({ address, family: isIP(address) === 4 ? 4 : 6 }));
    if (allowed.length > 0) return allowed;
    const [first] = addresses;
    if (first === undefined) {
      throw new SidekeyError('upstream_unreachable', `The name ${host} has no address.`);
    }
    throw new SidekeyError(
      'address_blocked',
      `${describe(host, first)} is not a public address and is not listed.`,
      {
        hint: `add ${first} to upstream.private_addresses if Sidekey may reach it`,
      },
    );
  };
}

async function candidates(
  host: string,
  pinned: ReadonlyMap<string, string>,
  lookup: NonNullable<ResolverOptions['lookup']>,
): Promise<readonly string[]> {
  if (isAddress(host)) return [bareHost(host)];
  const address = pinned.get(host);
  if (address !== undefined) return [address];
  try {
    return (await lookup(host)).map((entry) => entry.address);
  } catch (cause) {
    throw new SidekeyError('upstream_unreachable', `The name ${host} cannot be resolved.`, {
      hint: `check the name and the network, or pin an address with upstream.resolve`,
      cause,
    });
  }
}

function systemAddresses(host: string) {
  return systemLookup(host, { all: true, order: 'verbatim' });
}

function describe(host: string, address: string): string {
  return bareHost(host) === address ? address : `${host} resolves to ${address}, which`;
}

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
interface RaceOptions<T, C> {
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
