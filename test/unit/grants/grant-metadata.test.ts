import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { SealedCredential } from '../../../src/domain/credential.ts';
import { createRefreshCommits, oauthGrant } from '../../../src/grants/refresh-commit.ts';
import { openRegistry, type Registry } from '../../../src/grants/registry.ts';
import { readSealed, writeSealed } from '../../../src/grants/sealed-text.ts';
import { systemTimers } from '../../../src/lib/timers.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { oauth2, start } from './processes.ts';

const sealed: SealedCredential = { credential: oauth2(), audience: ['acme.test'] };
const facts = { name: 'acme', user: 'default', provider: 'acme', scopes: [] };

/** Opens a store with one grant. `beforeReplace` runs once, before the next write of a grant. */
async function opened() {
  const path = join(await tempFolder(), 'store', 'sidekey.db');
  let time = start;
  const now = () => (time += 1);
  const real = await openSqliteStore(path, { now });
  onTestFinished(() => real.close());
  let beforeReplace: (() => Promise<unknown>) | null = null;
  const grants: Store['grants'] = {
    ...real.grants,
    async replace(...args) {
      const run = beforeReplace;
      beforeReplace = null;
      await run?.();
      return real.grants.replace(...args);
    },
  };
  const store = { ...real, grants };
  const registry = openRegistry({ store, vault: createVault(masterKey(Buffer.alloc(32, 3))), now });
  const { id } = await registry.add(facts, sealed);
  return { registry, id, before: (run: () => Promise<unknown>) => void (beforeReplace = run) };
}

const metadataOf = async (registry: Registry, id: string) => (await registry.read(id))?.sealed.metadata;

async function refresh(registry: Registry, id: string, refreshToken: string) {
  const base = oauthGrant(await registry.read(id))!;
  return {
    commit: () =>
      createRefreshCommits(registry, systemTimers, {
        isHeld: async () => true,
        lockOf: () => ({ name: `refresh/${id}`, holder: 'this process' }),
        released: () => {},
      }).commit(
        base,
        {
          usedRefreshToken: base.credential.refreshToken,
          next: { ...base.credential, refreshToken, accessToken: `access of ${refreshToken}` },
        },
        true,
      ),
  };
}

test('metadata that is changed during a refresh stays, and so do the new tokens', async () => {
  const { registry, id } = await opened();
  const { commit } = await refresh(registry, id, 'refresh-2');
  await registry.changeMetadata(id, { team: 'infra' });
  const stored = await commit();
  const { sealed: now } = (await registry.read(id))!;
  expect(stored).toMatchObject({ sealed: now });
  expect(now).toMatchObject({ metadata: { team: 'infra' }, credential: { refreshToken: 'refresh-2' } });
});

test('tokens that a refresh stores during a change of metadata stay, and so does the metadata', async () => {
  const { registry, id, before } = await opened();
  const { commit } = await refresh(registry, id, 'refresh-2');
  before(commit);
  expect(await registry.changeMetadata(id, { team: 'infra' })).toBe(true);
  const { sealed: now } = (await registry.read(id))!;
  expect(now).toMatchObject({ metadata: { team: 'infra' }, credential: { refreshToken: 'refresh-2' } });
});

test('two simultaneous changes of metadata are both stored', async () => {
  const { registry, id, before } = await opened();
  before(() => registry.changeMetadata(id, { a: '1' }));
  await registry.changeMetadata(id, { b: '2' });
  expect(await metadataOf(registry, id)).toEqual({ a: '1', b: '2' });
});

test('a change of metadata does not change the state and the time of the credential', async () => {
  const { registry, id } = await opened();
  const { grant } = (await registry.read(id))!;
  const required = await registry.setState(grant, 'reauth_required', 'refused');
  await registry.changeMetadata(id, { team: 'infra' });
  expect((await registry.read(id))?.grant).toEqual({ ...required!, revision: required!.revision + 1 });
});

test('metadata that is set to its value writes nothing, and an empty value removes its key', async () => {
  const { registry, id } = await opened();
  await registry.changeMetadata(id, { team: 'infra', none: '' });
  const { grant } = (await registry.read(id))!;
  expect(await registry.changeMetadata(id, { team: 'infra' })).toBe(true);
  expect((await registry.read(id))?.grant).toEqual(grant);
  await registry.changeMetadata(id, { team: '' });
  expect(await metadataOf(registry, id)).toBeUndefined();
  expect(await registry.changeMetadata('missing', { team: 'infra' })).toBe(false);
});

test('metadata of a revoked grant stays, without its secrets', async () => {
  const { registry, id } = await opened();
  await registry.changeMetadata(id, { team: 'infra' });
  await registry.setState((await registry.read(id))!.grant, 'revoked', 'gone');
  const { sealed: now } = (await registry.read(id))!;
  expect(now).toMatchObject({
    metadata: { team: 'infra' },
    audience: [],
    credential: { refreshToken: null },
  });
});

const text = (content: SealedCredential) =>
  JSON.parse(Buffer.from(writeSealed(content)).toString()) as object;

test('a version without metadata refuses a credential with metadata, which it would lose', () => {
  expect(text(sealed)).toMatchObject({ v: 1 });
  expect(text({ ...sealed, metadata: { team: 'infra' } })).toMatchObject({ v: 2 });
  const details = { email: 'a@acme.test' };
  const all = { ...sealed, details, metadata: { team: 'infra' } };
  expect(readSealed(writeSealed(all), 'g')).toEqual(all);
});

test.each([
  { v: 3 },
  { v: 2, metadata: ['team'] },
  { v: 2, metadata: { team: 1 } },
  { v: 2, metadata: null },
  { v: 2, details: 'x' },
])('a sealed text with %j is refused', (members) => {
  const bytes = Buffer.from(JSON.stringify({ ...sealed, ...members }));
  expect(() => readSealed(bytes, 'g')).toThrow(expect.objectContaining({ code: 'record_tampered' }));
});
