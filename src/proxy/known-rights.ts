import { reachesGrant, type Binding } from '../grants/binding.ts';
import type { Grant } from '../grants/grant.ts';
import type { AgentRecord, AgentTokenRecord, GrantPolicy, LeaseRecord, Rights } from '../store/rights.ts';
import type { Store } from '../store/store.ts';

/** An agent with what it reaches. */
export interface KnownAgent extends AgentRecord {
  readonly bindings: readonly Binding[];
}

/** Whose a token is: an agent's own, or one of its leases. It may have ended. */
export type Holder =
  | { readonly kind: 'token'; readonly agent: KnownAgent; readonly token: AgentTokenRecord }
  | { readonly kind: 'lease'; readonly agent: KnownAgent; readonly lease: LeaseRecord };

/** All rights of the store at one moment, found by what requests bring along. */
export interface KnownRights {
  readonly revision: number;
  /** By the SHA-256 of what was shown. */
  holder(tokenHash: Uint8Array): Holder | null;
  policy(grantId: string): GrantPolicy | null;
  /** By id; a lease that is gone is not in it. */
  hasLease(id: string): boolean;
}

/** The rights, read anew when they have changed. */
export interface RightsInMemory {
  /**
   * Rights that are not older than this call. While the store has not changed it costs one `Store.epoch`; where
   * something else than a right has changed, one small read.
   * @throws SidekeyError `store_unavailable`, also for those whom it knew before
   */
  current(): KnownRights | Promise<KnownRights>;
}

/** So long a lease that has ended is told from one that never was; more of them would make each reading slower. */
const rememberMs = 86_400_000;

/** Reads nothing before it is asked. `onRead` hears of rights that were read anew. */
export function createRightsInMemory(
  store: Pick<Store, 'epoch'> & { readonly rights: Pick<Store['rights'], 'revision' | 'read'> },
  now: () => number,
  onRead: (rights: KnownRights) => void,
): RightsInMemory {
  let known: { readonly rights: KnownRights; readonly epoch: number } | null = null;
  let loading: Promise<KnownRights> | null = null;

  const atHand = () => (known !== null && known.epoch === store.epoch() ? known.rights : null);

  async function read(): Promise<KnownRights> {
    // Asked before the rows: a change in between makes what is read count as old, never as new.
    const epoch = store.epoch();
    const isUnchanged = known !== null && (await store.rights.revision()) === known.rights.revision;
    if (known !== null && isUnchanged) {
      known = { rights: known.rights, epoch };
    } else {
      known = { rights: knownRights(await store.rights.read(now() - rememberMs)), epoch };
      onRead(known.rights);
    }
    return known.rights;
  }

  async function load(): Promise<KnownRights> {
    if (loading !== null) {
      // It may have read its rows before this call; its answer counts only while nothing has changed.
      await loading.catch(() => null);
      const rights = atHand();
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

  return { current: () => atHand() ?? load() };
}

/** Whether an agent's bindings reach a grant. */
export function agentReaches(agent: KnownAgent, grant: Grant, rights: KnownRights): boolean {
  return reachesGrant(agent.bindings, agent.user, grant, rights.policy(grant.id)?.labels ?? []);
}

function knownRights({ revision, agents, tokens, bindings, leases, policies }: Rights): KnownRights {
  const bound = Map.groupBy(bindings, ({ agent }) => agent);
  const byName = new Map(
    agents.map((agent): [string, KnownAgent] => [
      agent.name,
      { ...agent, bindings: bound.get(agent.name) ?? [] },
    ]),
  );
  // A look-up by hash may take longer for some than for others, and says nothing: nobody finds tokens to given hashes.
  const holders = new Map<string, Holder>();
  for (const token of tokens) {
    const agent = byName.get(token.agent);
    if (agent !== undefined) holders.set(keyOf(token.hash), { kind: 'token', agent, token });
  }
  for (const lease of leases) {
    const agent = byName.get(lease.agent);
    if (agent !== undefined) holders.set(keyOf(lease.tokenHash), { kind: 'lease', agent, lease });
  }
  const byGrant = new Map(policies.map((policy) => [policy.grantId, policy]));
  const leaseIds = new Set(leases.map(({ id }) => id));
  return {
    revision,
    holder: (tokenHash) => holders.get(keyOf(tokenHash)) ?? null,
    policy: (grantId) => byGrant.get(grantId) ?? null,
    hasLease: (id) => leaseIds.has(id),
  };
}

function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
}
