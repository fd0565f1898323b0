import { expect, onTestFinished, test } from 'vitest';
import { findAgent, findGrant, findLease, findNamedGrant } from '../../../src/operations/find.ts';
import type { Config } from '../../../src/config/config.ts';
import { makeLease } from '../../../src/operations/make-lease.ts';
import type { Opened } from '../../../src/operations/operation.ts';
import { grantsOf } from '../../../src/operations/audit-events.ts';
import type { Store } from '../../../src/store/store.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { addAgent } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const everybody = { user: null };

const of = (user: string) => grantRecord({ name: 'work', user, provider: 'acme' });
const list = () => Promise.reject(new Error('All rows were read.'));

/** A store with a grant `work` of three users, whose reads of all grants and leases reject. */
async function filled() {
  const real = await openSqliteStore(`${await tempFolder()}/store.db`, { now: () => 0 });
  onTestFinished(() => real.close());
  const [alice, bob, own] = [of('alice'), of('bob'), of('default')];
  await real.grants.insert(alice, bob, own, grantRecord({ name: 'other', user: 'alice' }));
  const store: Store = {
    ...real,
    grants: {
      ...real.grants,
      find: (query) => (Object.keys(query).length === 0 ? list() : real.grants.find(query)),
    },
    leases: { ...real.leases, find: list },
  };
  return { store, alice, bob, own };
}

test('a grant is found by id, or by name and user, without a read of all grants', async () => {
  const { store, alice, bob, own } = await filled();
  const idOf = async (grant: string, user?: string, caller: { user: string | null } = everybody) =>
    (await findGrant(store, { grant, user }, caller)).id;
  expect(await idOf(bob.id)).toBe(bob.id);
  expect(await idOf('work')).toBe(own.id);
  expect(await idOf('work', 'alice')).toBe(alice.id);
  expect(await idOf('work', undefined, { user: 'bob' })).toBe(bob.id);
  expect(await idOf('other')).not.toBe(own.id);
  expect((await findNamedGrant(store, 'alice/work')).id).toBe(alice.id);
});

test.each([
  ['work', 'carol', null, 'The user carol has no grant work; alice, bob, default have.'],
  ['worc', undefined, null, 'There is no grant worc; did you mean work?'],
  ['worc', undefined, 'carol', 'There is no grant worc.'],
  ['other', undefined, 'bob', 'There is no grant other.'],
])('the error for the grant %s of %s for a caller of %s is exact', async (grant, user, limited, message) => {
  const { store } = await filled();
  await expect(findGrant(store, { grant, user }, { user: limited })).rejects.toThrow(message);
});

test('an id of another user is no grant of a limited caller', async () => {
  const { store, alice } = await filled();
  await expect(findGrant(store, { grant: alice.id }, { user: 'bob' })).rejects.toMatchObject({
    code: 'grant_missing',
    message: `There is no grant ${alice.id}.`,
  });
});

test('a lease of named grants is made without a read of all rights or grants', async () => {
  const { store, alice, own } = await filled();
  await addAgent(store, 'ci', 'unused', { bindings: [{ kind: 'label', value: 'x' }] });
  for (const { id } of [alice, own]) await store.grantPolicies.set(id, { labels: ['x'], leaseMaxMs: 1_000 });
  const leases = { defaultTtlMs: 60_000, maxTtlMs: 60_000 };
  const config = { leases, providers: { get: () => undefined } } as unknown as Config;
  const parts = { store, config, audit: { append: async () => {}, note() {} } } as unknown as Opened;
  const terms = { agent: 'ci', purpose: 'x', ttlMs: null, idleMs: null, maxUses: null };
  const { lease } = await makeLease(parts, { ...terms, grants: ['alice/work', 'work', own.id] }, 5);
  expect(lease).toMatchObject({ agent: 'ci', grants: [alice.id, own.id], expiresAt: 1_005 });
  await expect(makeLease(parts, { ...terms, grants: ['bob/work'] }, 5)).rejects.toMatchObject({
    code: 'grant_missing',
    message: 'The agent ci does not reach the grant bob/work.',
  });
});

test('a lease and an agent that do not exist are refused', async () => {
  const { store } = await filled();
  await expect(findLease(store, 'abcd')).rejects.toMatchObject({ code: 'not_found' });
  await expect(findLease(null, 'abcd')).rejects.toMatchObject({ code: 'not_found' });
  await expect(findAgent(store, 'nobody')).rejects.toMatchObject({ code: 'not_found' });
});

test('grants for the audit log are found by name or ID, and a missing one is compared with some', async () => {
  const { store, alice } = await filled();
  const names = async (grant?: string) =>
    (await grantsOf(store, { grant })).map(({ user, name }) => [user, name]);
  expect(await names()).toEqual([]);
  expect(await names('other')).toEqual([['alice', 'other']]);
  expect(await names(alice.id)).toEqual([['alice', 'work']]);
  expect(await names('wrok')).toHaveLength(4);
});
