import { placeholderCodes, type State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import type { Grant } from '../../grants/grant.ts';
import { errorPhrase } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Timers } from '../../lib/timers.ts';
import type { PlaceholderCodes } from '../../placeholders/codes.ts';
import { type LeaseOrder, makeLease, ownGrants, ttlFor } from '../lease/create.ts';

/** A lease that this process renews. */
export interface HeldLease {
  readonly id: string;
  /** The grants that it reached when it was made. */
  readonly grants: readonly Grant[];
  /** The placeholders of this lease. */
  readonly placeholders: PlaceholderCodes;
  /** Revokes it. Idempotent. */
  end(): Promise<void>;
}

interface HoldParts {
  readonly state: Pick<State, 'store' | 'audit' | 'grants' | 'vault'>;
  /** Returns the config in force. */
  readonly config: () => State['config'];
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** Lifetime in milliseconds without a renewal. */
const spanMs = 300_000;
/** Milliseconds between checks of the clock: a timer alone does not count the time that a machine sleeps. */
const pollMs = 1_000;
const minWaitMs = 50;

/**
 * Creates a short lease, and renews it until it is ended here: the lease of a killed process expires. A
 * revoked lease is not renewed.
 *
 * @param endsAt latest end, in milliseconds since the epoch; null: none
 * @throws as `makeLease`
 */
export async function holdLease(
  parts: HoldParts,
  order: Pick<LeaseOrder, 'agent' | 'grants' | 'purpose' | 'secret'>,
  endsAt: number | null,
): Promise<HeldLease> {
  const { state, config, log, now, timers } = parts;
  const hardEnd = endsAt ?? Infinity;
  const span = (at: number) => Math.min(spanMs, hardEnd - at);
  const begun = now();
  const made = await makeLease(
    { ...state, config: config() },
    { ...order, ttlMs: span(begun), idleMs: null, maxUses: null },
    begun,
  );
  const { id, agent } = made.lease;
  let renewAt = nextTry(begun, made.lease.expiresAt);
  let looking: Promise<void> | undefined;
  let ending: Promise<void> | undefined;
  let stop = lookAgain();

  function lookAgain(): () => void {
    return timers.after(Math.max(minWaitMs, Math.min(pollMs, renewAt - now())), look);
  }

  function look(): void {
    looking = renewIfDue().then(() => {
      if (ending === undefined && renewAt !== Infinity) stop = lookAgain();
    });
  }

  async function renewIfDue(): Promise<void> {
    const at = now();
    // A clock that was set back triggers no renewal.
    if (at < renewAt) return;
    try {
      renewAt = await renew(at);
    } catch (error) {
      log.warn({ lease: id, problem: errorPhrase(error) }, 'the lease of this run could not be renewed');
    }
  }

  async function renew(at: number): Promise<number> {
    const before = await state.store.leases.get(id);
    if (before === null || before.revokedAt !== null) return Infinity;
    const [grants, rights] = [await state.grants.list(), await state.store.rights.read()];
    const own = ownGrants(before, grants, rights);
    const { ttlMs } = ttlFor(span(at), own, { config: config(), policies: rights.policies });
    const expiresAt = Math.max(before.expiresAt, at + ttlMs);
    await recordChange(state.audit, { event: 'lease.renewed', agent, lease: id }, () =>
      state.store.leases.renew(id, { at, expiresAt, moreUses: 0 }),
    );
    return nextTry(at, at + ttlMs);
  }

  /** Returns the time of the next renewal, which leaves two more attempts; none after the latest end. */
  function nextTry(at: number, expiresAt: number): number {
    return expiresAt >= hardEnd ? Infinity : at + (expiresAt - at) / 3;
  }

  async function end(): Promise<void> {
    stop();
    await looking;
    await recordChange(state.audit, { event: 'lease.revoked', agent, lease: id }, () =>
      state.store.leases.revoke({ id }, now()),
    );
  }

  return {
    id,
    grants: made.grants,
    placeholders: placeholderCodes(state.vault),
    end: () => (ending ??= end()),
  };
}
