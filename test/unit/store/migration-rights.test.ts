import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { expect, test } from 'vitest';
import { openSqliteFile, openSqliteStore, sqliteMigrations } from '../../../src/store/sqlite.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const { '0001-first': first, '0002-connect': second } = sqliteMigrations;

test('agents from before the migration keep their token and are bound to every grant', async () => {
  const path = join(await tempFolder(), 'sidekey.db');
  const older = {
    '0001-first': first!,
    '0002-connect': {
      async up(db: Kysely<unknown>): Promise<void> {
        await second?.up(db);
      },
    },
  };
  const before = await openSqliteFile(path, { migrations: older, busyTimeoutMs: 2_000 });
  const insert = before.prepare('insert into agents (name, token_hash, created_at) values (?, ?, ?)');
  insert.run('robot', Buffer.alloc(32, 1), 7);
  insert.run('other', Buffer.alloc(32, 2), 8);
  before.close();

  const store = await openSqliteStore(path, { now: () => 0 });
  const tokens = await store.agentTokens.list();
  expect(await store.agents.list()).toEqual([
    expect.objectContaining({ name: 'other', user: null, labels: [], disabledAt: null, createdAt: 8 }),
    expect.objectContaining({ name: 'robot', createdAt: 7 }),
  ]);
  expect(
    tokens.map(({ agent, label, hash, expiresAt, revokedAt }) => ({
      agent,
      label,
      hash: Buffer.from(hash)[0],
      expiresAt,
      revokedAt,
    })),
  ).toEqual([
    { agent: 'robot', label: 'main', hash: 1, expiresAt: null, revokedAt: null },
    { agent: 'other', label: 'main', hash: 2, expiresAt: null, revokedAt: null },
  ]);
  expect(new Set(tokens.map(({ id }) => id)).size).toBe(2);
  expect(
    new Set((await store.bindings.list()).map(({ agent, kind, value }) => `${agent} ${kind} ${value}`)),
  ).toEqual(new Set(['other everything *', 'robot everything *']));
  // Foreign keys refer to the new table.
  await store.agents.remove('robot');
  expect(await store.agentTokens.list()).toMatchObject([{ agent: 'other' }]);
  expect(await store.bindings.list()).toMatchObject([{ agent: 'other' }]);
  await store.close();
});
