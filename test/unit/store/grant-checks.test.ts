import { DatabaseSync } from 'node:sqlite';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';

/** Opens a new store, and watches the statements that it prepares from now on. */
async function watchedStore() {
  const prepare = vi.spyOn(DatabaseSync.prototype, 'prepare');
  onTestFinished(() => prepare.mockRestore());
  const file = join(await mkdtemp(join(tmpdir(), 'sidekey-')), 'data', 'sidekey.db');
  const store = await openSqliteStore(file, { now: () => 0 });
  onTestFinished(() => store.close());
  prepare.mockClear();
  return { file, store, prepare };
}

test('no statement of the grant checks or of a request scans a table that grows', async () => {
  const { file, store, prepare } = await watchedStore();
  const checks = store.grantChecks;
  await checks.count(1);
  await checks.endings(1, [1]);
  await checks.concerning(1, { providers: ['github'], limit: 1 });
  await checks.offered('github', 1);
  await checks.existing(['github', 'work']);
  await store.grants.matching({ type: 'source', state: 'active' }, 1);
  await store.grants.providerAfter('');
  await store.grants.newest('github', 1);
  const after = { id: 'id', parent: 'parent', lease: null };
  for (const query of [{}, { after }, { parents: ['parent'] }])
    await store.grants.minted({ ...query, limit: 1 });
  await store.activity.some(['id']);
  await store.grantPolicies.some(['id']);
  await store.grants.some(['id']);
  await store.rights.holder(new Uint8Array(32));
  await store.rights.agent('claude');
  await store.leases.removeEnded(0);
  await store.leases.revoke({ agent: 'claude' }, 0);
  const texts = prepare.mock.calls.map(([text]) => text);
  expect(texts.length).toBeGreaterThan(15);
  using database = new DatabaseSync(file, { readOnly: true });
  const plans = texts.flatMap((text) =>
    database
      .prepare(`explain query plan ${text}`)
      .all()
      .map(({ detail }) => `${String(detail)} in ${text}`),
  );
  const scans = plans.filter(
    (plan) => /^(SCAN|USE TEMP B-TREE)/.test(plan) && !/^SCAN (grant_totals|texts|\d+-ROW VALUES)/.test(plan),
  );
  expect(scans).toEqual([]);
  expect(plans.filter((plan) => /\(state=\?\) in select count/.test(plan))).toEqual([]);
});

test('a page of the grants of a reference is read in the order of an index', async () => {
  const { file, store, prepare } = await watchedStore();
  await store.grants.find({ reference: 'acme', limit: 10 });
  for (const name of ['a', 'acme', 'b'])
    await store.grants.find({ reference: 'acme', limit: 10, after: { name, user: 'u' } });
  using database = new DatabaseSync(file, { readOnly: true });
  const plans = prepare.mock.calls.map(([text]) =>
    database
      .prepare(`explain query plan ${text}`)
      .all()
      .map(({ detail }) => String(detail))
      .filter(
        (step) => !/^(COMPOUND|CO-ROUTINE|LEFT-MOST|UNION ALL|SCAN part|SEARCH grant_policies)/.test(step),
      ),
  );
  const byId = 'SEARCH grants USING INDEX sqlite_autoindex_grants_1 (id=?)';
  const ofProvider = 'SEARCH grants USING INDEX grants_provider_name_user (provider=?';
  const named = 'SEARCH grants USING INDEX grants_name (name=?';
  // No grant is read twice, also where names are those of providers.
  expect(plans).toEqual([
    [byId, `${ofProvider} AND name<?)`, `${named})`, `${ofProvider} AND name>?)`],
    [byId, `${ofProvider} AND (name,user)>(?,?) AND name<?)`, `${named})`, `${ofProvider} AND name>?)`],
    [byId, `${named} AND user>?)`, `${ofProvider} AND name>?)`],
    [byId, `${ofProvider} AND (name,user)>(?,?))`],
  ]);
});

test('an unknown token costs one statement', async () => {
  const { store, prepare } = await watchedStore();
  expect(await store.rights.holder(new Uint8Array(32))).toBeNull();
  expect(prepare).toHaveBeenCalledTimes(1);
});
