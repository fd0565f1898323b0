import { LRUCache } from 'lru-cache';
import { formatDuration } from '../config/scalar.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy, type Remedy } from '../lib/hint.ts';
import type {
  AgentRecord,
  AgentTokenRecord,
  BoundAgent,
  ChangedRight,
  GrantPolicy,
  HeldToken,
  LeaseRecord,
  Store,
} from '../store/store.ts';
import { hashKey, unauthenticated } from './authentication.ts';
import type { Lease, LeaseStanding } from '../domain/lease.ts';
import type { TokenIdentity } from './token-identity.ts';

/** The holder of a token: an agent's own, one of its leases, or one of an OIDC issuer. It may have ended. */
export type Holder =
  HeldToken | { readonly kind: 'identity'; readonly agent: BoundAgent; readonly identity: TokenIdentity };

/** A token or a lease in memory, without its agent: many leases may share one. */
interface Kept {
  readonly held: { readonly kind: 'token'; readonly token: AgentTokenRecord } | KeptLease;
  readonly agent: string;
  /** `stamp` of the agent; another one: the token may have changed with the agent. */
  readonly stamp: number;
}

interface KeptLease {
  readonly kind: 'lease';
  readonly lease: LeaseRecord;
}

interface KeptAgent {
  readonly agent: BoundAgent;
  readonly stamp: number;
}

/** Bytes of an entry, and of each text in it: a grant of a lease, a binding of an agent. */
const entryBytes = 1_500;
const textBytes = 150;

/**
 * Keeps the rights that were used last. A miss costs one read by index. What is unknown is not kept, so a new
 * token is valid at once.
 *
 * @param maxBytes approximate bound of the memory
 */
