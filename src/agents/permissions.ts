import { formatDuration } from '../config/scalar.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy, type Remedy } from '../lib/hint.ts';
import type {
  AgentRecord,
  AgentTokenRecord,
  GrantPolicy,
  LeaseRecord,
  Rights,
  Store,
} from '../store/store.ts';
import { hashKey, unauthenticated } from './authentication.ts';
import {
  type Binding,
  type BoundGrant,
  type Lease,
  type LeaseStanding,
  reachesGrant,
} from '../domain/lease.ts';
import type { TokenIdentity } from './token-identity.ts';

interface KnownAgent extends AgentRecord {
  readonly bindings: readonly Binding[];
}

/** The holder of a token: an agent's own, one of its leases, or one of an OIDC issuer. It may have ended. */
export type Holder =
  | { readonly kind: 'token'; readonly agent: KnownAgent; readonly token: AgentTokenRecord }
  | { readonly kind: 'lease'; readonly agent: KnownAgent; readonly lease: LeaseRecord }
  | { readonly kind: 'identity'; readonly agent: KnownAgent; readonly identity: TokenIdentity };

/** All rights of the store at one moment, indexed by the values that requests present. */
export interface PermissionSnapshot {
  readonly revision: number;
  /** Returns the holder of a token by the SHA-256 of the token. */
  holder(tokenHash: Uint8Array): Holder | null;
  agent(name: string): KnownAgent | null;
  policy(grantId: string): GrantPolicy | null;
  /** Reports whether a lease exists, by its id. */
  hasLease(id: string): boolean;
}

/** The rights, read anew when they have changed. */
interface PermissionCache {
  /**
   * Returns rights that are not older than this call. Costs one `Store.epoch` while the store has not
   * changed, and one small read if something else than a right has changed.
   * @throws SidekeyError `store_unavailable`, also for those whom it knew before
   */
  current(): Promise<PermissionSnapshot>;
  /** Returns the result of `current` if it needs no read, or null. @throws SidekeyError as `current` */
  inMemory(): PermissionSnapshot | null;
}

/** Milliseconds for which an ended lease differs from an unknown one. More of them slow down each read. */
const rememberMs = 86_400_000;

/** Reads nothing before the first call. `onRead` receives rights whenever they are read again. */
export function createPermissionCache(
  store: Pick<Store, 'epoch' | 'changesSince'> & {
    readonly rights: Pick<Store['rights'], 'revision' | 'read'>;
  },
  now: () => number,
  onRead: (rights: PermissionSnapshot) => void,
): PermissionCache {
  let cached: { readonly rights: PermissionSnapshot; readonly epoch: number } | null = null;
  let loading: Promise<PermissionSnapshot> | null = null;

  function inMemory(): PermissionSnapshot | null {
    if (cached === null) return null;
    const epoch = store.epoch();
    if (cached.epoch !== epoch) {
      if (store.changesSince(cached.epoch).others) return null;
      cached = { rights: cached.rights, epoch };
    }
    return cached.rights;
  }

  async function read(): Promise<PermissionSnapshot> {
    // Asked before the rows: after a change in between, the read values count as old, never as new.
    const epoch = store.epoch();
    const isUnchanged = cached !== null && (await store.rights.revision()) === cached.rights.revision;
    if (cached !== null && isUnchanged) {
      cached = { rights: cached.rights, epoch };
    } else {
      cached = { rights: knownRights(await store.rights.read(now() - rememberMs)), epoch };
      onRead(cached.rights);
    }
    return cached.rights;
  }

  async function load(): Promise<PermissionSnapshot> {
    if (loading !== null) {
      // That load may have read its rows before this call: its result counts only while nothing has changed.
      await loading.catch(() => null);
      const rights = inMemory();
      if (rights !== null) return rights;
    }
    if (loading === null) {
      const begun = read().finally(() => {
        if (loading === begun) loading = null;
      });
      loading = begun;
    }
    return loading;
  }

  return { inMemory, current: async () => inMemory() ?? load() };
}

/** Reports whether an agent's bindings reach a grant. */
export function agentReaches(agent: KnownAgent, grant: BoundGrant, rights: PermissionSnapshot): boolean {
  return reachesGrant(agent.bindings, agent.user, grant, rights.policy(grant.id)?.labels ?? []);
}

function knownRights({ revision, agents, tokens, bindings, leases, policies }: Rights): PermissionSnapshot {
  const bound = Map.groupBy(bindings, ({ agent }) => agent);
  const byName = new Map(
    agents.map((agent): [string, KnownAgent] => [
      agent.name,
      { ...agent, bindings: bound.get(agent.name) ?? [] },
    ]),
  );
  // The time of a look-up by hash reveals nothing, because nobody can find a token for a given hash.
  const holders = new Map<string, Holder>();
  for (const token of tokens) {
    const agent = byName.get(token.agent);
    if (agent !== undefined) holders.set(hashKey(token.hash), { kind: 'token', agent, token });
  }
  for (const lease of leases) {
    const agent = byName.get(lease.agent);
    if (agent !== undefined) holders.set(hashKey(lease.tokenHash), { kind: 'lease', agent, lease });
  }
  const byGrant = new Map(policies.map((policy) => [policy.grantId, policy]));
  const leaseIds = new Set(leases.map(({ id }) => id));
  return {
    revision,
    holder: (tokenHash) => holders.get(hashKey(tokenHash)) ?? null,
    agent: (name) => byName.get(name) ?? null,
    policy: (grantId) => byGrant.get(grantId) ?? null,
    hasLease: (id) => leaseIds.has(id),
  };
}

