import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CallerMode, Identity } from '../agents/authentication.ts';
import { egressRefusal } from '../agents/egress.ts';
import { type Grant, matches } from '../domain/grant.ts';
import type { Registry } from '../grants/registry.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { ExchangeResult } from './http/message.ts';
import { denialOf } from './http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import { decideConnect, decideRequest, type Policy } from './policy/decide.ts';
import type { RequestFacts } from './policy/request.ts';
import type { GrantIdentity } from './schemes/scheme.ts';
import type { AcceptedProposal } from './proposed.ts';

/** A long-lived connection: a blind tunnel, a WebSocket or a streamed response. */
interface OpenConnection {
  /** Connection of the client, closed when the right ends. */
  readonly client: Cuttable;
  readonly permission: Permission;
  /**
   * Returns the reason why current policy would refuse the connection. Null: policy is not checked again, and
   * a short exchange completes under the config that it began with.
   */
  readonly refusal: ((policy: Policy, now: number) => Refusal | Promise<Refusal>) | null;
  /** Counts the bytes since the last check, and may end the exchange. Absent: bytes are not counted. */
  readonly meter?: { readonly bytesIn: number; readonly bytesOut: number; settle(): void };
}

/** A connection or a stream that can be closed. */
export interface Cuttable {
  destroy(): unknown;
  /** Bytes so far; absent: bytes are not counted. */
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
}

type Refusal = SidekeyError | null;

/** All open connections. Each is closed when the right that allowed it ends. */
export type OpenConnections = ReturnType<typeof createOpenConnections>;

/** A connection that is watched. */
class Entry {
  readonly client: Cuttable;
  readonly permission: Permission;
  readonly refusal: OpenConnection['refusal'];
  readonly meter: OpenConnection['meter'];
  bytes: number;
  judgedAt: number;
  /** Time at which the right expires, by the last check. */
  endsAt = Infinity;
  cutBy: SidekeyError | null = null;
  /** Number of the next check for new entries when this entry began. */
  readonly look: number;
  /** The list that contains it, and its index there; null: it has ended. */
  list: Entry[] | null = null;
  index = 0;

  constructor({ client, permission, refusal, meter }: OpenConnection, now: number, look: number) {
    this.client = client;
    this.permission = permission;
    this.refusal = refusal;
    this.meter = meter;
    this.bytes = bytesOf(this);
    this.judgedAt = now;
    this.look = look;
  }

  /** Stops watching the connection. Returns the reason if it was cut, otherwise null. */
  end(): SidekeyError | null {
    remove(this);
    return this.cutBy;
  }
}

/** Longest delay in milliseconds until a revoked right or a closed time window is noticed. */
const checkEveryMs = 1_000;
/** Milliseconds. The end of a right is read one to two of these intervals after its beginning. */
const soonMs = 10;
/** Milliseconds that open exchanges continue while the store cannot be read. */
const unaskedMs = 30_000;
/** Number of connections checked in one turn of the event loop, so that requests run in between. */
const atOnce = 200;