export function createPermissionCache(
  store: Pick<Store, 'epoch' | 'changesSince'> & {
    readonly rights: Pick<Store['rights'], 'revision' | 'holder' | 'agent'>;
  },
  maxBytes: number,
) {
  const maxSize = Math.ceil(maxBytes / 2);
  const agents = new LRUCache<string, KeptAgent>({
    maxSize,
    sizeCalculation: ({ agent }) => entryBytes + textBytes * agent.bindings.length,
  });
  /** Keys of `holders` by the ID of a lease. */
  const keys = new Map<string, string>();
  const holders = new LRUCache<string, Kept>({
    maxSize,
    sizeCalculation({ held }) {
      const { grants, egress } = held.kind === 'lease' ? held.lease : { grants: null };
      return entryBytes + textBytes * ((grants?.length ?? 0) + (egress?.length ?? 0));
    },
    dispose({ held }) {
      if (held.kind === 'lease') keys.delete(held.lease.id);
    },
  });
  /** Reads under way by what they look for, and what changed since each began. */
  const underWay = new Map<string, Promise<unknown>>();
  const readings = new Set<Set<string>>();
  let seen: number | null = null;
  /** Revision of the rights when all in memory were last known to be valid. */
  let revision: number | null = null;
  /** Counts the changes of which the store does not say what they changed. */
  let doubts = 0;
  let isDoubted = true;
  let stamps = 0;
  let version = 0;

  /** Forgets what the store reports as changed. @throws SidekeyError as `Store.epoch` */
  function follow(): void {
    const epoch = store.epoch();
    if (epoch === seen) return;
    const changed = seen === null ? null : store.changesSince(seen).rights;
    seen = epoch;
    if (changed === null) {
      doubts += 1;
      isDoubted = true;
    } else changed.forEach(forget);
  }

  function forget({ kind, key }: ChangedRight): void {
    version += 1;
    // The next read gives the agent another stamp, so its tokens and leases are read again too.
    if (kind === 'agent') agents.delete(key);
    else holders.delete(keys.get(key) ?? '');
    for (const reading of readings) reading.add(`${kind} ${key}`);
  }

  /** If anything may have changed, asks the store whether a right did, and forgets all if so. */
  async function settle(): Promise<void> {
    for (follow(); isDoubted; follow()) {
      const begun = doubts;
      const current = await store.rights.revision();
      follow();
      if (begun !== doubts || !isDoubted) continue;
      if (current !== revision) {
        agents.clear();
        holders.clear();
        version += 1;
      }
      revision = current;
      isDoubted = false;
    }
  }

  /** Returns what is in memory, or reads it, again while it changes meanwhile. */
  async function readOnce<Found>(
    key: string,
    inMemory: () => Found | undefined,
    read: () => Promise<Found | null>,
    keep: (found: Found, isChanged: (right: ChangedRight) => boolean) => Found | undefined,
  ): Promise<Found | null> {
    // That read may have begun before this call: only a result in memory counts.
    const before = underWay.get(key);
    if (before !== undefined) await before.catch(() => undefined);
    const readUntilUnchanged = async () => {
      for (;;) {
        await settle();
        const kept = inMemory();
        if (kept !== undefined) return kept;
        const begun = doubts;
        const changed = new Set<string>();
        readings.add(changed);
        let found;
        try {
          found = await read();
          follow();
        } finally {
          readings.delete(changed);
        }
        if (found === null) return null;
        if (begun !== doubts) continue;
        const result = keep(found, ({ kind, key: each }) => changed.has(`${kind} ${each}`));
        if (result !== undefined) return result;
      }
    };
    const result = readUntilUnchanged();
    underWay.set(key, result);
    try {
      return await result;
    } finally {
      if (underWay.get(key) === result) underWay.delete(key);
    }
  }

  function keepAgent(agent: BoundAgent): KeptAgent {
    const before = agents.get(agent.name);
    const isSame = before?.agent.createdAt === agent.createdAt;
    const kept = { agent, stamp: isSame ? before.stamp : (stamps += 1) };
    agents.set(agent.name, kept);
    return kept;
  }

  function keepHolder(key: string, { agent, ...held }: HeldToken): HeldToken {
    const kept = keepAgent(agent);
    holders.set(key, { held, agent: agent.name, stamp: kept.stamp });
    if (held.kind === 'lease' && holders.has(key)) keys.set(held.lease.id, key);
    return { ...held, agent };
  }

  function agentOf(name: string): BoundAgent | undefined {
    follow();
    return isDoubted ? undefined : agents.get(name)?.agent;
  }

  function holderOf(key: string): HeldToken | undefined {
    follow();
    const kept = isDoubted ? undefined : holders.get(key);
    const agent = kept === undefined ? undefined : agents.get(kept.agent);
    return kept === undefined || agent?.stamp !== kept.stamp
      ? undefined
      : { ...kept.held, agent: agent.agent };
  }

  return {
    /**
     * Returns a number that changes whenever a right in memory may have changed; null: a read must tell.
     * @throws SidekeyError as `Store.epoch`
     */
    version(): number | null {
      follow();
      return isDoubted ? null : version;
    },
    /** Returns the holder of a token by its SHA-256; undefined: it must be read. */
    holder: (tokenHash: Uint8Array) => holderOf(hashKey(tokenHash)),
    /** Returns a holder that is not older than this call; null: the token is unknown. */
    readHolder(tokenHash: Uint8Array): Promise<HeldToken | null> {
      // The time of a look-up by hash reveals nothing, because nobody can find a token for a given hash.
      const key = hashKey(tokenHash);
      return readOnce(
        key,
        () => holderOf(key),
        () => store.rights.holder(tokenHash),
        (found, isChanged) =>
          isChanged({ kind: 'agent', key: found.agent.name }) ||
          (found.kind === 'lease' && isChanged({ kind: 'lease', key: found.lease.id }))
            ? undefined
            : keepHolder(key, found),
      );
    },
    /** Returns an agent with its bindings; undefined: it must be read. */
    agent: agentOf,
    /** Returns an agent that is not older than this call; null: there is none. */
    readAgent: (name: string) =>
      readOnce(
        name,
        () => agentOf(name),
        () => store.rights.agent(name),
        (found, isChanged) => (isChanged({ kind: 'agent', key: name }) ? undefined : keepAgent(found).agent),
      ),
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
