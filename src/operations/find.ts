import { defaultUser, type Grant, isId, matches } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { GrantScope } from '../domain/lease.ts';
import { grantsNamed } from '../grants/keep.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { grantOf, inNameOrder } from '../store/grants.ts';
import type { BoundAgent, GrantQuery, LeaseRecord, Store } from '../store/store.ts';
import type { Caller } from './caller.ts';
import {
  domainsByGrant,
  type GrantReference,
  grantReference,
  type Offers,
  pickLease,
  pickOwnGrant,
  referencesOf,
  unknownAgent,
} from './lookup.ts';

/** Look-ups of one record, by index. Only an error reads further records, for the names that it suggests. */

type Grants = Pick<Store, 'grants'> | null;

/** Grants of other users or names that an error considers. */
const maxOthers = 1_000;

/** Returns the referenced grant as `pickOwnGrant`. @throws as `pickOwnGrant` */
export async function findGrant(
  store: Grants,
  { grant: reference, user }: GrantReference,
  caller: Pick<Caller, 'user'>,
): Promise<Grant> {
  const read = async (query: GrantQuery) => ((await store?.grants.find(query)) ?? []).map(grantOf);
  const limited = caller.user;
  const owner = limited ?? user ?? defaultUser;
  const byId = isId(reference) ? ((await store?.grants.get(reference)) ?? null) : null;
  let near = byId === null ? await read({ named: [{ name: reference, user: owner }] }) : [grantOf(byId)];
  const isMine = near.some((grant) => limited === null || grant.user === limited);
  if (!isMine && limited === null) near = await read({ name: reference, limit: maxOthers });
  if (near.length === 0)
    near = await read({ ...(limited === null ? {} : { users: [limited] }), limit: maxOthers });
  return pickOwnGrant(near, { grant: reference, user }, caller);
}

/** Returns a grant by id, name or `USER/NAME`. @throws SidekeyError `grant_missing`, `grant_ambiguous` */
export async function findNamedGrant(store: Grants, text: string): Promise<Grant> {
  const slash = text.indexOf('/');
  const reference =
    slash < 0 ? { grant: text } : { grant: text.slice(slash + 1), user: text.slice(0, slash) };
  try {
    return await findGrant(store, reference, { user: null });
  } catch (error) {
    const isAmbiguous = error instanceof SidekeyError && error.code === 'grant_ambiguous';
    const [some] = isAmbiguous ? ((await store?.grants.find({ name: text, limit: 1 })) ?? []) : [];
    if (some === undefined) throw error;
    throw new SidekeyError('grant_ambiguous', (error as SidekeyError).message, {
      hint: `name the user: --grant ${grantReference(some)}`,
    });
  }
}

/** Returns a function that returns the domains that offer one of up to 1,000 grants. */
export async function findDomains(
  store: Grants,
  domains: readonly Domain[],
  grants: readonly Grant[],
): Promise<(grant: Grant) => readonly Domain[]> {
  // A grant with the name of the provider hides others from domains that name the provider.
  const hiding = grants.map(({ provider, user }) => ({ name: provider, user }));
  const near = store === null ? [] : (await grantsNamed(store, hiding)).values();
  return domainsByGrant(domains, indexGrants([...near, ...grants]));
}

/** Maximum number of grants that are read for each reference of a domain. */
export const maxOffers = 100;

/** Reads the grants that domains offer, up to `limit` for each reference. */
export async function findOffers(
  store: { readonly grantChecks: Pick<Store['grantChecks'], 'offered'> } | null,
  domains: readonly Domain[],
  limit = maxOffers,
): Promise<Offers> {
  const found = new Map<string, readonly Grant[]>();
  for (const reference of new Set(domains.flatMap(referencesOf)))
    found.set(reference, (await store?.grantChecks.offered(reference, limit)) ?? []);
  return { offered: (reference) => found.get(reference) ?? [] };
}

interface Table<Row> {
  get(name: string): Promise<Row | null>;
  list(page: { readonly limit: number }): Promise<readonly { readonly name: string }[]>;
}

/** Returns the row of this name. @throws the error that `unknown` makes of the name and others */
export async function findNamed<Row>(
  table: Table<Row> | null | undefined,
  name: string,
  unknown: (name: string, names: readonly string[]) => SidekeyError,
): Promise<Row> {
  const row = (await table?.get(name)) ?? null;
  if (row !== null) return row;
  const others = (await table?.list({ limit: maxOthers })) ?? [];
  throw unknown(
    name,
    others.map((each) => each.name),
  );
}

/** Returns the agent of this name with its bindings. @throws SidekeyError `not_found` */
export async function findAgent(
  store: Pick<Store, 'agents' | 'rights'> | null,
  name: string,
): Promise<BoundAgent> {
  const table = store && { ...store.agents, get: (of: string) => store.rights.agent(of) };
  return findNamed(table, name, unknownAgent);
}

/** Returns the lease with this id or id prefix. @throws as `pickLease` */
export async function findLease(store: Pick<Store, 'leases'> | null, id: string): Promise<LeaseRecord> {
  return pickLease((await store?.leases.startingWith(id)) ?? [], id);
}

/** Returns the grants of a reference in scope, as `GrantCache.find` without a cache. */
export async function findOffered(
  store: Grants,
  reference: string,
  scope: GrantScope | null,
): Promise<readonly Grant[]> {
  if (store === null) return [];
  const { grants } = store;
  if (scope === null) return (await grants.find({ reference })).map(grantOf);
  const near = await grants.find({ reference, users: scope.users });
  const bound = (await grants.some(scope.ids)).filter((grant) => matches(grant, reference));
  const all = new Map([...near, ...bound].map((record) => [record.id, grantOf(record)]));
  return [...all.values()].toSorted(inNameOrder);
}