/** Creates the watch. Sets no timer while no connection is open. */
export function createOpenConnections(
  services: {
    readonly grants: Pick<Registry, 'find'>;
    readonly log: Log;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
    readonly lastConfig: () => { readonly policy: Policy; readonly agents: CallerMode };
  },
  timers: Timers,
) {
  /** Entries whose expiry has not been read yet, and the others. */
  const young: Entry[] = [];
  const old: Entry[] = [];
  let cancel: (() => void) | null = null;
  /** Time of the next check. */
  let wakesAt = Infinity;
  let looking: Promise<void> | null = null;
  let closed = false;
  /** Number of checks for new entries so far. */
  let looks = 0;
  let cancelLearning: (() => void) | null = null;

  function wakeAt(at: number): void {
    cancel?.();
    cancel = null;
    if (closed || young.length + old.length === 0) return;
    const now = services.now();
    wakesAt = Math.min(Math.max(at, now), now + checkEveryMs);
    cancel = timers.after(wakesAt - now, () => void recheck());
  }

  /** Checks all open connections now; resolves after the checks. */
  async function recheck(): Promise<void> {
    // A check in progress may have missed a later change.
    await looking;
    looking ??= look().finally(() => (looking = null));
    await looking;
  }

  async function look(): Promise<void> {
    let count = 0;
    // Entries that begin meanwhile are for the next check: a busy proxy would never end this one.
    const all = [...young, ...old];
    for (const entry of all) {
      count += 1;
      if (count % atOnce === 0) await nextTurn();
      if (entry.list === null || entry.cutBy !== null) continue;
      entry.meter?.settle();
      const why = await refusalOf(entry);
      if (why !== null) cut(entry, why);
    }
    let next = Infinity;
    for (const { cutBy, endsAt } of [...young, ...old]) if (cutBy === null) next = Math.min(next, endsAt);
    wakeAt(next);
  }

  function endOf({ permission, refusal }: Entry, used: boolean): ReturnType<typeof expiryOf> {
    const mode = refusal === null ? 'any' : services.lastConfig().agents;
    return expiryOf(permission, { mode, used }, services);
  }

  /**
   * Reads each end once, soon after the beginning, because it may come before the first check. Most exchanges
   * are over by then. Nothing refers to them, so the next collection of V8's young generation frees them.
   */
  function learnEnds(): void {
    looks += 1;
    for (const entry of young.filter(({ look: begun }) => begun < looks - 1)) {
      putInto(old, entry);
      void learnEnd(entry);
    }
    cancelLearning = young.length > 0 ? timers.after(soonMs, learnEnds) : null;
  }

  async function learnEnd(entry: Entry): Promise<void> {
    const end = await endOf(entry, false).catch(() => Infinity);
    entry.endsAt = Math.min(entry.endsAt, end instanceof SidekeyError ? services.now() : end);
    if (entry.list !== null && looking === null && entry.endsAt < wakesAt) wakeAt(entry.endsAt);
  }

  /** Returns the reason to close a connection; null: it may stay open, at least until `endsAt`. */
  async function refusalOf(entry: Entry): Promise<SidekeyError | null> {
    const now = services.now();
    const bytes = bytesOf(entry);
    try {
      const refused = (await entry.refusal?.(services.lastConfig().policy, now)) ?? null;
      if (refused !== null) return refused;
      const end = await endOf(entry, bytes !== entry.bytes);
      if (end instanceof SidekeyError) return end;
      entry.endsAt = end;
      entry.bytes = bytes;
      entry.judgedAt = now;
      return null;
    } catch (error) {
      const isOver = now >= entry.endsAt || now - entry.judgedAt >= unaskedMs;
      return isOver ? asFailure(error) : null;
    }
  }

  function cut(entry: Entry, why: SidekeyError): void {
    if (entry.list === null) return;
    entry.cutBy = why;
    services.log.info({ code: why.code, why: why.message }, 'a connection was cut: its right has ended');
    entry.client.destroy();
  }

  /** Starts to watch a connection, and closes it when its right ends. */
  function begin(connection: OpenConnection): Entry {
    const entry = new Entry(connection, services.now(), looks);
    putInto(young, entry);
    if (cancel === null && looking === null) wakeAt(Infinity);
    cancelLearning ??= timers.after(soonMs, learnEnds);
    return entry;
  }

  return {
    begin,
    /** Runs `work` while its connection is watched. The result of a cut exchange has the reason's code. */
    async during(connection: OpenConnection, work: () => Promise<ExchangeResult>): Promise<ExchangeResult> {
      const entry = begin(connection);
      try {
        const result = await work();
        return entry.cutBy === null ? result : { ...result, code: entry.cutBy.code };
      } catch (error) {
        throw entry.cutBy ?? error;
      } finally {
        entry.end();
      }
    },
    /** Returns the bytes of all open connections so far. */
    bytes: () => [...young, ...old].reduce((sum, entry) => sum + bytesOf(entry), 0),
    recheck,
    /** Stops watching. */
    close(): void {
      closed = true;
      cancel?.();
      cancelLearning?.();
    },
  };
}

/** Adds an entry to a list, and removes it from its former one. */
function putInto(list: Entry[], entry: Entry): void {
  remove(entry);
  entry.list = list;
  entry.index = list.push(entry) - 1;
}

