import { type UseNotes, usesEveryMs } from '../grants/activity.ts';
import type { Grant } from '../domain/grant.ts';
import type { PresentedToken, Selectors } from '../proxy/http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { PeerOwner } from '../lib/os.ts';
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
import { anonymous, type BoundGrant, isLeaseFor, placeOf, scopeOf } from '../domain/lease.ts';
import { LeaseUses } from './lease-uses.ts';
import {
  agentDisabled,
  agentMissing,
  agentReaches,
  createPermissionCache,
  grantEnded,
  type Holder,
  identityEnded,
  type PermissionSnapshot,
  tokenEnded,
} from './permissions.ts';
import type { SignIns } from './sign-ins.ts';
import type { TokenIdentities } from './token-identity.ts';

export interface AuthenticatorParts {
  readonly store: Pick<Store, 'epoch' | 'changesSince'> & {
    readonly rights: Pick<Store['rights'], 'revision' | 'read'>;
    readonly leases: Pick<Store['leases'], 'get' | 'use'>;
  };
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
 * Identifies callers by their tokens. Rights stay in memory until the store reports a change. The clock is
 * read for each request.
 */
export function createAgentAuthenticator({
  store,
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
  const rightsInMemory = createPermissionCache(store, now, (rights) => leases.keep(rights));

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

  async function spend(grant: Grant, presented: PresentedToken | null): Promise<Refusal> {
    // Rights are read again, because the request may have waited for a person or for a token.
    if (presented === null) {
      const rights = await rightsInMemory.current();
      return grantEnded(grant, rights.policy(grant.id), now());
    }
    const caller = callerInMemory(presented) ?? (await callerOf(presented));
    if (caller instanceof SidekeyError) return caller;
    const { holder } = caller;
    const at = now();
    const refusal = (await holderRefusal(holder, at)) ?? grantRefusal(caller, grant, at);
    if (refusal !== null) return refusal;
    return holder.kind === 'lease' && holder.lease.maxUses !== null ? leases.count(holder.lease, at) : null;
  }

  async function holds(
    presented: PresentedToken | null,
    grant: Grant | null,
    { mode, used }: LastingFacts,
  ): Promise<number | SidekeyError> {
    const rights = await rightsInMemory.current();
    const grantEnd = (grant === null ? null : rights.policy(grant.id)?.expiresAt) ?? Infinity;
    if ((presented === null || presented.assumed === true) && mode === 'required') return noToken();
    if (presented === null)
      return (grant === null ? null : grantEnded(grant, rights.policy(grant.id), now())) ?? grantEnd;
    const caller = callerBy(rights, presented) ?? (await callerOf(presented));
    if (caller instanceof SidekeyError) return caller;
    const { holder } = caller;
    const at = now();
    const lasting = withoutMaximum(holder);
    const refusal =
      (await holderRefusal(lasting, at)) ?? (grant === null ? null : grantRefusal(caller, grant, at));
    if (refusal !== null) return refusal;
    if (used) note(holder, at);
    return Math.min(grantEnd, endOf(lasting, at));
  }

  function endOf(holder: Holder, at: number): number {
    if (holder.kind === 'token') return holder.token.expiresAt ?? Infinity;
    if (holder.kind === 'identity') return holder.identity.expiresAt;
    return leases.endOf(holder.lease, at);
  }

  async function grantLabels({ id }: Grant): Promise<readonly string[]> {
    return labelsOf(await rightsInMemory.current(), id);
  }

  async function agentLabels(presented: PresentedToken): Promise<readonly string[]> {
    const caller = await callerOf(presented);
    return caller instanceof SidekeyError ? noLabels : caller.holder.agent.labels;
  }

  async function egressNow(presented: PresentedToken): Promise<EgressLists> {
    const caller = await callerOf(presented);
    if (caller instanceof SidekeyError) return nowhere;
    const { holder } = caller;
    return egressOf(holder.agent.bindings, holder.kind === 'lease' ? holder.lease.egress : undefined);
  }

  /** Returns the caller of a token without a read; null if rights or a JWT must be read. */
  function callerInMemory(presented: PresentedToken): Caller | null {
    const rights = rightsInMemory.inMemory();
    return rights === null ? null : callerBy(rights, presented);
  }

  /** Returns the caller of a token, the same object until the rights change; null: unknown token. */
  function callerBy(rights: PermissionSnapshot, presented: PresentedToken): Caller | null {
    const last = callers.get(presented);
    if (last?.rights === rights && applies(last.holder)) return last;
    const holder = holderOf(presented, rights) ?? identityHolder(presented, rights);
    if (holder === null) return null;
    const caller = { rights, holder, identity: identityOf(holder, presented, rights) };
    callers.set(presented, caller);
    return caller;
  }

  function applies(holder: Holder): boolean {
    if (holder.kind !== 'identity' || holder.identity.issuer === null) return true;
    return tokenIdentities?.applies(holder.identity) === true;
  }

  /** Returns the agent of a certificate, or of a JWT that was verified before. */
  function identityHolder(
    { name, tokenHash, jwt, certificate }: PresentedToken,
    rights: PermissionSnapshot,
  ): Holder | null {
    const ofToken = jwt === undefined ? null : tokenIdentities?.find(tokenHash);
    const identity = certificate === undefined ? ofToken : { ...certificate, issuer: null };
    if (identity == null || (name !== null && name !== identity.agent)) return null;
    const agent = rights.agent(identity.agent);
    return agent === null ? null : { kind: 'identity', agent, identity };
  }

  /** Returns the caller of a token by the current rights, or the refusal. Verifies an unknown JWT. */
  async function callerOf(presented: PresentedToken): Promise<Caller | SidekeyError> {
    const caller = callerBy(await rightsInMemory.current(), presented);
    if (caller !== null) return caller;
    const { jwt, certificate, tokenHash } = presented;
    if (certificate !== undefined) return agentMissing({ ...certificate, issuer: null });
    if (jwt === undefined || tokenIdentities === undefined) return unknownToken();
    const identity = await tokenIdentities.verify(jwt, tokenHash);
    if (identity instanceof SidekeyError) return identity;
    const rights = await rightsInMemory.current();
    if (rights.agent(identity.agent) === null) return agentMissing(identity);
    // Null for another user name, and if the config has changed since.
    return callerBy(rights, presented) ?? unknownToken();
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
      placeOf: (grant) =>
        placeOf(grant, labelsOf(rights, grant.id), { bindings: agent.bindings, user: agent.user, lease }),
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
      placeOf: (grant) => placeOf(grant, noLabels, anonymous),
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

  function assumedToken({ agent: name, tokenHash }: AssumedToken, selectors: Selectors): PresentedToken {
    let token = assumedTokens.get(selectors);
    if (token === undefined) {
      token = { kind: 'token', name, tokenHash, selectors, assumed: true };
      assumedTokens.set(selectors, token);
    }
    return token;
  }

  return {
    async identify(shown, facts) {
      if (shown.kind === 'malformed') return unauthenticated(shown.problem, shown.hint);
      let presented: PresentedToken;
      if (shown.kind === 'token') presented = shown;
      else {
        const { mode, loopback, owner } = facts;
        if (mode === 'required' || !loopback) return noToken();
        const refusal = mode === 'any' ? null : ownerRefusal(await owner());
        if (refusal !== null) return refusal;
        const selectors = shown.kind === 'nothing' ? noSelectors : shown.selectors;
        if (assumed === undefined) return nobody(selectors, owner);
        presented = assumedToken(assumed, selectors);
      }
      const caller = callerInMemory(presented) ?? (await callerOf(presented));
      if (caller instanceof SidekeyError) return caller;
      const { holder, identity } = caller;
      const at = now();
      facts.heard?.identity(identity);
      const refusal = await holderRefusal(holder, at);
      if (refusal !== null) return refusal;
      note(holder, at);
      if (facts.address !== undefined) signIns?.(holder, facts.address);
      return identity;
    },
  };
}

type Refusal = SidekeyError | null;

/** The holder of a token by the rights of one moment. */
interface Caller {
  readonly rights: PermissionSnapshot;
  readonly holder: Holder;
  readonly identity: Identity;
}

const noLabels: readonly string[] = [];
const anywhere: EgressLists = [];
const nowhere: EgressLists = [[]];

function labelsOf(rights: PermissionSnapshot, grantId: string): readonly string[] {
  return rights.policy(grantId)?.labels ?? noLabels;
}

/** Reports whether a holder reaches a grant. A lease reaches only its grants that are bound to the agent. */
function reaches(holder: Holder, grant: BoundGrant, rights: PermissionSnapshot): boolean {
  if (grant.lease !== null) return holder.kind === 'lease' && holder.lease.id === grant.lease;
  if (holder.kind === 'lease' && !isLeaseFor(holder.lease, grant.id)) return false;
  return agentReaches(holder.agent, grant, rights);
}

/** Returns the holder of a token; null if there is none, or if the name is not the name of its agent. */
function holderOf({ name, tokenHash }: PresentedToken, rights: PermissionSnapshot): Holder | null {
  const holder = rights.holder(tokenHash);
  return holder === null || (name !== null && name !== holder.agent.name) ? null : holder;
}

/** Returns why the holder may not use the grant; null if it may. */
function grantRefusal({ holder, rights }: Caller, grant: Grant, at: number): Refusal {
  if (!reaches(holder, grant, rights))
    return new SidekeyError('grant_missing', 'This agent may no longer use the grant.', {
      hint: hintOf`"${remedy('agent.get', { agent: holder.agent.name })}" shows the grants that it may use`,
    });
  return grantEnded(grant, rights.policy(grant.id), at);
}

/** Returns the holder without a maximum of uses, which does not apply to an exchange in progress. */
function withoutMaximum(holder: Holder): Holder {
  return holder.kind === 'lease' ? { ...holder, lease: { ...holder.lease, maxUses: null } } : holder;
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
