import { type UseNotes, usesEveryMs } from '../grants/activity.ts';
import type { Grant } from '../domain/grant.ts';
import type { PresentedToken, Selectors } from '../proxy/http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { whenReady } from '../lib/timers.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { PeerOwner } from '../lib/os.ts';
import type { Registry } from '../grants/registry.ts';
import { noPolicy } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import {
  type AgentAuthenticator,
  type CallerFacts,
  type Identity,
  type LastingFacts,
  noSelectors,
  unauthenticated,
  unknownToken,
} from './authentication.ts';
import { type EgressLists, egressOf } from './egress.ts';
import { anonymous, type BoundGrant, isLeaseFor, placeOf, reachesGrant, scopeOf } from '../domain/lease.ts';
import { LeaseUses } from './lease-uses.ts';
import {
  agentDisabled,
  agentMissing,
  createPermissionCache,
  grantEnded,
  type Holder,
  identityEnded,
  tokenEnded,
} from './permissions.ts';
import type { SignIns } from './sign-ins.ts';
import type { TokenIdentities, TokenIdentity } from './token-identity.ts';

export interface AuthenticatorParts {
  readonly store: Pick<Store, 'epoch' | 'changesSince'> & {
    readonly rights: Pick<Store['rights'], 'revision' | 'holder' | 'agent'>;
    readonly grantPolicies: Pick<Store['grantPolicies'], 'get'>;
    readonly leases: Pick<Store['leases'], 'get' | 'use'>;
  };
  readonly grants: Pick<Registry, 'current'>;
  /** Approximate bytes of memory for rights. Default: 16 MiB. */
  readonly cacheBytes?: number | undefined;
  readonly now: () => number;
  readonly uses: Pick<UseNotes, 'used'>;
  readonly signIns?: SignIns | undefined;
  /** Token assumed for allowed local callers without one. A caller with an unknown token is still refused. */
  readonly assumed?: AssumedToken | undefined;
  /** Identifies agents by JWTs; absent if no issuer is configured. */
  readonly tokenIdentities?: TokenIdentities | undefined;
}

/** A token of this agent, hashed. */
export interface AssumedToken {
  readonly agent: string;
  readonly tokenHash: Buffer;
}

/**
 * Identifies callers by their tokens. Rights in memory are valid until the store reports their change. The
 * clock is read for each request.
 */