/**
 * Removes an entry from its list, whose last entry takes its place. A `Set` would replace its table about
 * every hundred entries, and each replaced table keeps the next one and its entries until a full collection.
 */
function remove(entry: Entry): void {
  const { list, index } = entry;
  if (list === null) return;
  entry.list = null;
  const last = list.pop()!;
  if (last === entry) return;
  list[index] = last;
  last.index = index;
}

/** Returns the bytes in both directions. Reading the counters of a socket costs more than reading a meter. */
function bytesOf({ client, meter }: Pick<Entry, 'client' | 'meter'>): number {
  if (meter !== undefined) return meter.bytesIn + meter.bytesOut;
  const { bytesRead = 0, bytesWritten = 0 } = client;
  return bytesRead + bytesWritten;
}

function asFailure(error: unknown): SidekeyError {
  return error instanceof SidekeyError
    ? error
    : new SidekeyError('internal', 'The permission could not be checked.', { cause: error });
}

/** Watches the client certificates of grants that pooled connections use. */
export type CertificateWatch = ReturnType<typeof createCertificateWatch>;

/** Milliseconds after which a replaced, revoked or removed certificate is noticed at the latest. */
const everyMs = 1_000;

/**
 * Sets no timer before a certificate is shown. Requests never use connections of an older certificate. This
 * watch closes the idle ones.
 */
export function createCertificateWatch(grants: Pick<Registry, 'open'>, timers: Timers) {
  const shown = new Map<GrantIdentity, ReadyToken>();
  let cancel: (() => void) | null = null;
  let closed = false;

  function wake(): void {
    if (closed || shown.size === 0 || cancel !== null) return;
    cancel = timers.after(everyMs, () => {
      cancel = null;
      void look().then(wake);
    });
  }

  async function look(): Promise<void> {
    for (const [identity, { grant, sealed }] of shown) {
      try {
        // An opened credential stays one object until it is stored again.
        const stored = await grants.open(grant.id);
        if (stored?.sealed === sealed && stored.grant.state === 'active') continue;
      } catch {
        // The store cannot be asked now, and no request gets a credential meanwhile.
        continue;
      }
      shown.delete(identity);
      identity.end();
    }
  }

  return {
    /** Watches a certificate that is about to be used, and ends it when the grant no longer has it. */
    watch(ready: ReadyToken, identity: GrantIdentity): void {
      if (shown.has(identity)) return;
      shown.set(identity, ready);
      wake();
    },
    /** Stops watching. */
    close(): void {
      closed = true;
      cancel?.();
      cancel = null;
    },
  };
}

/** The rights that allowed an exchange. Long exchanges are checked again. */
export interface Permission {
  readonly caller: Pick<Identity, 'holds'>;
  /** Grant whose credential was sent, or would be if the client had none; null: no grant. */
  readonly grant: Grant | null;
  /** Additional grants whose credentials were sent; absent: none. */
  readonly also?: readonly Grant[] | undefined;
}

/** The permission of a request, with the facts that policy judged. */
export interface RequestPermission extends Permission {
  readonly caller: Pick<
    Identity,
    'agent' | 'lease' | 'egressNow' | 'holds' | 'labels' | 'labelsNow' | 'grantLabels'
  >;
  readonly facts: RequestFacts;
  /** Approval of the request by a person; absent: no approval was needed. */
  readonly approval?: GivenApproval | undefined;
  /** The accepted proposal that allowed the request; absent: the config allowed it. */
  readonly accepted?: AcceptedProposal | null;
}

/** Approval by a person. */
export interface GivenApproval {
  /** Id of the approval. */
  readonly id: string;
  /** True if the approval is for more than this request. It then limits the time of open connections. */
  readonly standing: boolean;
}

/** Reports whether an approval is valid: for more than one request, neither expired nor revoked. */
interface StandingApprovals {
  stands(id: string): Promise<boolean>;
}

/**
 * Returns when the clock will end a right (milliseconds since the epoch; Infinity: no end is known), or why
 * it has ended. Policy is checked separately.
 *
 * @throws SidekeyError `store_unavailable`
 */
