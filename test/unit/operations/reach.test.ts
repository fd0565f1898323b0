import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Config } from '../../../src/config/config.ts';
import type { Binding } from '../../../src/domain/lease.ts';
import { leaseTtl, maxGrants, readReach, usualOf } from '../../../src/operations/reach.ts';
import type { Domain } from '../../../src/proxy/policy/domain-map.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { GrantQuery, GrantRecord, Store } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const minute = 60_000;
const everything: Binding = { kind: 'everything', value: '*' };

/** Returns a store with an agent, grants of others, and a count of the rows of grants that were read. */
async function storeWith(bindings: readonly Binding[], others: number, user: string | null = null) {
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: () => 0 });
  onTestFinished(() => store.close());
  await addAgent(store, 'bot', 'unused', { bindings, user });
  const records = Array.from({ length: others }, (_, n) => grantRecord({ name: `n${n}`, user: `u${n}` }));
  while (records.length > 0) await store.grants.insert(...records.splice(0, 1_000));
  let rows = 0;
  const counting =
    <Args extends readonly unknown[]>(read: (...args: Args) => Promise<GrantRecord[]>) =>
    async (...args: Args) => {
      const records = await read(...args);
      rows += records.length;
      return records;
    };
  const grants = {
    ...store.grants,
    find: counting((query: GrantQuery) => store.grants.find(query)),
    some: counting((ids: readonly string[]) => store.grants.some(ids)),
    matching: counting((...args: Parameters<Store['grants']['matching']>) => store.grants.matching(...args)),
  };
  const counted: Store = { ...store, grants };
  return { store: counted, rows: () => rows };
}

const config = (providerMaxMs: number | null = null) =>
  ({
    leases: { defaultTtlMs: 15 * minute, maxTtlMs: 60 * minute },
    providers: {
      get: (name: string) => ({ lease: { defaultMs: null, maxMs: name === 'acme' ? providerMaxMs : null } }),
    },
  }) as unknown as Config;

const lease = { id: 'l', agent: 'bot', grants: null };

describe('the grants that an agent reaches', () => {
  it.each<[string, Binding, string[]]>([
    ['a grant', { kind: 'grant', value: '00000000-0000-4000-8000-000000000001' }, ['a']],
    ['a provider', { kind: 'provider', value: 'acme' }, ['b', 'c']],
    ['a user', { kind: 'user', value: 'alice' }, ['c']],
    ['a label', { kind: 'label', value: 'prod' }, ['a', 'c']],
    ['everything', everything, ['a', 'b', 'c']],
    ['hosts', { kind: 'egress', value: 'example.com' }, []],
  ])('are those of its binding to %s, without grants of leases', async (_, binding, names) => {
    const { store } = await storeWith([binding], 0);
    const a = grantRecord({ id: '00000000-0000-4000-8000-000000000001', name: 'a' });
    const c = grantRecord({ name: 'c', user: 'alice', provider: 'acme' });
    const owner = leaseRecord({ agent: 'bot' });
    await store.leases.insert(owner);
    await store.grants.insert(c, grantRecord({ name: 'b', provider: 'acme' }), a);
    const ofLease = { provider: 'acme', user: 'alice', lease: owner.id };
    const leased = grantRecord({ name: 'd', ...ofLease });
    await store.grants.insert(leased);
    for (const { id } of [a, c, leased]) await store.grantPolicies.set(id, { labels: ['prod'] });
    const { grants, isPart } = await readReach(store, lease);
    expect(grants.map(({ name }) => name)).toEqual(names);
    expect(isPart).toBe(false);
  });

  it('are read in part if they are many, with those of the user of the agent', async () => {
    const { store, rows } = await storeWith([everything], 3_000, 'zoe');
    await store.grants.insert(grantRecord({ name: 'mine', user: 'zoe' }));
    const { grants, isPart } = await readReach(store, lease);
    expect(isPart).toBe(true);
    expect(grants.map(({ name }) => name)).toContain('mine');
    expect(rows()).toBeLessThan(2 * maxGrants);
  });

  it('are not read for a lease of named grants', async () => {
    const { store, rows } = await storeWith([everything], 100);
    const [record] = await store.grants.find({ limit: 1 });
    const { grants } = await readReach(store, { agent: 'bot', grants: [record!.id] });
    expect(grants.map(({ id }) => id)).toEqual([record!.id]);
    expect(rows()).toBe(2);
  });
});

describe('the lifetime of a lease for many grants', () => {
  it('is at most the least maximum of any grant that the agent reaches', async () => {
    const { store, rows } = await storeWith([{ kind: 'provider', value: 'github' }], 1_500);
    await store.grants.insert(grantRecord({ name: 'other', provider: 'acme' }));
    const records = await store.grants.find({});
    const last = records.at(-1)!;
    const short = records.find(({ provider }) => provider === 'acme')!;
    await store.grantPolicies.set(short.id, { leaseMaxMs: 1 });
    await store.grantPolicies.set(last.id === short.id ? records.at(-2)!.id : last.id, {
      leaseMaxMs: minute,
    });
    const before = rows();
    const reach = await readReach(store, lease);
    const ttl = await leaseTtl({ store, config: config() }, null, lease, reach);
    expect(ttl).toMatchObject({ ttlMs: minute, cappedBy: expect.stringMatching(/^the grant /) });
    expect(rows() - before).toBeLessThan(2 * maxGrants);
  });

  it('is at most the maximum of a provider of any grant that the agent reaches', async () => {
    const owner = leaseRecord({ agent: 'bot' });
    const leased = grantRecord({ name: 'zy', user: 'zed', provider: 'acme', lease: owner.id });
    const { store } = await storeWith([{ kind: 'grant', value: leased.id }, everything], 1_500);
    await store.leases.insert(owner);
    await store.grants.insert(leased);
    const ttl = async () =>
      leaseTtl({ store, config: config(5 * minute) }, null, lease, await readReach(store, lease));
    expect(await ttl()).toEqual({ ttlMs: 15 * minute, cappedBy: null });
    await store.grants.insert(grantRecord({ name: 'zz', user: 'zed', provider: 'acme' }));
    expect(await ttl()).toEqual({ ttlMs: 5 * minute, cappedBy: 'the provider acme' });
  });
});

it('the usual grants of many are those that domains name', async () => {
  const { store, rows } = await storeWith([everything], 2_000, 'zoe');
  const mine = Array.from({ length: 600 }, (_, n) => grantRecord({ name: `m${n}`, user: 'zoe' }));
  await store.grants.insert(...mine, grantRecord({ name: 'zz', user: 'zoe', provider: 'acme' }));
  const domain = { action: { kind: 'grant', grant: 'acme' } } as unknown as Domain;
  const usual = await usualOf(store, [domain], lease, await readReach(store, lease));
  expect(usual.map(({ name }) => name)).toContain('zz');
  expect(rows()).toBeLessThan(3 * maxGrants);
});