export function createAgentAuthenticator({
  store,
  grants,
  cacheBytes = 16 * 1_048_576,
  now,
  uses,
  signIns,
  assumed,
  tokenIdentities,
}: AuthenticatorParts): AgentAuthenticator {
  const leases = new LeaseUses(store.leases, uses);
  // A tunnel presents one object for all its requests.
  const callers = new WeakMap<PresentedToken, Caller>();
  /** Identities of callers without a token, by their connection. */
  const nobodies = new WeakMap<CallerFacts['owner'], Identity>();
  const assumedTokens = new WeakMap<Selectors, PresentedToken>();
  const permissions = createPermissionCache(store, cacheBytes);

  /** Returns why a right has ended, or null. A promise if another process may have used a lease. */
  function holderRefusal(holder: Holder, at: number): Refusal | Promise<Refusal> {
    const { agent } = holder;
    if (agent.disabledAt !== null) return agentDisabled(agent);
    if (holder.kind === 'token') {
      const { token } = holder;
      const hasEnded = token.revokedAt !== null || (token.expiresAt !== null && token.expiresAt <= at);
      return hasEnded ? tokenEnded(token) : null;
    }
    if (holder.kind === 'identity')
      return holder.identity.expiresAt <= at ? identityEnded(holder.identity) : null;
    return leases.refusal(holder.lease, at);
  }

  function note(holder: Holder, at: number): void {
    if (holder.kind === 'token') uses.used('token', holder.token.id, usesEveryMs);
    else if (holder.kind === 'identity') uses.used('identity', holder.agent.name, usesEveryMs);
    else leases.note(holder.lease, at);
  }

  function spend(grant: Grant, presented: PresentedToken | null): Refusal | Promise<Refusal> {
    // Rights are looked up again, because the request may have waited for a person or for a token.
    if (presented === null) return grantRefusal(null, grant);
    return whenReady(currentCaller(presented), (caller) => {
      if (caller instanceof SidekeyError) return caller;
      const { holder } = caller;
      const at = now();
      return whenReady(holderRefusal(holder, at), (ended) =>
        whenReady(ended ?? grantRefusal(holder, grant), (refusal) => {
          if (refusal !== null) return refusal;
          return holder.kind === 'lease' && holder.lease.maxUses !== null
            ? leases.count(holder.lease, at)
            : null;
        }),
      );
    });
  }

  async function holds(
    presented: PresentedToken | null,
    grant: Grant | null,
    { mode, used }: LastingFacts,
  ): Promise<number | SidekeyError> {
    // Throws if what is in memory no longer counts.
    permissions.version();
    const grantEnd = (grant === null ? null : await grants.current(grant.id))?.endsAt ?? Infinity;
    if ((presented === null || presented.assumed === true) && mode === 'required') return noToken();
    if (presented === null) return (grant === null ? null : await grantRefusal(null, grant)) ?? grantEnd;
    const caller = await currentCaller(presented);
    if (caller instanceof SidekeyError) return caller;
    const { holder } = caller;
    const at = now();
    // A maximum of uses does not apply to an exchange in progress.
    const lasting: Holder =
      holder.kind === 'lease' ? { ...holder, lease: { ...holder.lease, maxUses: null } } : holder;
    const refusal =
      (await holderRefusal(lasting, at)) ?? (grant === null ? null : await grantRefusal(lasting, grant));
    if (refusal !== null) return refusal;
    if (used) note(holder, at);
    return Math.min(grantEnd, endOf(lasting, at));
  }

  function endOf(holder: Holder, at: number): number {
    if (holder.kind === 'token') return holder.token.expiresAt ?? Infinity;
    if (holder.kind === 'identity') return holder.identity.expiresAt;
    return leases.endOf(holder.lease, at);
  }

  /** Returns why the holder (null: a caller without a token) may not use a grant now; null if it may. */
  function grantRefusal(holder: Holder | null, { id, name }: Grant): Refusal | Promise<Refusal> {
    return whenReady(grants.current(id), (grant) => {
      if (grant === null) return new SidekeyError('grant_missing', `The grant ${name} was removed.`);
      if (holder !== null && !reaches(holder, grant))
        return new SidekeyError('grant_missing', 'This agent may no longer use the grant.', {
          hint: hintOf`"${remedy('agent.get', { agent: holder.agent.name })}" shows the grants that it may use`,
        });
      const { endsAt } = grant;
      const at = now();
      if (endsAt !== undefined && at >= endsAt) return endedRefusal(grant, endsAt, at);
      return grant.parent === null ? null : parentRefusal(holder, grant.parent);
    });
  }

  /** Returns why a minted grant may not be used now: its parent must be usable by the same holder. */
  function parentRefusal(holder: Holder | null, id: string): Refusal | Promise<Refusal> {
    return whenReady(grants.current(id), (parent) => {
      if (parent !== null && parent.state !== 'revoked') return grantRefusal(holder, parent);
      return new SidekeyError('grant_missing', 'The grant that this credential was minted with has ended.');
    });
  }

  async function endedRefusal(grant: Grant, endsAt: number, at: number): Promise<Refusal> {
    // Only the hint needs the policy.
    const policy = await store.grantPolicies.get(grant.id).catch(() => null);
    return grantEnded(grant, { ...(policy ?? noPolicy(grant.id)), expiresAt: endsAt }, at);
  }

  function grantLabels({ id }: Pick<Grant, 'id'>): readonly string[] | Promise<readonly string[]> {
    return whenReady(grants.current(id), (grant) =>
      // Labels of a parent may have changed since the minted grant was read.
      grant?.parent == null ? (grant?.labels ?? noLabels) : grantLabels({ id: grant.parent }),
    );
  }

  async function agentLabels(presented: PresentedToken): Promise<readonly string[]> {
    const caller = await currentCaller(presented);
    return caller instanceof SidekeyError ? noLabels : caller.holder.agent.labels;
  }

  async function egressNow(presented: PresentedToken): Promise<EgressLists> {
    const caller = await currentCaller(presented);
    if (caller instanceof SidekeyError) return nowhere;
    const { holder } = caller;
    return egressOf(holder.agent.bindings, holder.kind === 'lease' ? holder.lease.egress : undefined);
  }

  /** Returns the caller of a token without a read; null: its rights or its JWT must be read. */
  function callerInMemory(presented: PresentedToken): Caller | null {
    const version = permissions.version();
    const last = callers.get(presented);
    if (version === null) return null;
    if (last?.version === version && applies(last.holder)) return last;
    const holder = holderInMemory(presented);
    return holder === null ? null : callerOf(presented, holder, version);
  }

  function holderInMemory(presented: PresentedToken): Holder | null {
    const { name, tokenHash, jwt, certificate } = presented;
    if (jwt === undefined && certificate === undefined) {
      const holder = permissions.holder(tokenHash);
      return holder !== undefined && isNamed(name, holder.agent.name) ? holder : null;
    }
    const identity = identityIn(presented);
    const agent = identity === null ? undefined : permissions.agent(identity.agent);
    if (identity === null || agent === undefined || !isNamed(name, agent.name)) return null;
    return { kind: 'identity', agent, identity };
  }

  /** Returns the identity of a certificate, or of a JWT that was verified before. */
  function identityIn({ tokenHash, certificate }: PresentedToken): TokenIdentity | null {
    if (certificate !== undefined) return { ...certificate, issuer: null };
    return tokenIdentities?.find(tokenHash) ?? null;
  }

  /** Returns the same caller for the same presented object and holder. */
  function callerOf(presented: PresentedToken, holder: Holder, version: number | null): Caller {
    const last = callers.get(presented);
    if (last !== undefined && isSameHolder(last.holder, holder)) {
      last.version = version;
      return last;
    }
    const caller = { version, holder, identity: identityOf(holder, presented) };
    callers.set(presented, caller);
    return caller;
  }

  function applies(holder: Holder): boolean {
    if (holder.kind !== 'identity' || holder.identity.issuer === null) return true;
    return tokenIdentities?.applies(holder.identity) === true;
  }

  /** Returns the caller of a token by the current rights, or the refusal. Verifies an unknown JWT. */
  async function readCaller(presented: PresentedToken): Promise<Caller | SidekeyError> {
    const before = permissions.version();
    const { name, jwt, certificate, tokenHash } = presented;
    let holder: Holder | null;
    if (jwt === undefined && certificate === undefined) holder = await permissions.readHolder(tokenHash);
    else {
      if (certificate === undefined && tokenIdentities === undefined) return unknownToken();
      const identity =
        identityIn(presented) ?? (await (tokenIdentities as TokenIdentities).verify(jwt!, tokenHash));
      if (identity instanceof SidekeyError) return identity;
      const agent = await permissions.readAgent(identity.agent);
      if (agent === null) return agentMissing(identity);
      holder = { kind: 'identity', agent, identity };
      // The config may have changed since.
      if (!applies(holder)) return unknownToken();
    }
    if (holder === null || !isNamed(name, holder.agent.name)) return unknownToken();
    // If nothing was forgotten meanwhile, an agent that is too large for the memory is not read again.
    const version = permissions.version();
    return callerOf(presented, holder, version === before ? version : null);
  }

  function currentCaller(presented: PresentedToken): Caller | SidekeyError | Promise<Caller | SidekeyError> {
    return callerInMemory(presented) ?? readCaller(presented);
  }

  function identityOf(holder: Holder, presented: PresentedToken): Identity {
    const { agent } = holder;
    const lease = holder.kind === 'lease' ? holder.lease : null;
    return {
      agent: agent.name,
      agentUser: agent.user,
      labels: agent.labels,
      lease: lease === null ? null : { id: lease.id, purpose: lease.purpose, expiresAt: lease.expiresAt },
      subject: holder.kind === 'identity' ? holder.identity.subject : null,
      selectors: presented.selectors,
      reaches: (grant) => reaches(holder, grant),
      placeOf: (grant) => placeOf(grant, { bindings: agent.bindings, user: agent.user, lease }),
      scope: scopeOf({ bindings: agent.bindings, user: agent.user, lease }),
      labelsNow: () => agentLabels(presented),
      egressNow: () => egressNow(presented),
      grantLabels,
      spend: (grant) => spend(grant, presented),
      holds: (grant, lasting) => holds(presented, grant, lasting),
    };
  }

  /** Returns the identity of a caller without a token. Reads the store only if a grant is selected later. */
  function nobody(selectors: Selectors, owner: CallerFacts['owner']): Identity {
    let identity = nobodies.get(owner);
    if (identity?.selectors === selectors) return identity;
    identity = {
      agent: null,
      agentUser: null,
      labels: noLabels,
      lease: null,
      subject: null,
      selectors,
      reaches: ({ lease }) => lease === null,
      placeOf: (grant) => placeOf(grant, anonymous),
      scope: scopeOf(anonymous),
      labelsNow: () => noLabels,
      egressNow: () => anywhere,
      grantLabels,
      spend: (grant) => spend(grant, null),
      holds: async (grant, lasting) =>
        (lasting.mode === 'same_user' ? ownerRefusal(await owner()) : null) ?? holds(null, grant, lasting),
    };
    nobodies.set(owner, identity);
    return identity;
  }

  /** Returns the identity of a token whose right has not ended, and notes its use. */
  function accept(
    presented: PresentedToken,
    { heard, address }: CallerFacts,
  ): Identity | SidekeyError | Promise<Identity | SidekeyError> {
    return whenReady(currentCaller(presented), (caller) => {
      if (caller instanceof SidekeyError) return caller;
      const { holder, identity } = caller;
      const at = now();
      heard?.identity(identity);
      return whenReady(holderRefusal(holder, at), (refusal) => {
        if (refusal !== null) return refusal;
        note(holder, at);
        if (address !== undefined) signIns?.(holder, address);
        return identity;
      });
    });
  }

  function assumedToken({ agent: name, tokenHash }: AssumedToken, selectors: Selectors): PresentedToken {
    let token = assumedTokens.get(selectors);
    if (token === undefined) {
      token = { kind: 'token', name, tokenHash, selectors, assumed: true };
      assumedTokens.set(selectors, token);
    }
    return token;
  }

  return {
    identify(shown, facts) {
      if (shown.kind === 'malformed') return unauthenticated(shown.problem, shown.hint);
      if (shown.kind === 'token') return accept(shown, facts);
      const { mode, loopback, owner } = facts;
      if (mode === 'required' || !loopback) return noToken();
      return whenReady(mode === 'any' ? null : whenReady(owner(), ownerRefusal), (refusal) => {
        if (refusal !== null) return refusal;
        const selectors = shown.kind === 'nothing' ? noSelectors : shown.selectors;
        return assumed === undefined
          ? nobody(selectors, owner)
          : accept(assumedToken(assumed, selectors), facts);
      });
    },
  };
}

