import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Credential, SealedCredential } from '../../../src/domain/credential.ts';
import { type NewGrant, openRegistry, type Registry } from '../../../src/grants/registry.ts';
import { sealContext } from '../../../src/grants/sealed-text.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantOf } from '../../../src/store/grants.ts';
import type { Store } from '../../../src/store/store.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { createVault, type Vault } from '../../../src/store/vault/vault.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { oauth2, start } from './processes.ts';
import { allGrants } from '../../support/all-grants.ts';

const key: Credential = { type: 'api_key', value: 'the-secret-key' };
const sealed = (credential: Credential = key): SealedCredential => ({ credential, audience: ['acme.test'] });
const meta: NewGrant = { name: 'acme', user: 'default', provider: 'acme', scopes: [] };

interface Opened {
  readonly store: Store;
  readonly vault: Vault;
  readonly registry: Registry;
}

async function openedStores(count: number): Promise<[Opened, ...Opened[]]> {
  const path = join(await tempFolder(), 'store', 'sidekey.db');
  const vault = createVault(masterKey(Buffer.alloc(32, 3)));
  const made = [];
  for (let index = 0; index < count; index += 1) {
    const store = await openSqliteStore(path, { now: () => start });
    onTestFinished(() => store.close());
    made.push({ store, vault, registry: openRegistry({ store, vault, now: () => start }) });
  }
  return made as [Opened, ...Opened[]];
}

describe('add', () => {
  test('returns the public fields, and seals the rest', async () => {
    const [{ registry, store, vault }] = await openedStores(1);
    const grant = await registry.add({ ...meta, scopes: ['read'] }, sealed(oauth2()));
    expect(grant).toEqual({
      ...meta,
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      type: 'oauth2',
      state: 'active',
      stateReason: null,
      lease: null,
      parent: null,
      mint: null,
      scopes: ['read'],
      expiresAt: start + 3_600_000,
      refreshable: true,
      revision: 1,
      createdAt: start,
      updatedAt: start,
    });
    const record = await store.grants.get(grant.id);
    expect(Buffer.from(record!.sealed).toString('latin1')).not.toContain('access-1');
    expect(vault.open(sealContext(record!), record!.sealed).toString()).toContain('access-1');
  });

  test.each([
    [{ ...meta, name: 'a+b' }, ['acme.test'], 'The name of the grant is not valid.'],
    [{ ...meta, user: '' }, ['acme.test'], 'The user of the grant is not valid.'],
    [{ ...meta, user: 'alice/work' }, ['acme.test'], 'The user of the grant is not valid.'],
    [{ ...meta, provider: 'a b' }, ['acme.test'], 'The provider of the grant is not valid.'],
    [meta, [], 'The audience of the grant is empty'],
    [meta, ['acme.test', '*'], 'has an entry that is not a host'],
  ])('refuses unusable values: %#', async (grant, audience, message) => {
    const [{ registry, store }] = await openedStores(1);
    await expect(registry.add(grant, { credential: key, audience })).rejects.toMatchObject({
      code: 'input_invalid',
      message: expect.stringContaining(message),
    });
    expect(await allGrants(store)).toEqual([]);
  });

  test('refuses a name that the user has already, and keeps the existing grant', async () => {
    const [{ registry, store }] = await openedStores(1);
    const first = await registry.add(meta, sealed());
    await expect(registry.add(meta, sealed())).rejects.toMatchObject({ code: 'already_exists' });
    await registry.add({ ...meta, user: 'alice' }, sealed());
    expect((await allGrants(store)).map(({ user }) => user)).toEqual(['alice', 'default']);
    expect((await registry.open(first.id))?.sealed).toEqual(sealed());
  });
});

