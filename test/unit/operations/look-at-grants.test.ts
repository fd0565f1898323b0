import { expect, onTestFinished, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { lookAtDomains, lookAtGrants } from '../../../src/operations/look-at-grants.ts';
import type { Store } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { sqliteUnderTest } from '../../support/sqlite-under-test.ts';

const now = 1_750_000_000_000;
const probe = { unreadable: () => Promise.resolve([]) };

const list = () => Promise.reject(new Error('reads all rows'));

/** A store whose methods that read whole tables fail, and that counts the grants that it returns. */
async function countedStore(): Promise<{ readonly store: Store; readonly read: () => number }> {
  const subject = await sqliteUnderTest(() => now);
  onTestFinished(() => subject.cleanup());
  const { store } = subject;
  let read = 0;
  const grants: Store['grants'] = {
    ...store.grants,
    find: (query) => (Object.keys(query).length === 0 ? list() : store.grants.find(query)),
    async some(ids) {
      read += ids.length;
      return store.grants.some(ids);
    },
  };
  const activity = { ...store.activity, list };
  const grantPolicies = { ...store.grantPolicies, list };
  return { store: { ...store, grants, activity, grantPolicies }, read: () => read };
}

async function viewOf(store: Store, domains: Record<string, object> = {}) {
  const config = await parseConfig(JSON.stringify({ version: 1, domains }), '/x/sidekey.yaml', { env: {} });
  return { config, store, vault: () => Promise.resolve(null), registry: () => Promise.resolve(null) };
}

async function look(store: Store, domains: Record<string, object> = {}) {
  return lookAtGrants(await viewOf(store, domains), probe, now, await store.grantChecks.count(now));
}

test('status reads the grants with a reason, lists some of them, and counts the others', async () => {
  const { store, read } = await countedStore();
  const many = (count: number, fields: Parameters<typeof grantRecord>[0]) =>
    store.grants.insert(
      ...Array.from({ length: count }, (_, n) => grantRecord({ ...fields, name: `${fields!.name}-${n}` })),
    );
  const healthy = { provider: 'acme', refreshable: false, expiresAt: null } as const;
  await many(900, { ...healthy, name: 'healthy' });
  await many(150, { ...healthy, name: 'lost', state: 'reauth_required' });
  await many(2, { ...healthy, name: 'ended', expiresAt: now - 1 });
  await many(120, { ...healthy, name: 'revoked', state: 'revoked' });
  const { text, facts, needs } = await look(store);
  expect(text).toBe('900 active, 2 expired, 120 revoked, 150 reauth_required');
  expect(facts).toEqual({ active: 900, expired: 2, revoked: 120, reauth_required: 150 });
  expect(needs).toHaveLength(103);
  expect(needs.at(-1)?.sentence).toBe('And 50 more grants expired or need a new consent.');
  expect(read()).toBe(202);
});

test('a revoked grant needs action only while a domain offers it', async () => {
  const { store } = await countedStore();
  const revoked = { state: 'revoked', provider: 'acme' } as const;
  await store.grants.insert(
    grantRecord({ ...revoked, name: 'used' }),
    grantRecord({ ...revoked, name: 'unused' }),
    grantRecord({ ...revoked, name: 'by-provider', user: 'alice' }),
    grantRecord({ ...revoked, name: 'hidden', user: 'bob' }),
    grantRecord({ name: 'acme', user: 'bob', provider: 'other', refreshable: true }),
  );
  const used = await look(store, { 'a.example.com': { grant: 'used' } });
  expect(used.needs.map(({ sentence }) => sentence)).toEqual([
    'used was revoked, and a domain still uses it.',
  ]);
  const provider = await look(store, { 'a.example.com': { grant: 'acme' } });
  expect(provider.needs.map(({ sentence }) => sentence)).toEqual([
    'by-provider (user alice) was revoked, and a domain still uses it.',
    'unused was revoked, and a domain still uses it.',
    'used was revoked, and a domain still uses it.',
  ]);
});

test('entries of the map whose grant does not exist are found without a read of all grants', async () => {
  const { store } = await countedStore();
  await store.grants.insert(grantRecord({ name: 'work' }));
  const domains = { 'a.example.com': { grant: 'work' }, 'b.example.com': { grant: 'gone' } };
  const { needs } = await lookAtDomains(await viewOf(store, domains));
  expect(needs.map(({ sentence }) => sentence)).toEqual([
    'b.example.com uses the grant gone, which does not exist.',
  ]);
});

test('a large map is examined in several turns of the event loop, and 1,000 of its problems are listed', async () => {
  const { store } = await countedStore();
  const hosts = Array.from({ length: 3_000 }, (_, n) => [`h${n}.test`, { grant: `gone-${n}` }] as const);
  const view = await viewOf(store, Object.fromEntries(hosts));
  let turns = 0;
  let turnsBefore = 0;
  let ticking = setImmediate(function tick() {
    turns += 1;
    ticking = setImmediate(tick);
  });
  onTestFinished(() => clearImmediate(ticking));
  const grantChecks: Store['grantChecks'] = {
    ...store.grantChecks,
    existing(references) {
      turnsBefore = turns;
      return store.grantChecks.existing(references);
    },
  };
  const { needs } = await lookAtDomains({ ...view, store: { ...store, grantChecks } });
  expect(turnsBefore).toBeGreaterThanOrEqual(3);
  expect(needs).toHaveLength(1_001);
  expect(needs.at(-1)?.sentence).toBe('And 2000 more entries cannot work.');
});