type Refusal = SidekeyError | null;

interface Caller {
  /** Version of the permissions by which the holder is the current one; null: to be compared. */
  version: number | null;
  readonly holder: Holder;
  readonly identity: Identity;
}

const noLabels: readonly string[] = [];
const anywhere: EgressLists = [];
const nowhere: EgressLists = [[]];

/** Reports whether a holder reaches a grant. A lease reaches only its grants that are bound to the agent. */
function reaches(holder: Holder, grant: BoundGrant): boolean {
  if (grant.lease !== null) return holder.kind === 'lease' && holder.lease.id === grant.lease;
  if (holder.kind === 'lease' && !isLeaseFor(holder.lease, grant.id)) return false;
  const { bindings, user } = holder.agent;
  return reachesGrant(bindings, user, grant);
}

/** Reports whether a caller that shows this name, or none, may be the agent. */
function isNamed(name: string | null, agent: string): boolean {
  return name === null || name === agent;
}

/** Reports whether both are of the same records in memory. */
function isSameHolder(a: Holder, b: Holder): boolean {
  if (a.agent !== b.agent) return false;
  if (a.kind === 'token') return b.kind === 'token' && a.token === b.token;
  if (a.kind === 'lease') return b.kind === 'lease' && a.lease === b.lease;
  return b.kind === 'identity' && a.identity === b.identity;
}

function noToken(): SidekeyError {
  return unauthenticated('This proxy accepts only known agents.');
}

/** Returns why a local caller of this owner needs a token; null if it needs none. */
function ownerRefusal(owner: PeerOwner): SidekeyError | null {
  if (owner === 'own') return null;
  return owner === 'other'
    ? new SidekeyError('caller_not_same_user')
    : new SidekeyError(
        'caller_not_same_user',
        'The system does not report which user this connection belongs to, so it needs an agent token.',
      );
}