/** Refusals of callers whose permission has ended, with the command that restores it. */

export function agentDisabled({ name }: AgentRecord): SidekeyError {
  return new SidekeyError('agent_auth_required', `The agent ${name} is disabled.`, {
    hint: remedy('agent.change', { agent: name, disabled: false }),
  });
}

export function tokenEnded({ agent, label, expiresAt, revokedAt }: AgentTokenRecord): SidekeyError {
  const how = revokedAt === null && expiresAt !== null ? `ended at ${time(expiresAt)}` : 'was revoked';
  return new SidekeyError('agent_auth_required', `This token of the agent ${agent} ${how}.`, {
    hint: hintOf`for a new one: ${remedy('agent.rotate', { agent, token_label: label })}`,
  });
}

/** Returns the refusal of an OIDC token, or a client certificate, that was valid before. */
export function identityEnded({ agent, issuer, expiresAt }: TokenIdentity): SidekeyError {
  if (issuer === null) {
    const sentence = `The client certificate of the agent ${agent} ended at ${time(expiresAt)}.`;
    return unauthenticated(sentence, 'renew the certificate, and connect again with it');
  }
  return unauthenticated(
    `The token of agent_issuers.${issuer} for the agent ${agent} ended at ${time(expiresAt)}.`,
    'get a new token from its issuer, and set it in HTTPS_PROXY',
  );
}

/** Returns the refusal of an OIDC token or a client certificate for an agent that does not exist. */
export function agentMissing({ agent, issuer }: TokenIdentity): SidekeyError {
  return unauthenticated(
    `There is no agent ${agent}, which ${issuer === null ? 'proxy.tls.agents' : `agent_issuers.${issuer}`} names.`,
    remedy('agent.create', { name: agent, token: false, grants: null }),
  );
}

/** Returns `lease_expired`, whatever ended the lease. The grant and its token expire separately. */
export function leaseEnded(
  lease: Lease,
  standing: Exclude<LeaseStanding, { readonly state: 'active' }>,
): SidekeyError {
  const { id, agent, idleMs } = lease;
  switch (standing.state) {
    case 'expired': {
      const how =
        standing.why === 'idle' ? `was not used for ${(idleMs ?? 0) / 1_000} s, and ended` : 'ended';
      return ended(
        `The lease ${id} of ${agent} ${how} at ${time(standing.at)}.`,
        remedy('lease.renew', { lease: id }),
      );
    }
    case 'used_up':
      return usedUp(lease);
    case 'revoked':
      return ended(
        `The lease ${id} of ${agent} was revoked at ${time(standing.at)}.`,
        remedy('lease.create', { agent, grants: null, purpose: null }),
      );
  }
}

export function usedUp({ id, agent, maxUses }: Lease): SidekeyError {
  const requests = maxUses === 1 ? 'one request, which was' : `${maxUses} requests, which were`;
  return ended(
    `The lease ${id} of ${agent} is used up: it was for ${requests} made.`,
    remedy('lease.renew', { lease: id, uses: maxUses }),
  );
}

/** Returns the refusal of an expired grant; null if the grant has no expiry, or has not expired. */
export function grantEnded(grant: Grant, policy: GrantPolicy | null, now: number): SidekeyError | null {
  const at = policy?.expiresAt ?? null;
  if (at === null || now < at) return null;
  return new SidekeyError('grant_expired', `The grant ${grant.name} expired at ${time(at)}.`, {
    hint: extendRemedy(grant, policy),
  });
}

/** Lifetime that the hint names where nothing is set: 30 days. */
const usualTtlMs = 30 * 86_400_000;
/** A shorter default is not repeated: the grant would expire before it is used. */
const leastTtlMs = 3_600_000;

/** Returns the action that extends a grant: by its default, or by its maximum, or by 30 days. */
export function extendRemedy({ name, user }: Grant, policy: GrantPolicy | null): Remedy {
  const owner = user === defaultUser ? undefined : user;
  const { defaultTtlMs = null, maxTtlMs = null } = policy ?? {};
  const wanted = defaultTtlMs !== null && defaultTtlMs >= leastTtlMs ? defaultTtlMs : usualTtlMs;
  const span = Math.min(maxTtlMs ?? Infinity, wanted);
  return remedy('grant.change', { grant: name, user: owner, ttl: formatDuration(span) });
}

function ended(sentence: string, hint: Hint): SidekeyError {
  return new SidekeyError('lease_expired', sentence, { hint });
}

/** Formats a local time with its zone, because the reader may be in another: `2026-11-24 01:47:57 CET`. */
function time(at: number): string {
  return new Date(at).toLocaleString('sv', { dateStyle: 'short', timeStyle: 'long' });
}
