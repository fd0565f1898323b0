import { type UseNotes, usesEveryMs } from '../grants/activity.ts';
import type { Grant } from '../domain/grant.ts';
import type { Presented, PresentedToken, Selectors } from '../http/message.ts';
import { after } from '../lib/after.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { PeerOwner } from '../lib/os.ts';
import type { Store } from '../store/store.ts';
import {
  type AgentAuthenticator,
  type CallerFacts,
  type Identified,
  type Identity,
  type LastingFacts,
  noSelectors,
  unauthenticated,
  unknownToken,
} from './authentication.ts';
import { type EgressLists, egressOf } from './egress.ts';
import { anonymous, type BoundGrant, isLeaseFor, placeOf } from '../domain/lease.ts';
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
  const leases = new LeaseUses(store.leases, uses);
  // A tunnel presents one object for all its requests.
  const identities = new WeakMap<PresentedToken, Known>();
  /** By the connection of the caller. */
  const nobodies = new WeakMap<CallerFacts['owner'], Identity>();
  const assumedTokens = new WeakMap<Selectors, PresentedToken>();
  const rightsInMemory = createPermissionCache(store, now, (rights) => leases.keep(rights));

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
    return leases.refusal(holder.lease, at);
  }

  function note(holder: Holder, at: number): void {
    if (holder.kind === 'token') uses.used('token', holder.token.id, usesEveryMs);
    else if (holder.kind === 'identity') uses.used('identity', holder.agent.name, usesEveryMs);
    else leases.note(holder.lease, at);
  }

  function spend(grant: Grant, presented: PresentedToken | null): Refusal | Promise<Refusal> {
    // The current permissions are read again: it may have waited for a person or for a token since.
    return after(rightsInMemory.current(), spendBy, grant, presented);
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
    const at = now();
    return after(refusalOf(caller.holder, at), spendAs, caller, grant, at);
  }

  function spendAs(
    ended: Refusal,
    { holder, rights }: Known,
    grant: Grant,
    at: number,
  ): Refusal | Promise<Refusal> {
    const refused = ended ?? grantRefusal(holder, grant, rights, at);
    if (refused !== null) return refused;
    return holder.kind === 'lease' && holder.lease.maxUses !== null ? leases.count(holder.lease, at) : null;
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
    return leases.endOf(holder.lease, at);
  }

  function grantLabels({ id }: Grant): readonly string[] | Promise<readonly string[]> {
    return after(rightsInMemory.current(), labelsOf, id);
  }

  async function agentLabels(presented: PresentedToken): Promise<readonly string[]> {
    const caller = await known(presented, await rightsInMemory.current());
    return caller instanceof SidekeyError ? noLabels : caller.holder.agent.labels;
  }

  function egressNow(presented: PresentedToken): EgressLists | Promise<EgressLists> {
    return after(rightsInMemory.current(), egressBy, presented);
  }

  function egressBy(
    rights: PermissionSnapshot,
    presented: PresentedToken,
  ): EgressLists | Promise<EgressLists> {
    return after(known(presented, rights), egressOfKnown);
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

  /** Returns the holder of a token, or why there is none. A promise for a JWT that is to be verified. */
  function known(
    presented: PresentedToken,
    rights: PermissionSnapshot,
  ): Known | SidekeyError | Promise<Known | SidekeyError> {
    const found = knownAs(presented, rights);
    if (found !== null) return found;
    const { jwt, certificate } = presented;
    if (certificate !== undefined) return agentMissing({ ...certificate, issuer: null });
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
      placeOf: (grant) =>
        placeOf(grant, labelsOf(rights, grant.id), { bindings: agent.bindings, user: agent.user, lease }),
      labelsNow: () => agentLabels(presented),
      egressNow: () => egressNow(presented),
      grantLabels,
      spend: (grant) => spend(grant, presented),
      holds: (grant, lasting) => holds(presented, grant, lasting),
    };
  }

  /** Nothing is read for a caller without a token before there is a grant in question. */
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
    identify(shown, caller) {
      if (shown.kind === 'malformed') return unauthenticated(shown.problem, shown.hint);
      if (shown.kind === 'token') return after(rightsInMemory.current(), identified, shown, caller);
      if (caller.mode === 'required' || !caller.loopback) return noToken();
      return after(caller.mode === 'any' ? 'own' : caller.owner(), local, selectorsIn(shown), caller);
    },
  };

  /** Identifies a local caller without a token. */
  function local(
    owner: PeerOwner,
    selectors: Selectors,
    caller: CallerFacts,
  ): Identified | Promise<Identified> {
    const refused = ownerRefusal(owner);
    if (refused !== null) return refused;
    if (assumed === undefined) return nobody(selectors, caller.owner);
    return after(rightsInMemory.current(), identified, assumedToken(assumed, selectors), caller);
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
    const at = now();
    heard?.identity(found.identity);
    return after(refusalOf(found.holder, at), used, found, at, address);
  }

  function used(
    refused: Refusal,
    { holder, identity }: Known,
    at: number,
    address: string | undefined,
  ): Identified {
    if (refused !== null) return refused;
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
const anywhere: EgressLists = [];
const nowhere: EgressLists = [[]];

function egressOfKnown(caller: Known | SidekeyError): EgressLists {
  if (caller instanceof SidekeyError) return nowhere;
  const { holder } = caller;
  return egressOf(holder.agent.bindings, holder.kind === 'lease' ? holder.lease.egress : undefined);
}

function labelsOf(rights: PermissionSnapshot, grantId: string): readonly string[] {
  return rights.policy(grantId)?.labels ?? noLabels;
}

function selectorsIn(shown: Exclude<Presented, { readonly kind: 'malformed' }>): Selectors {
  return shown.kind === 'nothing' ? noSelectors : shown.selectors;
}

/** A lease is limited to the grants that are bound to its agent, and to its own. */
function reaches(holder: Holder, grant: BoundGrant, rights: PermissionSnapshot): boolean {
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

/** Returns why a local caller of this owner needs a token; null: it needs none. */
function ownerRefusal(owner: PeerOwner): SidekeyError | null {
  if (owner === 'own') return null;
  return owner === 'other'
    ? new SidekeyError('caller_not_same_user')
    : new SidekeyError(
        'caller_not_same_user',
        'The system does not report which user this connection belongs to, so it needs an agent token.',
      );
}
