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
import { agentsReaching, leaseMaxima } from '../../../src/store/agents.ts';
import {
  dueGrants,
  grantsOfLeases,
  grantsPerhapsWithFiles,
  matchingGrants,
} from '../../../src/store/grants.ts';
import type { Schema } from '../../../src/store/schema.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { DueQuery } from '../../../src/store/store.ts';
import { usesOfLeases } from '../../../src/store/token-uses.ts';
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

type Compiled = { compile(): { readonly sql: string; readonly parameters: readonly unknown[] } };

/** Returns the steps of the plan of each query in a new store. */
async function plansOf(...queries: readonly Compiled[]): Promise<readonly (readonly string[])[]> {
  const file = join(await tempFolder(), 'store', 'sidekey.db');
  await (await openSqliteStore(file, { now: Date.now })).close();
  const db = new DatabaseSync(file);
  try {
    return queries.map((query) => {
      const { sql, parameters } = query.compile();
      const plan = db.prepare(`explain query plan ${sql}`).all(...(parameters as (string | number)[]));
      return plan.map(({ detail }) => String(detail));
    });
  } finally {
    db.close();
  }
}

test.each([
  ['due times', {}, 'grants_due_at_id (due_at<?'],
  ['providers', { provider: 'acme' }, 'grants_provider_obtained_at_id (provider=? AND obtained_at<?'],
])('due grants are found by an index of %s, without a sort', async (_, query, index) => {
  const due = (after: NonNullable<DueQuery['after']> | null) =>
    dueGrants(compiler, { before: 9, limit: 3, after, ...query });
  const [first = [], later = []] = await plansOf(due(null), due({ at: 1, id: 'a' }));
  expect(first[0]).toContain(index);
  for (const steps of [first, later]) {
    expect(steps[0]).toContain(`SEARCH grants USING INDEX ${index.split(' ')[0]!}`);
    expect(steps.slice(1).every((step) => step.includes('SEARCH'))).toBe(true);
  }
});

test.each<[string, Compiled, string]>([
  ['a provider', matchingGrants(compiler, { provider: 'p', unleased: true }), 'INDEX grants_provider'],
  [
    'a provider and a state',
    matchingGrants(compiler, { provider: 'p', state: 'active' }),
    'INDEX grants_provider',
  ],
  [
    'a provider and a user',
    matchingGrants(compiler, { provider: 'p', user: 'u' }),
    'INDEX grants_provider (provider=? AND user=?',
  ],
  ['a user', matchingGrants(compiler, { user: 'u', unleased: true }), '(user=?'],
  ['a label', matchingGrants(compiler, { label: 'l', unleased: true }), '(id=?'],
  ['leases', grantsOfLeases(compiler, { limit: 3 }), 'INDEX grants_lease (lease>?'],
  ['files', grantsPerhapsWithFiles(compiler, 'a', 3), 'INDEX grants_fileless_in (id>?'],
  ['a lease', grantsOfLeases(compiler, { lease: 'l', limit: 3 }), 'INDEX grants_lease (lease=?'],
])('the grants of %s are found by an index, without a sort', async (_, query, index) => {
  const [steps = []] = await plansOf(query);
  expect(steps[0]).toContain(`SEARCH grants USING`);
  expect(steps[0]).toContain(index);
  expect(steps.some((step) => step.includes('B-TREE'))).toBe(false);
});

test('the agents that reach a grant are found by an index of bindings, without a sort', async () => {
  const queries = agentsReaching(compiler, { id: 'g', user: 'u', provider: 'p', labels: ['l'] });
  expect(queries).toHaveLength(5);
  for (const steps of await plansOf(...queries.map((query) => query.limit(9))))
    expect(steps).toEqual([
      'SEARCH bindings USING COVERING INDEX bindings_kind_value_agent (kind=? AND value=?)',
      expect.stringMatching(/^SEARCH agents USING INDEX \w+ \(name=\?\)/),
    ]);
});

test('the labels of grants are searched in an index of grants with labels', async () => {
  const [steps = []] = await plansOf(matchingGrants(compiler, { label: 'l' }));
  expect(steps.join()).toContain('COVERING INDEX grant_policies_labels');
});

test.each<[string, Compiled, string]>([
  ['uses by leases', usesOfLeases(compiler, { limit: 3 }), 'INDEX token_uses_lease_grant_id_token (lease>?'],
  [
    'uses by a lease',
    usesOfLeases(compiler, { lease: 'l', limit: 3 }),
    'INDEX token_uses_lease_grant_id_token (lease=?',
  ],
  [
    'maxima of leases',
    leaseMaxima(compiler, 9, undefined, 3),
    'INDEX grant_policies_lease_max_ms_grant_id (lease_max_ms<?',
  ],
])('%s are found by an index, without a sort', async (_, query, index) => {
  const [steps = []] = await plansOf(query);
  expect(steps).toEqual([expect.stringContaining(index)]);
});
