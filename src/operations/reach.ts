import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import { type Grant, isId, defaultUser } from '../domain/grant.ts';
import { anonymous, type Binding, type GrantedTtl, type Lease, reachesGrant } from '../domain/lease.ts';
import { inPages } from '../store/queries.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { grantOf, inNameOrder } from '../store/grants.ts';
import type { BoundAgent, GrantChoice, GrantPolicy, GrantRecord, Store } from '../store/store.ts';
import { ownGrants, policiesOf, ttlFor, usualGrants } from './lease-terms.ts';
import { referencesOf } from './lookup.ts';

/** Reads the grants of an agent or a lease by index. */

/** Grants that an agent or a lease reaches now. */
export interface Reach {
  /** Ordered by name, then user. */
  readonly grants: readonly Grant[];
  /** True if `grants` has only some, because the agent reaches more than `maxGrants`. */
  readonly isPart: boolean;
  /** Null: a caller without a token, or there is no such agent. */
  readonly agent: BoundAgent | null;
}

/** Grants of an agent that are read. Of more, only what limits its leases is searched for. */
export const maxGrants = 500;
/** Rows of one statement: some milliseconds on the thread of the proxy. */
const batch = 250;

/**
 * Returns an example for people, and the grants that bindings name by ID. The example is a grant of the user
 * that the agent acts for, if there is one, else the first of all.
 */
export async function boundGrants(
  store: Pick<Store, 'grants'>,
  bindings: readonly Binding[],
  user: string | null = null,
): Promise<readonly Grant[]> {
  const ids = bindings.flatMap(({ kind, value }) => (kind === 'grant' ? [value] : []));
  const own = user === null ? [] : await store.grants.matching({ user }, 1);
  const first = own.length > 0 ? own : await store.grants.find({ limit: 1 });
  return [...first.map(grantOf), ...(await grantsById(store, ids))];
}

/** Returns the grants with these IDs that exist. */
export async function grantsById(
  store: Pick<Store, 'grants'>,
  ids: readonly string[],
): Promise<readonly Grant[]> {
  return inOrder(await store.grants.some([...new Set(ids)]));
}

/** Returns what a caller without a token reaches: the grants without an owner. */
export async function anonymousReach(store: Store): Promise<Reach> {
  const records = await store.grants.matching({ user: defaultUser, unleased: true }, maxGrants + 1);
  return { grants: inOrder(records), isPart: records.length > maxGrants, agent: null };
}

/** In the place of the lease of a caller without a token. */
export const noLease = { id: '', agent: '', grants: null };

/** Returns what a lease reaches; for a lease without a list, what its agent reaches now. */
export async function readReach(store: Store, lease: Pick<Lease, 'agent' | 'grants'>): Promise<Reach> {
  const agent = await store.rights.agent(lease.agent);
  if (lease.grants !== null) return { grants: await grantsById(store, lease.grants), isPart: false, agent };
  const found = new Map<string, GrantRecord>();
  const add = (records: readonly GrantRecord[]) => records.forEach((each) => found.set(each.id, each));
  for (const read of agent === null ? [] : readersOf(store, agent)) {
    add(await read({}, maxGrants + 1));
    if (found.size > maxGrants) break;
    await nextTurn();
  }
  const isPart = found.size > maxGrants;
  // Those that requests use without a choice.
  if (isPart)
    for (const user of new Set([agent?.user ?? defaultUser, defaultUser]))
      add(await store.grants.matching({ user, unleased: true }, maxGrants));
  return { grants: ownGrants(lease, inOrder([...found.values()]), agent), isPart, agent };
}

/** Returns functions that read grants of each binding of an agent, restricted by a further choice. */
function readersOf(store: Store, { user, bindings }: Pick<BoundAgent, 'user' | 'bindings'>) {
  const own = user === null ? {} : { user };
  const choices = bindings.flatMap(({ kind, value }): GrantChoice[] => {
    if (kind === 'grant' || kind === 'egress') return [];
    if (kind === 'everything') return [{}];
    return [kind === 'user' ? { user: value } : { ...own, [kind]: value }];
  });
  const ids = bindings.flatMap(({ kind, value }) => (kind === 'grant' ? [value] : []));
  return [
    ...Array.from(
      { length: Math.ceil(ids.length / batch) },
      (_, index) =>
        async ({ provider }: GrantChoice) => {
          const some = await store.grants.some(ids.slice(index * batch, (index + 1) * batch));
          return some.filter((each) => each.lease === null && (provider ?? each.provider) === each.provider);
        },
    ),
    ...choices.map((choice) => async (more: GrantChoice, limit: number) => {
      const { provider } = more;
      if (provider !== undefined && (choice.provider ?? provider) !== provider) return [];
      return store.grants.matching({ ...choice, ...more, unleased: true }, limit);
    }),
  ];
}

