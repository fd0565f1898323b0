import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  CamelCasePlugin,
  DummyDriver,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { expect, test } from 'vitest';
import { dueGrants } from '../../../src/store/grants.ts';
import type { Schema } from '../../../src/store/schema.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const compiler = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
  plugins: [new CamelCasePlugin()],
});

test.each([
  ['due times', {}, 'grants_due_at_id (due_at<?'],
  ['providers', { provider: 'acme' }, 'grants_provider_obtained_at_id (provider=? AND obtained_at<?'],
])('due grants are found by an index of %s, without a sort', async (_, query, index) => {
  const file = join(await tempFolder(), 'store', 'sidekey.db');
  await (await openSqliteStore(file, { now: Date.now })).close();
  const db = new DatabaseSync(file);
  for (const after of [null, { at: 1, id: 'a' }]) {
    const { sql, parameters } = dueGrants(compiler, { before: 9, limit: 3, after, ...query }).compile();
    const plan = db.prepare(`explain query plan ${sql}`).all(...(parameters as (string | number)[]));
    const steps = plan.map(({ detail }) => String(detail));
    expect(steps[0]).toContain(`SEARCH grants USING INDEX ${index.split(' ')[0]!}`);
    expect(steps.slice(1).every((step) => step.includes('SEARCH'))).toBe(true);
    if (after === null) expect(steps[0]).toContain(index);
  }
  db.close();
});
