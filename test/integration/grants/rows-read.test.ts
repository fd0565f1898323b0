import { StatementSync } from 'node:sqlite';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { home } from '../../support/command-line.ts';
import { grantRecord } from '../../support/grant-record.ts';

/** Grants of other users in the store. */
const all = 2_000;

test.each([
  'connect github --token --name new --no-verify',
  'domain list',
  'domain list api.github.com',
  'doctor',
  'grant scopes work',
  'grant show work',
  'audit tail',
  'audit query --grant work',
])('%s does not read all grants', async (command) => {
  const at = await home({
    domains: { 'api.github.com': { grant: 'github' } },
    // Not permitted as a private address, so nothing is dialed.
    upstream: { resolve: { 'api.github.com': '127.0.0.1' } },
  });
  const tokens = { type: 'oauth2', access_token: 'gho_1', scope: 'repo' };
  await at.grant('work', tokens, ['--provider', 'github']);
  const store = await openSqliteStore(at.at('data', 'sidekey.db'), { now: Date.now });
  const others = Array.from({ length: all }, (_, n) =>
    grantRecord({ name: `other-${n}`, user: `user-${n}`, refreshable: false, expiresAt: null }),
  );
  for (let from = 0; from < all; from += 500) await store.grants.insert(...others.slice(from, from + 500));
  await store.close();
  const read = vi.spyOn(StatementSync.prototype, 'all');
  onTestFinished(() => read.mockRestore());
  const ran = await at.run(command.split(' '), { input: 'the-key', env: { PATH: at.at('nothing-here') } });
  expect(ran.stderr).not.toMatch(/^sidekey: /);
  const results = read.mock.results.flatMap(({ value }) => value as Record<string, unknown>[]);
  const grants = results.filter((row) => 'sealed' in row);
  expect(grants.length).toBeGreaterThan(0);
  expect(grants.length).toBeLessThan(all / 2);
});
