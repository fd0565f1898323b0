import type { AuditLog } from '../audit/event.ts';
import { type UseNotes, usesEveryMs } from '../grants/activity.ts';
import type { Grant } from '../grants/grant.ts';
import type { Presented, PresentedToken, Selectors } from '../http/message.ts';
import { after } from '../lib/after.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { LeaseRecord, Store } from '../store/store.ts';
import {
  type AgentAuthenticator,
  type CallerFacts,
  type Identified,
  type Identity,
  type LastingFacts,
  noSelectors,
  unauthenticated,
} from './authentication.ts';
import { isLeaseFor, type Lease, leaseStanding } from './lease.ts';
import {
  agentDisabled,
  agentMissing,
  agentReaches,
  createPermissionCache,
  grantEnded,
  type Holder,
  identityEnded,
  leaseEnded,
  type PermissionSnapshot,
  tokenEnded,
  usedUp,
} from './permissions.ts';
import type { TokenIdentities } from './token-identity.ts';

/** Parts of the authenticator. */
export interface AuthenticatorParts {
  readonly store: Pick<Store, 'epoch' | 'changesSince'> & {
    readonly rights: Pick<Store['rights'], 'revision' | 'read'>;
    readonly leases: Pick<Store['leases'], 'get' | 'use'>;
  };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly uses: Pick<UseNotes, 'used'>;
  readonly signIns?: SignIns | undefined;
  /**
   * Token that is assumed for local callers without one, where the config lets those in. An unknown token is refused all the
   * same.
   */
  readonly assumed?: AssumedToken | undefined;
  /** Identifies agents by JWTs; absent: nobody comes with one. */
  readonly tokenIdentities?: TokenIdentities | undefined;
}

/** A token of this agent, hashed. */
export interface AssumedToken {
  readonly agent: string;
  readonly tokenHash: Buffer;
}

/** Uses of a lease that this process has counted and not yet written. */
interface Fresh {
  readonly usedAt: number | null;
  readonly uses: number;
}

/**
 * Identifies callers by their tokens, and knows their grants. It keeps the rights in memory until the store says that
 * they have changed, and reads the clock for each request.
 */