async function expiryOf(
  { caller, grant, also = [] }: Permission,
  facts: Parameters<Identity['holds']>[1],
  services: { readonly grants: Pick<Registry, 'find'> },
): Promise<number | SidekeyError> {
  let end = await expiryOfGrant(caller, grant, facts, services);
  for (const other of also) {
    if (end instanceof SidekeyError) return end;
    const its = await expiryOfGrant(caller, other, facts, services);
    end = its instanceof SidekeyError ? its : Math.min(end, its);
  }
  return end;
}

async function expiryOfGrant(
  caller: Permission['caller'],
  grant: Grant | null,
  facts: Parameters<Identity['holds']>[1],
  { grants }: { readonly grants: Pick<Registry, 'find'> },
): Promise<number | SidekeyError> {
  if (grant === null) return caller.holds(null, facts);
  const stored = (await grants.find(grant.id)).find(({ id }) => id === grant.id);
  if (stored === undefined) return new SidekeyError('grant_missing', `The grant ${grant.name} was removed.`);
  if (stored.state === 'revoked')
    return new SidekeyError('grant_revoked', `The grant ${grant.name} was revoked.`);
  return caller.holds(stored, facts);
}

/**
 * Returns the reason why policy would refuse a request with its grant now; null: allowed. Checks the time of
 * day, the current labels of the agent and the grant, and the approval.
 * @throws SidekeyError `store_unavailable`
 */
export async function requestRefusal(
  policy: Policy,
  permission: RequestPermission,
  now: number,
  approvals: StandingApprovals,
): Promise<SidekeyError | null> {
  const { facts, grant, also = [] } = permission;
  const decision = decideRequest(policy, { ...facts, labels: await labelsNow(permission), now });
  if (decision.outcome === 'deny') return denialOf(decision);
  if (decision.outcome === 'approve') {
    const refused = await approvalRefusal(permission, approvals);
    if (refused !== null) return refused;
  }
  if (decision.outcome === 'tunnel' && permission.accepted == null) {
    const refused = await egressRefusal(permission.caller, facts.authority);
    if (refused !== null) return refused;
  }
  if (grant === null) return null;
  const offered = decision.outcome === 'tunnel' ? null : decision;
  // Each in its own place: an entry of `also` may carry a grant that is not the main one.
  const isMain = offered !== null && matches(grant, offered.grant);
  const isAlso = (each: Grant) => offered?.also?.some((use) => matches(each, use.grant)) === true;
  const lost = isMain ? also.find((each) => !isAlso(each)) : grant;
  if (lost === undefined) return null;
  const where = authorityText(facts.authority);
  return new SidekeyError('rule_denied', `${where} no longer has the grant ${lost.name}.`);
}

/** Returns the labels in the order of `requestFacts`: those of the agent, then those of the grant. */
async function labelsNow({ caller, facts, grant }: RequestPermission): Promise<readonly string[]> {
  // Without a credential, the labels of the grant are those of the request.
  const ofGrant = grant === null ? facts.labels.slice(caller.labels.length) : await caller.grantLabels(grant);
  return [...(await caller.labelsNow()), ...ofGrant];
}

/** Returns the reason if no approval covers what a rule requires; null: covered. */
async function approvalRefusal(
  { approval }: RequestPermission,
  approvals: StandingApprovals,
): Promise<SidekeyError | null> {
  if (approval === undefined) {
    return new SidekeyError('approval_missing', 'A rule now requires approval, and there is none.');
  }
  const isOver = approval.standing && !(await approvals.stands(approval.id));
  return isOver ? new SidekeyError('approval_missing', 'The approval that allowed it has ended.') : null;
}

/** Returns the reason why policy would refuse a blind tunnel; null: allowed. */
export function tunnelRefusal(policy: Policy, target: Authority): SidekeyError | null {
  const decision = decideConnect(policy, target);
  if (decision.outcome === 'tunnel') return null;
  if (decision.outcome === 'deny') return denialOf(decision);
  return new SidekeyError('policy_violation', `${authorityText(target)} is no longer a blind tunnel.`);
}
