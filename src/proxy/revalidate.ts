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

/** Something that lasts: a blind tunnel, a WebSocket, a response that streams. */
interface OpenConnection {
  /** Destroyed when the right has ended. */
  readonly client: Cuttable;
  readonly permission: Permission;
  /**
   * Returns why current policy would not let it begin. Null: neither policy nor the need of a token is
   * checked again. What ends by itself goes on under the config that it began with.
   */
  readonly refusal: ((policy: Policy, now: number) => Refusal | Promise<Refusal>) | null;
  /** Settles the bytes since the last look; it may end the work. Absent: none are counted. */
  readonly meter?: { readonly bytesIn: number; readonly bytesOut: number; settle(): void };
}

/** A connection or a stream that can be closed. */
export interface Cuttable {
  destroy(): unknown;
  /** Bytes so far; absent: they are not counted. */
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
}

type Refusal = SidekeyError | null;

/** All that is open, so that what a right let through ends with the right. */
export interface OpenConnections {
  /** Begins to watch a connection, and cuts it when the right ends. */
  begin(connection: OpenConnection): { end(): SidekeyError | null };
  /** Does the work while its connection is watched; the cut exchange has the code of the reason. */
  during(connection: OpenConnection, work: () => Promise<ExchangeResult>): Promise<ExchangeResult>;
  /** Returns the bytes that went through all of them so far. */
  bytes(): number;
  /** Looks at all of them now; resolves when that is done. */
  recheck(): Promise<void>;
  /** Looks no more. */
  close(): void;
}

/** A connection that is watched. */
class Entry {
  readonly client: Cuttable;
  readonly permission: Permission;
  readonly refusal: OpenConnection['refusal'];
  readonly meter: OpenConnection['meter'];
  bytes: number;
  judgedAt: number;
  /** Time at which the clock ends the right, as far as was known when it was last asked for. */
  endsAt = Infinity;
  cutBy: SidekeyError | null = null;
  /** Number of the look for new entries before which it began. */
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

  /** Watches it no more. Returns why it was cut; null: it was not. */
  end(): SidekeyError | null {
    remove(this);
    return this.cutBy;
  }
}

/** So late a right that somebody took away, or a time window that closed, is noticed at most. */
const checkEveryMs = 1_000;
/** Milliseconds. The end of a right is read one to two of these intervals after its beginning. */
const soonMs = 10;
/** Time that open exchanges continue without a readable store, in milliseconds. */
const unaskedMs = 30_000;
/** Judged in one turn of the event loop: requests go in between. */
const atOnce = 200;

/** Sets no timer while nothing is open. */
export function createOpenConnections(
  services: {
    readonly grants: Pick<Registry, 'find'>;
    readonly log: Log;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
    readonly lastConfig: () => { readonly policy: Policy; readonly agents: CallerMode };
  },
  timers: Timers,
): OpenConnections {
  /** Entries whose end is not asked for yet, and the others. */
  const young: Entry[] = [];
  const old: Entry[] = [];
  let cancel: (() => void) | null = null;
  /** Time of the next check. */
  let wakesAt = Infinity;
  let looking: Promise<void> | null = null;
  let closed = false;
  /** Number of looks for new entries. */
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

  /** Returns why it may not stay open; null: it may, until `endsAt` at least. */
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

  function begin(connection: OpenConnection): Entry {
    const entry = new Entry(connection, services.now(), looks);
    putInto(young, entry);
    if (cancel === null && looking === null) wakeAt(Infinity);
    cancelLearning ??= timers.after(soonMs, learnEnds);
    return entry;
  }

  return {
    begin,
    async during(connection, work) {
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
    bytes: () => [...young, ...old].reduce((sum, entry) => sum + bytesOf(entry), 0),
    recheck,
    close() {
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

/** Both ways. A socket counts its bytes at a cost that an exchange with a meter does not have. */
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

/** The certificates of grants that connections may have been made with. */
export interface CertificateWatch {
  /** It is about to be shown for this grant: from now on it ends when it is the grant's no more. */
  watch(ready: ReadyToken, identity: GrantIdentity): void;
  /** Looks no more. */
  close(): void;
}

/** Milliseconds after which a replaced, revoked or removed certificate is noticed at the latest. */
const everyMs = 1_000;

/**
 * Sets no timer before a certificate is shown. Requests never use connections of an older certificate. This
 * watch closes the idle ones.
 */
export function createCertificateWatch(grants: Pick<Registry, 'open'>, timers: Timers): CertificateWatch {
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
    watch(ready, identity) {
      if (shown.has(identity)) return;
      shown.set(identity, ready);
      wake();
    },
    close() {
      closed = true;
      cancel?.();
      cancel = null;
    },
  };
}

/** By what right something was let through. Long exchanges are checked again. */
export interface Permission {
  readonly caller: Pick<Identity, 'holds'>;
  /** Whose credential went along, or would have where the client has its own; null: none. */
  readonly grant: Grant | null;
  /** Whose credentials went along too; absent: none. */
  readonly also?: readonly Grant[] | undefined;
}

/** The same of a request, with what policy saw of it. */
export interface RequestPermission extends Permission {
  readonly caller: Pick<
    Identity,
    'agent' | 'lease' | 'egressNow' | 'holds' | 'labels' | 'labelsNow' | 'grantLabels'
  >;
  readonly facts: RequestFacts;
  /** The yes of a person that it has; absent: nobody was asked. */
  readonly approval?: GivenApproval | undefined;
  /** The accepted proposal that let it through; absent: the config did. */
  readonly accepted?: AcceptedProposal | null;
}

/** Approval by a person. */
export interface GivenApproval {
  /** Id of the approval. */
  readonly id: string;
  /** True if the yes is for more than this request. Open connections then last as long as the yes. */
  readonly standing: boolean;
}

/** Reports whether a yes stands: it is for more than one request, and neither over nor revoked. */
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
 * Returns why policy would not let a request go on with its grant; null: it would. The time of day, the
 * current labels of the agent and the grant, and the yes of a person count.
 *
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

/** Returns why no yes covers what a rule wants one for; null: one does. */
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

/** Returns why policy would not let a blind tunnel begin; null: it would. */
export function tunnelRefusal(policy: Policy, target: Authority): SidekeyError | null {
  const decision = decideConnect(policy, target);
  if (decision.outcome === 'tunnel') return null;
  if (decision.outcome === 'deny') return denialOf(decision);
  return new SidekeyError('policy_violation', `${authorityText(target)} is no longer a blind tunnel.`);
}