export function createAgentAuthenticator({
  store,
  now,
  uses,
  signIns,
  assumed,
  tokenIdentities,
}: AuthenticatorParts): AgentAuthenticator {
  const fresh = new Map<string, Fresh>();
  // A tunnel presents one object for all its requests.
  const identities = new WeakMap<PresentedToken, Known>();
  const nobodies = new WeakMap<Selectors, Identity>();
  const assumedTokens = new WeakMap<Selectors, PresentedToken>();
  const rightsInMemory = createPermissionCache(store, now, (rights) => {
    for (const id of fresh.keys()) if (!rights.hasLease(id)) fresh.delete(id);
  });

  /** Returns the lease with the uses that this process knows. */
  function asKnown(lease: LeaseRecord): LeaseRecord {
    const known = fresh.get(lease.id);
    if (known === undefined) return lease;
    const { usedAt, uses: counted } = known;
    return {
      ...lease,
      usedAt: usedAt === null || (lease.usedAt ?? 0) > usedAt ? lease.usedAt : usedAt,
      uses: Math.max(lease.uses, counted),
    };
  }

  function learn(id: string, { usedAt, uses: counted }: Pick<Lease, 'usedAt' | 'uses'>): void {
    fresh.set(id, { usedAt, uses: counted });
  }

  /** Returns why the holder's right is none now; null: it is one. A promise where another process may have used a lease. */
  function refusalOf(holder: Holder, at: number): Refusal | Promise<Refusal> {
    const { agent } = holder;
    if (agent.disabledAt !== null) return agentDisabled(agent);
    if (holder.kind === 'token') {
      const { token } = holder;
      const hasEnded = token.revokedAt !== null || (token.expiresAt !== null && token.expiresAt <= at);
      return hasEnded ? tokenEnded(token) : null;
    }
    if (holder.kind === 'identity') {
      return holder.identity.expiresAt <= at ? identityEnded(holder.identity) : null;
    }
    const lease = asKnown(holder.lease);
    const standing = leaseStanding(lease, at);
    if (standing.state === 'active') return null;
    if (standing.state !== 'expired' || standing.why !== 'idle') return leaseEnded(lease, standing);
    return idleRefusal(lease, at);
  }

  /** Asks the store about an idle lease: another process may have used it since. */
  async function idleRefusal(lease: LeaseRecord, at: number): Promise<Refusal> {
    const stored = await store.leases.get(lease.id);
    if (stored === null) return unknownToken();
    learn(stored.id, stored);
    const told = leaseStanding(lease.maxUses === null ? { ...stored, maxUses: null } : stored, at);
    return told.state === 'active' ? null : leaseEnded(stored, told);
  }

  function note(holder: Holder, at: number): void {
    if (holder.kind === 'token') {
      uses.used('token', holder.token.id, usesEveryMs);
      return;
    }
    // The store has no record of it. The audit log has its uses.
    if (holder.kind === 'identity') return;
    const { id, idleMs, createdAt, usedAt, uses: counted } = asKnown(holder.lease);
    learn(id, { usedAt: at, uses: counted });
    if (idleMs === null) {
      uses.used('lease', id, usesEveryMs);
      return;
    }
    // Other processes know only the written uses. With this they are right to some milliseconds: a use after a long
    // pause is written at once, and of others so soon that the pause before them cannot look like an idle lease.
    const isLate = at - (usedAt ?? createdAt) >= idleMs / 2;
    uses.used('lease', id, isLate ? 0 : Math.min(usesEveryMs, idleMs / 4));
  }

  /** One more use of a lease that has a maximum, counted in the store, for all processes at once. */
  async function count(lease: LeaseRecord, at: number): Promise<Refusal> {
    const counted = await store.leases.use(lease.id, at);
    if (counted !== null) {
      learn(lease.id, { usedAt: at, uses: counted });
      return null;
    }
    const stored = await store.leases.get(lease.id);
    if (stored === null) return unknownToken();
    learn(stored.id, stored);
    const standing = leaseStanding(stored, at);
    // Others gave it back a use in between: the next request gets it.
    return standing.state === 'active' ? usedUp(stored) : leaseEnded(stored, standing);
  }

  function spend(grant: Grant, presented: PresentedToken | null): Refusal | Promise<Refusal> {
    // The current permissions are read again: it may have waited for a person or for a token since.
    const rights = rightsInMemory.current();
    return rights instanceof Promise
      ? spendSoon(rights, grant, presented)
      : spendBy(rights, grant, presented);
  }

  async function spendSoon(
    rights: Promise<PermissionSnapshot>,
    grant: Grant,
    presented: PresentedToken | null,
  ): Promise<Refusal> {
    return spendBy(await rights, grant, presented);
  }

  function spendBy(
    rights: PermissionSnapshot,
    grant: Grant,
    presented: PresentedToken | null,
  ): Refusal | Promise<Refusal> {
    if (presented === null) return grantEnded(grant, rights.policy(grant.id), now());
    return after(known(presented, rights), spendKnown, grant);
  }

  function spendKnown(caller: Known | SidekeyError, grant: Grant): Refusal | Promise<Refusal> {
    if (caller instanceof SidekeyError) return caller;
    const { holder, rights } = caller;
    const at = now();
    const refused = refusalOf(holder, at);
    if (refused instanceof Promise) return spendLater(refused, rights, grant, holder, at);
    return refused ?? spendAs(holder, grant, rights, at);
  }

  async function spendLater(
    refused: Promise<Refusal>,
    rights: PermissionSnapshot,
    grant: Grant,
    holder: Holder,
    at: number,
  ): Promise<Refusal> {
    return (await refused) ?? spendAs(holder, grant, rights, at);
  }

  function spendAs(
    holder: Holder,
    grant: Grant,
    rights: PermissionSnapshot,
    at: number,
  ): Refusal | Promise<Refusal> {
    const refused = grantRefusal(holder, grant, rights, at);
    if (refused !== null) return refused;
    return holder.kind === 'lease' && holder.lease.maxUses !== null ? count(holder.lease, at) : null;
  }

  async function holds(
    presented: PresentedToken | null,
    grant: Grant | null,
    { mode, used }: LastingFacts,
  ): Promise<number | SidekeyError> {
    let rights = await rightsInMemory.current();
    let at = now();
    const grantEnd = (grant === null ? null : rights.policy(grant.id)?.expiresAt) ?? Infinity;
    if ((presented === null || presented.assumed === true) && mode === 'required') return noToken();
    if (presented === null) {
      return (grant === null ? null : grantEnded(grant, rights.policy(grant.id), at)) ?? grantEnd;
    }
    const caller = await known(presented, rights);
    if (caller instanceof SidekeyError) return caller;
    const { holder } = caller;
    rights = caller.rights;
    at = now();
    const lasting = withoutMaximum(holder);
    const refused = await refusalOf(lasting, at);
    if (refused !== null) return refused;
    const taken = grant === null ? null : grantRefusal(holder, grant, rights, at);
    if (taken !== null) return taken;
    if (used) note(holder, at);
    return Math.min(grantEnd, endOf(lasting, at));
  }

  function endOf(holder: Holder, at: number): number {
    if (holder.kind === 'token') return holder.token.expiresAt ?? Infinity;
    if (holder.kind === 'identity') return holder.identity.expiresAt;
    const standing = leaseStanding(asKnown(holder.lease), at);
    return standing.state === 'active' ? standing.endsAt : at;
  }

  function grantLabels({ id }: Grant): readonly string[] | Promise<readonly string[]> {
    const labels = (rights: PermissionSnapshot) => rights.policy(id)?.labels ?? noLabels;
    const rights = rightsInMemory.current();
    return rights instanceof Promise ? rights.then(labels) : labels(rights);
  }

  async function agentLabels(presented: PresentedToken): Promise<readonly string[]> {
    const caller = await known(presented, await rightsInMemory.current());
    return caller instanceof SidekeyError ? noLabels : caller.holder.agent.labels;
  }

  /** Returns the holder of a token and its identity, the same objects until the rights change; null: nobody holds it. */
  function knownAs(presented: PresentedToken, rights: PermissionSnapshot): Known | null {
    const last = identities.get(presented);
    if (last?.rights === rights && applies(last.holder)) return last;
    const holder = holderOf(presented, rights) ?? identityHolder(presented, rights);
    if (holder === null) return null;
    const found = { rights, holder, identity: identityOf(holder, presented, rights) };
    identities.set(presented, found);
    return found;
  }

  function applies(holder: Holder): boolean {
    return holder.kind !== 'identity' || tokenIdentities?.applies(holder.identity) === true;
  }

  /** Returns the agent of a JWT that was verified before. */
  function identityHolder(
    { name, tokenHash, jwt }: PresentedToken,
    rights: PermissionSnapshot,
  ): Holder | null {
    const identity = jwt === undefined ? undefined : tokenIdentities?.find(tokenHash);
    if (identity == null || (name !== null && name !== identity.agent)) return null;
    const agent = rights.agent(identity.agent);
    return agent === null ? null : { kind: 'identity', agent, identity };
  }

  /** Returns the holder of a token, or why there is none. A promise for a JWT that is to be verified. */
  function known(
    presented: PresentedToken,
    rights: PermissionSnapshot,
  ): Known | SidekeyError | Promise<Known | SidekeyError> {
    const found = knownAs(presented, rights);
    if (found !== null) return found;
    const { jwt } = presented;
    return jwt === undefined || tokenIdentities === undefined
      ? unknownToken()
      : verified(presented, jwt, tokenIdentities);
  }

  async function verified(
    presented: PresentedToken,
    jwt: string,
    by: TokenIdentities,
  ): Promise<Known | SidekeyError> {
    const identity = await by.verify(jwt, presented.tokenHash);
    if (identity instanceof SidekeyError) return identity;
    const rights = await rightsInMemory.current();
    if (rights.agent(identity.agent) === null) return agentMissing(identity);
    // Null for another user name, and if the config has changed since.
    return knownAs(presented, rights) ?? unknownToken();
  }

  function identityOf(holder: Holder, presented: PresentedToken, rights: PermissionSnapshot): Identity {
    const { agent } = holder;
    const lease = holder.kind === 'lease' ? holder.lease : null;
    return {
      agent: agent.name,
      agentUser: agent.user,
      labels: agent.labels,
      lease: lease === null ? null : { id: lease.id, purpose: lease.purpose, expiresAt: lease.expiresAt },
      subject: holder.kind === 'identity' ? holder.identity.subject : null,
      selectors: presented.selectors,
      reaches: (grant) => reaches(holder, grant, rights),
      labelsNow: () => agentLabels(presented),
      grantLabels,
      spend: (grant) => spend(grant, presented),
      holds: (grant, lasting) => holds(presented, grant, lasting),
    };
  }

  /** Nothing is read for a caller without a token before there is a grant in question. */
  function nobody(selectors: Selectors): Identity {
    let identity = nobodies.get(selectors);
    if (identity === undefined) nobodies.set(selectors, (identity = newNobody(selectors)));
    return identity;
  }

  function newNobody(selectors: Selectors): Identity {
    return {
      agent: null,
      agentUser: null,
      labels: [],
      lease: null,
      subject: null,
      selectors,
      reaches: ({ lease }) => lease === null,
      labelsNow: () => noLabels,
      grantLabels,
      spend: (grant) => spend(grant, null),
      holds: (grant, lasting) => holds(null, grant, lasting),
    };
  }

  /** Null: a caller who is let in without a token. */
  function tokenOf(
    presented: Exclude<Presented, { readonly kind: 'malformed' }>,
    { loopback, mode }: Pick<CallerFacts, 'loopback' | 'mode'>,
  ): PresentedToken | SidekeyError | null {
    if (presented.kind === 'token') return presented;
    if (mode === 'required' || !loopback) return noToken();
    if (assumed === undefined) return null;
    const selectors = selectorsIn(presented);
    let token = assumedTokens.get(selectors);
    if (token === undefined) {
      const { agent: name, tokenHash } = assumed;
      token = { kind: 'token', name, tokenHash, selectors, assumed: true };
      assumedTokens.set(selectors, token);
    }
    return token;
  }

  return {
    identify(shown, caller) {
      if (shown.kind === 'malformed') return unauthenticated(shown.problem);
      const presented = tokenOf(shown, caller);
      if (presented instanceof SidekeyError) return presented;
      if (presented === null) return nobody(selectorsIn(shown));
      const rights = rightsInMemory.current();
      return rights instanceof Promise
        ? identifiedSoon(rights, presented, caller)
        : identified(rights, presented, caller);
    },
  };

  async function identifiedSoon(
    rights: Promise<PermissionSnapshot>,
    presented: PresentedToken,
    caller: CallerFacts,
  ): Promise<Identified> {
    return identified(await rights, presented, caller);
  }

  function identified(
    rights: PermissionSnapshot,
    presented: PresentedToken,
    caller: CallerFacts,
  ): Identified | Promise<Identified> {
    return after(known(presented, rights), identifiedAs, caller);
  }

  function identifiedAs(
    found: Known | SidekeyError,
    { address, heard }: CallerFacts,
  ): Identified | Promise<Identified> {
    if (found instanceof SidekeyError) return found;
    const { holder, identity } = found;
    const at = now();
    heard?.identity(identity);
    const refused = refusalOf(holder, at);
    if (refused instanceof Promise) return identifiedLater(refused, identity, holder, at, address);
    return refused ?? used(identity, holder, at, address);
  }

  async function identifiedLater(
    refused: Promise<Refusal>,
    identity: Identity,
    holder: Holder,
    at: number,
    address: string | undefined,
  ): Promise<Identified> {
    return (await refused) ?? used(identity, holder, at, address);
  }

  function used(identity: Identity, holder: Holder, at: number, address: string | undefined): Identity {
    note(holder, at);
    if (address !== undefined) signIns?.(holder, address);
    return identity;
  }
}