/**
 * Returns the lifetime of a lease, as `ttlFor`. The maxima of all grants that it reaches count, the defaults
 * only of those in `reach`.
 *
 * `owned`: grants that only the lease will have.
 */
export async function leaseTtl(
  parts: { readonly store: Store; readonly config: Pick<Config, 'leases' | 'providers'> },
  asked: number | null,
  lease: Pick<Lease, 'id' | 'agent' | 'grants'>,
  { grants, isPart, agent, owned = [] }: Reach & { readonly owned?: Parameters<typeof ttlFor>[1] },
): Promise<GrantedTtl> {
  const usual = usualGrants(lease, grants, agent);
  const facts = { config: parts.config, policies: await policiesOf(parts.store, grants) };
  const ttl = ttlFor(asked, [...grants, ...owned], facts, [...usual, ...owned]);
  return isPart && agent !== null ? cappedByOthers(parts, ttl, agent) : ttl;
}

/** Returns the lifetime after the maxima of all grants that an agent reaches. */
async function cappedByOthers(
  { store, config }: Parameters<typeof leaseTtl>[0],
  before: GrantedTtl,
  agent: BoundAgent,
): Promise<GrantedTtl> {
  let ttl = before;
  for (let provider = await store.grants.providerAfter(''); provider !== null;) {
    const maxMs = config.providers.get(provider)?.lease.maxMs ?? null;
    if (maxMs !== null && maxMs < ttl.ttlMs) {
      for (const read of readersOf(store, agent)) {
        if ((await read({ provider }, 1)).length === 0) continue;
        ttl = { ttlMs: maxMs, cappedBy: `the provider ${provider}` };
        break;
      }
    }
    provider = await store.grants.providerAfter(provider);
    await nextTurn();
  }
  const pages = inPages<GrantPolicy>(batch, (after) =>
    store.grantPolicies.leaseMaxima(ttl.ttlMs, after, batch),
  );
  for await (const policies of pages) {
    const grants = await store.grants.some(policies.map(({ grantId }) => grantId));
    const byId = new Map(grants.map((grant) => [grant.id, grant]));
    for (const { grantId } of policies) {
      const grant = byId.get(grantId);
      if (grant === undefined || !reachesGrant(agent.bindings, agent.user, grant)) continue;
      return ttlFor(ttl.ttlMs, [grant], { config, policies: await policiesOf(store, [grant]) });
    }
  }
  return ttl;
}

/** Returns the usual grants of a lease; if it reaches more than `maxGrants`, those that domains name. */
export async function usualOf(
  store: Store,
  domains: readonly Domain[],
  lease: Pick<Lease, 'id' | 'agent' | 'grants'>,
  { grants, isPart, agent }: Reach,
): Promise<readonly Grant[]> {
  if (!isPart) return usualGrants(lease, grants, agent);
  const { user: actsFor, bindings } = agent ?? anonymous;
  const users = bindings.flatMap(({ kind, value }) => (kind === 'user' ? [value] : []));
  const found = new Map(grants.map((grant) => [grant.id, grant]));
  for (const reference of new Set(domains.flatMap(referencesOf))) {
    for (const user of new Set([actsFor ?? defaultUser, defaultUser, ...users])) {
      const some = [
        ...(isId(reference) ? await store.grants.some([reference]) : []),
        ...(await store.grants.find({ named: [{ name: reference, user }] })),
        ...(await store.grants.matching({ provider: reference, user, unleased: true }, 20)),
      ];
      for (const record of some) found.set(record.id, grantOf(record));
    }
    await nextTurn();
  }
  const all = [...found.values()].toSorted(inNameOrder);
  return usualGrants(lease, ownGrants(lease, all, agent), agent);
}

function inOrder(records: readonly GrantRecord[]): Grant[] {
  return records.map(grantOf).toSorted(inNameOrder);
}
