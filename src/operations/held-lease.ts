import { recordChange, withOrigin } from '../audit/log.ts';
import type { Origin } from '../domain/event.ts';
import { errorPhrase } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import { placeholderCodes } from '../proxy/placeholders/codes.ts';
import { type LeaseOrder, makeLease } from './make-lease.ts';
import type { Opened } from './operation.ts';
import { leaseTtl, readReach, usualOf } from './reach.ts';
import { ensureRunAgent, runAgent } from './run-agent.ts';

/** A lease that this process renews. */
export type HeldLease = Awaited<ReturnType<typeof holdLease>>;

interface HoldParts {
  readonly state: Pick<Opened, 'store' | 'audit' | 'grants' | 'vault'>;
  /** Returns the config in force. */
  readonly config: () => Opened['config'];
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** Terms of the lease of a command. */
export interface LeaseSettings {
  /** Agent; null: that of `sidekey run`. */
  readonly agent: string | null;
  /** Grants; null: all that the agent reaches. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** Milliseconds since the epoch; null: with the command. */
  readonly endsAt: number | null;
}

/**
 * Holds a lease until the command ends. `close` revokes it, then closes what it belongs to, which is also
 * closed if there is no lease.
 *
 * @param secret token of the lease
 * @throws as `makeLease`
 */
export async function openRunLease(
  { origin, ...parts }: HoldParts & { readonly origin: Origin },
  { agent, grants, purpose, endsAt }: LeaseSettings,
  secret: string,
  belongsTo: { close(): Promise<void> },
): Promise<{ readonly lease: HeldLease; readonly close: () => Promise<void> }> {
  await using opened = new AsyncDisposableStack();
  opened.defer(() => belongsTo.close());
  const state = { ...parts.state, audit: withOrigin(parts.state.audit, origin) };
  if (agent === null) await ensureRunAgent(state, parts.now());
  const order = { agent: agent ?? runAgent, grants, purpose, secret };
  const lease = await holdLease({ ...parts, state }, order, endsAt);
  opened.defer(() => lease.end());
  const held = opened.move();
  return { lease, close: () => held.disposeAsync() };
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
) {
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
  const usual = await usualOf(state.store, config().domains, made.lease, made.reach);
  const subject = { agent, lease: id, reason: order.purpose };
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
    const reach = await readReach(state.store, before);
    const { ttlMs } = await leaseTtl({ store: state.store, config: config() }, span(at), before, reach);
    const expiresAt = Math.max(before.expiresAt, at + ttlMs);
    await recordChange(state.audit, { event: 'lease.renewed', ...subject }, () =>
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
    await recordChange(state.audit, { event: 'lease.revoked', ...subject }, () =>
      state.store.leases.revoke({ id }, now()),
    );
  }

  return {
    id,
    /** The usual grants (`usualOf`) when it was made. */
    grants: usual,
    /** The placeholders of this lease. */
    placeholders: placeholderCodes(state.vault),
    /** Revokes it. Idempotent. */
    end: () => (ending ??= end()),
  };
}