type Refusal = SidekeyError | null;

/** The holder of a token by the rights of one moment. */
interface Known {
  readonly rights: PermissionSnapshot;
  readonly holder: Holder;
  readonly identity: Identity;
}

const noLabels: readonly string[] = [];

function selectorsIn(shown: Exclude<Presented, { readonly kind: 'malformed' }>): Selectors {
  return shown.kind === 'nothing' ? noSelectors : shown.selectors;
}

/** A lease is limited to the grants that are bound to its agent, and to its own. */
function reaches(holder: Holder, grant: Grant, rights: PermissionSnapshot): boolean {
  if (grant.lease !== null) return holder.kind === 'lease' && holder.lease.id === grant.lease;
  if (holder.kind === 'lease' && !isLeaseFor(holder.lease, grant.id)) return false;
  return agentReaches(holder.agent, grant, rights);
}

/** The name, where one is shown, is the agent's: that of a lease is the agent that it was made for. */
function holderOf({ name, tokenHash }: PresentedToken, rights: PermissionSnapshot): Holder | null {
  const holder = rights.holder(tokenHash);
  return holder === null || (name !== null && name !== holder.agent.name) ? null : holder;
}

/** Returns why the holder may not have the grant; null: it may. */
function grantRefusal(
  holder: Holder,
  grant: Grant,
  rights: PermissionSnapshot,
  at: number,
): SidekeyError | null {
  if (!reaches(holder, grant, rights))
    return new SidekeyError('grant_missing', 'This agent may no longer use the grant.', {
      hint: `"sidekey agent show ${holder.agent.name}" shows the grants that it may use`,
    });
  return grantEnded(grant, rights.policy(grant.id), at);
}

