import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { openRegistry } from '../../src/grants/registry.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { createVault } from '../../src/store/vault/vault.ts';
import { masterKey } from '../../src/store/vault/key-source.ts';
import { tempFolder } from '../support/temp-folder.ts';

describe('a person with write access to the store but without the key', () => {
  // The provider decides which token endpoint the refresh token is sent to, name and user who may use the
  // grant.
  test.each([
    ['provider', 'evil'],
    ['name', 'other'],
    ['user', 'mallory'],
  ])('cannot give a credential another %s, even while a proxy has the store open', async (column, value) => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now: () => 0 });
    const vault = createVault(masterKey(randomBytes(32)));
    const open = () => openRegistry({ store, vault, now: () => 0 });
    const registry = open();
    const { id } = await registry.add(
      { name: 'acme', user: 'alice', provider: 'acme', scopes: [] },
      { credential: { type: 'api_key', value: 'a-secret-key' }, audience: ['api.acme.test'] },
    );
    expect(await registry.open(id)).toMatchObject({ grant: { user: 'alice' } });

    const database = new DatabaseSync(path);
    database.prepare(`update grants set "${column}" = ? where id = ?`).run(value, id);
    database.close();
    // Changes by other processes are seen after 5 ms (docs/agents-and-leases.md).
    await setTimeout(5);
    for (const reader of [registry, open()]) {
      await expect(reader.read(id)).rejects.toMatchObject({ code: 'record_tampered' });
      await expect((async () => reader.open(id))()).rejects.toMatchObject({ code: 'record_tampered' });
    }
    await store.close();
  });
});