describe('find and open', () => {
  test('match id, name and provider exactly', async () => {
    const [{ registry }] = await openedStores(1);
    const a = await registry.add({ ...meta, name: 'a' }, sealed());
    const b = await registry.add({ ...meta, name: 'b' }, sealed());
    expect(await registry.find('acme')).toEqual([a, b]);
    expect(await registry.find('a')).toEqual([a]);
    expect(await registry.find(b.id)).toEqual([b]);
    expect(await registry.find('ac')).toEqual([]);
    expect(await registry.open('no-such-id')).toBeNull();
  });

  test('return from memory without a promise until the store changes', async () => {
    const [here, there] = await openedStores(2);
    const grant = await here.registry.add(meta, sealed());
    await here.registry.find('acme');
    const find = vi.spyOn(here.store.grants, 'find');
    expect(here.registry.find('acme')).toEqual([grant]);
    expect(here.registry.open(grant.id)).toMatchObject({ grant, sealed: sealed() });
    expect(here.registry.open(grant.id)).toBe(here.registry.peek(grant.id));
    expect(find).not.toHaveBeenCalled();
    await there!.registry.setState(grant, 'revoked', null);
    expect(here.registry.peek(grant.id)).toBeUndefined();
    expect(await here.registry.find('acme')).toMatchObject([{ state: 'revoked' }]);
    expect(find).toHaveBeenCalledTimes(1);
  });

  test('return no credential after a revocation, because it erases the sealed secret', async () => {
    const [{ registry, store, vault }] = await openedStores(1);
    const pair: Credential = { type: 'jwt', value: 'e', extra: { api_secret: 'the-secret-key' } };
    for (const credential of [key, pair, oauth2({ clientSecret: 'the-secret-key' })]) {
      const grant = await registry.add({ ...meta, name: credential.type }, sealed(credential));
      expect(await registry.setState(grant, 'revoked', null)).toMatchObject({ state: 'revoked' });
      const record = await store.grants.get(grant.id);
      const left = vault.open(sealContext(record!), record!.sealed).toString();
      expect(left).toContain(`"type":"${credential.type}"`);
      expect(left).toContain('"audience":[]');
      expect(left).not.toMatch(/the-secret-key|access-1|refresh-1/);
    }
  });

  test('read the store once for concurrent callers', async () => {
    const [{ registry, store }] = await openedStores(1);
    await registry.add(meta, sealed());
    const find = vi.spyOn(store.grants, 'find');
    await Promise.all(Array.from({ length: 50 }, async () => registry.find('acme')));
    expect(find).toHaveBeenCalledTimes(1);
  });

  test('return the registry’s own write, even if a slow read began before it', async () => {
    const [{ registry, store, vault }] = await openedStores(1);
    const grant = await registry.add(meta, sealed());
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    // A constant epoch: only the registry's own writes show the change.
    const deaf: Store = {
      ...store,
      epoch: () => 1,
      grants: {
        ...store.grants,
        find: async (query) => {
          const records = await store.grants.find(query);
          await held;
          return records;
        },
      },
    };
    const slow = openRegistry({ store: deaf, vault, now: () => start });
    const id = randomUUID();
    const [found, foundById] = [slow.find('acme'), slow.find(id)];
    await slow.setState(grant, 'revoked', null);
    await slow.add({ ...meta, name: 'other', provider: 'other' }, sealed(), id);
    letGo();
    const wanted = [[expect.objectContaining({ state: 'revoked' })], [expect.objectContaining({ id })]];
    expect([await found, await foundById]).toEqual(wanted);
    expect([await slow.find('acme'), await slow.find(id)]).toEqual(wanted);
  });

  test('do not return rows that were read before the call and have changed since', async () => {
    const [here, there] = await openedStores(2);
    const grant = await here.registry.add(meta, sealed());
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const records = await here.store.grants.find({});
    vi.spyOn(here.store.grants, 'find').mockImplementationOnce(async () => {
      await held;
      return records;
    });
    const early = here.registry.find('acme');
    await new Promise((resolve) => setImmediate(resolve));
    await there!.registry.setState(grant, 'revoked', null);
    const late = here.registry.find('acme');
    letGo();
    await early;
    expect(await late).toMatchObject([{ state: 'revoked' }]);
  });

  test('return the grants of the users in scope, and those with an ID in scope', async () => {
    const [{ registry }] = await openedStores(1);
    const of = (name: string, user: string, provider = 'acme') =>
      registry.add({ ...meta, name, user, provider }, sealed());
    const [a, b, c] = [await of('a', 'alice'), await of('b', 'bob'), await of('c', 'carol')];
    const other = await of('other', 'bob', 'other');
    const scope = { users: ['alice'], ids: [c.id, other.id, 'no-such-id'] };
    expect(await registry.find('acme', scope)).toEqual([a, c]);
    expect(registry.find('acme', scope)).toBe(registry.find('acme', scope));
    expect(registry.find('acme', scope)).toEqual([a, c]);
    expect(await registry.find('acme', { users: ['bob', 'alice'], ids: [a.id] })).toEqual([a, b]);
    expect(await registry.find('acme', { users: ['nobody'], ids: [] })).toEqual([]);
    expect(registry.find('acme', { users: ['nobody'], ids: [] })).toEqual([]);
  });

  test.each([
    ['acme', ''],
    ['acme', '\0'],
    ['\0acme', 'alice'],
    ['acme\nalice', ''],
  ])('never confuse %j and the user %j with another list', async (reference, user) => {
    const [{ registry }] = await openedStores(1);
    const grant = await registry.add({ ...meta, user: 'alice' }, sealed());
    expect(await registry.find('acme')).toEqual([grant]);
    expect(await registry.find('acme', { users: ['alice'], ids: [] })).toEqual([grant]);
    expect(await registry.find(reference, { users: [user], ids: [] })).toEqual([]);
    expect(await registry.find(reference, { users: [user, 'alice'], ids: [] })).toEqual(
      reference === 'acme' ? [grant] : [],
    );
    expect(await registry.find('acme', { users: ['alice'], ids: [] })).toEqual([grant]);
    expect(await registry.find('acme')).toEqual([grant]);
  });

  test('see a grant that is added later, under its name, its provider and its ID', async () => {
    const [here, there] = await openedStores(2);
    const scope = { users: ['alice'], ids: [] };
    expect(await here.registry.find('acme', scope)).toEqual([]);
    expect(await here.registry.find('work', scope)).toEqual([]);
    expect(await here.registry.find('work')).toEqual([]);
    const id = randomUUID();
    for (const { registry } of [here, there!]) {
      expect(await here.registry.find(id, scope)).toEqual([]);
      expect(await here.registry.find(id)).toEqual([]);
      expect(await here.registry.first(id)).toEqual([]);
      const grant = await registry.add({ ...meta, name: 'work', user: 'alice' }, sealed(), id);
      for (const find of ['acme', 'work', id]) {
        await vi.waitFor(async () => expect(await here.registry.find(find, scope)).toEqual([grant]));
        expect(await here.registry.find(find)).toEqual([grant]);
        expect(await here.registry.first(find)).toEqual([grant]);
      }
      await registry.remove(grant.id);
      await vi.waitFor(async () => expect(await here.registry.find('work')).toEqual([]));
    }
  });

  test('return the first grants of a reference, and the new ones after a change', async () => {
    const [here, there] = await openedStores(2);
    const of = (user: string) => there!.registry.add({ ...meta, user }, sealed());
    const [a, b] = [await of('a'), await of('b')];
    expect(await here.registry.first('acme')).toEqual([a, b]);
    expect(here.registry.first('acme')).toBe(here.registry.first('acme'));
    const c = await of('c');
    await vi.waitFor(async () => expect(await here.registry.first('acme')).toEqual([a, b, c]));
    await here.registry.setState(b, 'revoked', null);
    expect(await here.registry.first('acme')).toMatchObject([{}, { state: 'revoked' }, {}]);
    expect(await here.registry.first('ac\nme')).toEqual([]);
    await here.store.grants.insert(
      ...Array.from({ length: 999 }, (_, n) => grantRecord({ user: `n${n}`, provider: 'acme' })),
    );
    await here.store.grants.insert(
      ...Array.from({ length: 999 }, (_, n) => grantRecord({ user: `m${n}`, provider: 'acme' })),
    );
    const find = vi.spyOn(here.store.grants, 'find');
    expect(await here.registry.first('acme')).toHaveLength(2_000);
    // In small pages, because a statement blocks the thread.
    expect(find.mock.calls.map(([{ limit }]) => limit)).toEqual(Array.from({ length: 20 }, () => 100));
    find.mockClear();
    // A grant after the first ones, which stay in memory.
    const last = await here.registry.add({ ...meta, name: 'z' }, sealed());
    await here.registry.setState(last, 'revoked', null);
    expect(here.registry.first('acme')).toHaveLength(2_000);
    expect(find).not.toHaveBeenCalled();
    const early = await here.registry.add({ ...meta, user: 'aa' }, sealed());
    expect(await here.registry.first('acme')).toContainEqual(early);
  });

  test('return first grants that change while they are read, each not older than the call', async () => {
    const [{ store, registry }] = await openedStores(1);
    const records = Array.from({ length: 250 }, (_, n) =>
      grantRecord({ user: `u${100 + n}`, provider: 'acme' }),
    );
    await store.grants.insert(...records);
    const grants = { ...store.grants };
    let reads = 0;
    vi.spyOn(store.grants, 'find').mockImplementation(async (query) => {
      const page = await grants.find(query);
      reads += 1;
      // The first page changes while the second one is read.
      if (reads === 2) await store.grants.replace({ ...records[0]!, revision: 2, state: 'revoked' }, 1);
      return page;
    });
    expect(await registry.first('acme')).toHaveLength(250);
    expect(await registry.first('acme')).toMatchObject([
      { state: 'revoked' },
      ...records.slice(1).map(() => ({})),
    ]);
  });

  test('keep what was used last within a bound of memory', async () => {
    const [{ store, vault, registry }] = await openedStores(1);
    const ids = [];
    for (let n = 0; n < 40; n += 1) ids.push((await registry.add({ ...meta, name: `n${n}` }, sealed())).id);
    const small = openRegistry({ store, vault, now: () => start, cacheBytes: 40_000 });
    for (const id of ids) expect((await small.open(id))?.sealed).toEqual(sealed());
    expect(small.peek(ids.at(-1)!)).toMatchObject({ sealed: sealed() });
    expect(small.peek(ids[0]!)).toBeUndefined();
    expect(await small.find('acme')).toHaveLength(40);
  });

  test('find the same for a repeated scope as for a new one, after each change and each loss from memory', async () => {
    const [{ store, vault, registry }, there] = await openedStores(2);
    const add = (n: number) =>
      registry.add({ ...meta, name: `n${n}`, user: n % 2 === 0 ? 'a' : 'b' }, sealed());
    const grants = [await add(0), await add(1), await add(2)];
    const small = openRegistry({ store, vault, now: () => start, cacheBytes: 8_000 });
    const scopes = [
      { users: ['a'], ids: [] },
      { users: ['a', 'b'], ids: [] },
      { users: ['a'], ids: [grants[1]!.id] },
    ];
    const changes = [
      () => registry.setState(grants[1]!, 'revoked', null),
      () => small.open(grants[0]!.id),
      () => add(3),
      () => there!.registry.remove(grants[2]!.id),
      () => add(4),
      () => small.open(grants[1]!.id),
      () => registry.remove(grants[1]!.id),
      () => there!.registry.setState(grants[0]!, 'revoked', null),
    ];
    for (const change of changes) {
      for (const scope of scopes) await small.find('acme', scope);
      await change();
      for (const scope of scopes) {
        await vi.waitFor(async () => {
          const all = await store.grants.find({ reference: 'acme' });
          const wanted = all.filter(({ id, user }) => scope.users.includes(user) || scope.ids.includes(id));
          expect(await small.find('acme', scope)).toEqual(wanted.map(grantOf));
        });
      }
    }
  });

  test('return the same credential object while the sealed bytes are the same', async () => {
    const [here, there] = await openedStores(2);
    const grant = await here.registry.add(meta, sealed());
    const before = await here.registry.open(grant.id);
    await there!.registry.add({ ...meta, name: 'other' }, sealed());
    const after = await here.registry.open(grant.id);
    expect(after?.sealed).toBe(before?.sealed);
  });

  test('return the new rows after `read` has queried the store', async () => {
    const [{ registry, store, vault }] = await openedStores(1);
    const grant = await registry.add(meta, sealed());
    const deaf = openRegistry({ store: { ...store, epoch: () => 1 }, vault, now: () => start });
    await deaf.open(grant.id);
    await registry.setState(grant, 'revoked', null);
    expect((await deaf.open(grant.id))?.grant.state).toBe('active');
    expect((await deaf.read(grant.id))?.grant.state).toBe('revoked');
    expect((await deaf.open(grant.id))?.grant.state).toBe('revoked');
  });

  test('never treat an unreadable store as an empty store', async () => {
    const [{ registry, store }] = await openedStores(1);
    await registry.add(meta, sealed());
    await store.close();
    await expect((async () => registry.find('acme'))()).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});

describe('writes', () => {
  test('replace a credential under a new seal, and make the grant active', async () => {
    const [{ registry, store, vault }] = await openedStores(1);
    const grant = await registry.add(meta, sealed());
    const changed = await registry.setState(grant, 'reauth_required', 'because');
    expect(changed).toMatchObject({ revision: 2, state: 'reauth_required', stateReason: 'because' });
    const replaced = await registry.replaceCredential(changed!, sealed(oauth2()), { scopes: ['read'] });
    expect(replaced).toMatchObject({
      id: grant.id,
      revision: 3,
      state: 'active',
      stateReason: null,
      type: 'oauth2',
      refreshable: true,
      scopes: ['read'],
    });
    expect((await registry.open(grant.id))?.sealed).toEqual(sealed(oauth2()));
    const record = await store.grants.get(grant.id);
    expect(() => vault.open(sealContext({ ...record!, revision: 2 }), record!.sealed)).toThrow();
  });

  test('change nothing when another write came first', async () => {
    const [here, there] = await openedStores(2);
    const grant = await here.registry.add(meta, sealed());
    await there!.registry.setState(grant, 'revoked', null);
    expect(await here.registry.replaceCredential(grant, sealed(oauth2()))).toBeNull();
    expect(await here.registry.setState(grant, 'expired', null)).toBeNull();
    expect(await allGrants(here.store)).toMatchObject([{ state: 'revoked', type: 'api_key', revision: 2 }]);
  });

  test('remove a grant', async () => {
    const [{ registry }] = await openedStores(1);
    const grant = await registry.add(meta, sealed());
    await registry.open(grant.id);
    expect(await registry.remove(grant.id)).toBe(true);
    expect(await registry.open(grant.id)).toBeNull();
    expect(await registry.remove(grant.id)).toBe(false);
    expect(await registry.setState(grant, 'revoked', null)).toBeNull();
  });
});

test('the joined grants of a scope are the same array while they are unchanged, for a few references', async () => {
  const [{ registry }] = await openedStores(1);
  const grants = await Promise.all(['a', 'b'].map((user) => registry.add({ ...meta, user }, sealed())));
  const scope = { users: ['a', 'b'], ids: [grants[0]!.id] };
  const find = async (reference: string, asked = scope) => registry.find(reference, asked);
  await find('acme');
  const before = await find('acme');
  await find('github');
  expect(await find('acme')).toBe(before);
  const other = await registry.add({ ...meta, name: 'other', user: 'c' }, sealed());
  expect(await find('acme')).toBe(before);
  // A grant of another scope leaves the memory.
  await registry.open(other.id);
  await registry.setState(other, 'revoked', null);
  expect(await find('acme')).toBe(before);
  // Each request can bring another reference or scope.
  for (let n = 0; n < 40; n += 1) {
    await find(`n${n}`);
    await find(`n${n}`);
  }
  expect(await find('acme')).not.toBe(before);
  expect(await find('acme', { ...scope })).toEqual(before);
  const ids = Array.from({ length: 1_000 }, (_, index) => `id-${index}`);
  const large = { users: ['a'], ids };
  await find('acme', large);
  const once = await find('acme', large);
  expect(await find('acme', large)).toBe(once);
  await find('n1', large);
  await find('n1', large);
  await registry.open(grants[0]!.id);
  expect(await find('acme', large)).not.toBe(once);
  await registry.remove(grants[1]!.id);
  expect(await find('acme')).toEqual([grants[0]]);
});

test('the joined grants of a scope keep no credential of a removed grant in memory', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const [{ registry }] = await openedStores(1);
  const { id } = await registry.add({ ...meta, user: 'b' }, sealed());
  const scope = { users: ['a'], ids: [id] };
  const credential = await (async () => {
    await registry.find('acme', scope);
    await registry.find('acme', scope);
    return new WeakRef((await registry.open(id))!.sealed);
  })();
  await registry.remove(id);
  // Another turn: a WeakRef keeps its target until the end of the one that made it.
  await new Promise((resolve) => setTimeout(resolve));
  collect();
  expect(credential.deref()).toBeUndefined();
  expect(await registry.find('acme', scope)).toEqual([]);
});

describe('a record that does not open', () => {
  test('is refused when it belongs to another grant or revision', async () => {
    const [{ registry, store }] = await openedStores(1);
    const a = await registry.add({ ...meta, name: 'a' }, sealed());
    const b = await registry.add({ ...meta, name: 'b' }, sealed());
    const [recordA, recordB] = [await store.grants.get(a.id), await store.grants.get(b.id)];
    await store.grants.replace({ ...recordA!, revision: 2, sealed: recordB!.sealed }, 1);
    await store.grants.replace({ ...recordB!, revision: 2 }, 1);
    for (const { id } of [a, b]) {
      await expect((async () => registry.open(id))()).rejects.toMatchObject({ code: 'record_tampered' });
    }
    expect(await allGrants(store)).toHaveLength(2);
  });

  test.each(['{}', 'null', '{"v":2}', 'no json', '{"v":1,"audience":[],"credential":{"type":"magic"}}'])(
    'is refused when it contains %s',
    async (text) => {
      const [{ registry, store, vault }] = await openedStores(1);
      const grant = await registry.add(meta, sealed());
      const record = await store.grants.get(grant.id);
      const bytes = vault.seal(sealContext({ ...record!, revision: 2 }), Buffer.from(text));
      await store.grants.replace({ ...record!, revision: 2, sealed: bytes }, 1);
      await expect((async () => registry.open(grant.id))()).rejects.toMatchObject({
        code: 'record_tampered',
      });
    },
  );
});