/** A maximum of uses bounds what may begin; an exchange in progress is judged without it. */
function withoutMaximum(holder: Holder): Holder {
  return holder.kind === 'lease' ? { ...holder, lease: { ...holder.lease, maxUses: null } } : holder;
}

function noToken(): SidekeyError {
  return unauthenticated('This proxy accepts only known agents.');
}

function unknownToken(): SidekeyError {
  return unauthenticated('The proxy does not know this agent and token.');
}

/** Hears of each authenticated caller. `client`: address and port. */
type SignIns = (holder: Holder, client: string) => void;

/** Pairs of token and address that are remembered; a forgotten one is recorded again. */
const maxRemembered = 10_000;

/**
 * Records in the audit when a token or a lease is first used from an address, as far as this process knows: the record shows
 * a stolen token. Each use has its own record.
 */
export function createSignIns(audit: Pick<AuditLog, 'note'>): SignIns {
  const seen = new Set<string>();
  return (holder, client) => {
    const [id, by] = signInOf(holder);
    const key = `${id} ${client.replace(/:[0-9]+$/, '')}`;
    if (seen.has(key)) return;
    const [oldest] = seen.size >= maxRemembered ? seen : [];
    if (oldest !== undefined) seen.delete(oldest);
    seen.add(key);
    audit.note({
      event: 'agent.signed_in',
      agent: holder.agent.name,
      lease: holder.kind === 'lease' ? id : undefined,
      subject: holder.kind === 'identity' ? holder.identity.subject : undefined,
      client,
      outcome: 'allow',
      reason: `by ${by}`,
    });
  };
}

/** Returns what tells a token from others, and its name for people. Tokens of one subject are alike. */
function signInOf(holder: Holder): readonly [id: string, by: string] {
  switch (holder.kind) {
    case 'token':
      return [holder.token.id, `the token ${holder.token.label}`];
    case 'lease':
      return [holder.lease.id, 'a lease'];
    case 'identity': {
      const { issuer, subject } = holder.identity;
      return [JSON.stringify([issuer, subject]), `a token of agent_issuers.${issuer}`];
    }
  }
}
