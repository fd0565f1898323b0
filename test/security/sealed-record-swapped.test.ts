import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { GrantRecord, Store } from '../../src/store/store.ts';
import { createVault } from '../../src/store/vault/vault.ts';
import { masterKey } from '../../src/store/vault/key-source.ts';
import { grantRecord } from '../support/grant-record.ts';
import { tempFolder } from '../support/temp-folder.ts';

const vault = createVault(masterKey(randomBytes(32)));
const contextOf = (grant: GrantRecord): string => `grant/${grant.id}/${grant.revision}`;

function sealedGrant(name: string, token: string): GrantRecord {
  const record = grantRecord({ name });
  return { ...record, sealed: vault.seal(contextOf(record), Buffer.from(token)) };
}

async function openToken(store: Store, id: string): Promise<string> {
  const record = await store.grants.get(id);
  if (record === null) throw new Error('The grant is gone.');
  return vault.open(contextOf(record), record.sealed).toString();
}

/** Changes by a person who can write to the file, and has no key. */
function meddle(path: string, sql: string, ...values: SQLInputValue[]): void {
  const database = new DatabaseSync(path);
  database.prepare(sql).run(...values);
  database.close();
}

describe('a person with write access to the store but without the key', () => {
  it('cannot give one grant the credential of another', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now: () => 0 });
    const mine = sealedGrant('mine', 'my token');
    const theirs = sealedGrant('theirs', 'their token');
    await store.grants.insert(mine);
    await store.grants.insert(theirs);
    expect(await openToken(store, mine.id)).toBe('my token');

    meddle(path, 'update grants set sealed = ? where id = ?', theirs.sealed, mine.id);
    await expect(openToken(store, mine.id)).rejects.toMatchObject({ code: 'record_tampered' });
    expect(await openToken(store, theirs.id)).toBe('their token');
    await store.close();
  });

  it('cannot restore an older credential of the same grant unnoticed', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now: () => 0 });
    const old = sealedGrant('mine', 'old token');
    await store.grants.insert(old);
    const next = { ...old, revision: 2 };
    await store.grants.replace({ ...next, sealed: vault.seal(contextOf(next), Buffer.from('new token')) }, 1);
    expect(await openToken(store, old.id)).toBe('new token');

    meddle(path, 'update grants set sealed = ? where id = ?', old.sealed, old.id);
    await expect(openToken(store, old.id)).rejects.toMatchObject({ code: 'record_tampered' });
    await store.close();
  });

  it('cannot give a credential another ID', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now: () => 0 });
    const mine = sealedGrant('mine', 'my token');
    await store.grants.insert(mine);
    meddle(path, 'update grants set id = ? where id = ?', 'other', mine.id);
    await expect(openToken(store, 'other')).rejects.toMatchObject({ code: 'record_tampered' });
    await store.close();
  });
});
