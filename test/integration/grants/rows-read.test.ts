import { hash } from 'node:crypto';
import { StatementSync } from 'node:sqlite';
import { expect, onTestFinished, test, vi } from 'vitest';
import { makeSignInLink } from '../../../src/operations/sign-in-link.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { home, runHere } from '../../support/command-line.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { proposal, question, yes } from '../../support/question.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { addAgent } from '../../support/rights.ts';
import { startService, type TestService } from '../../support/service.ts';

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
  const results = spiedResults();
  const ran = await at.run(command.split(' '), { input: 'the-key', env: { PATH: at.at('nothing-here') } });
  expect(ran.stderr).not.toMatch(/^sidekey: /);
  const grants = results()
    .flat()
    .filter((row) => 'sealed' in row);
  expect(grants.length).toBeGreaterThan(0);
  expect(grants.length).toBeLessThan(all / 2);
});

/** Returns a function that returns the rows of each statement since this call. */
function spiedResults(): () => readonly (readonly Record<string, unknown>[])[] {
  const read = vi.spyOn(StatementSync.prototype, 'all');
  onTestFinished(() => read.mockRestore());
  return () => read.mock.results.map(({ value }) => value as Record<string, unknown>[]);
}

/** Waiting requests, standing approvals and proposals of other agents, each. */
const others = 100;
const token = 'token-of-ci-0123456789';

/** Starts a proxy with requests and proposals of other agents, and one of each of the agent `ci`. */
async function withApprovals() {
  const rules = [{ methods: ['DELETE'], outcome: 'approve' }];
  const service = await startService({
    domains: { 'api.acme.test': { grant: 'acme', default: 'allow', rules } },
  });
  const { store } = service.sidekey.proxy.state;
  const grant = await service.sidekey.grant(['api.acme.test']);
  await addAgent(store, 'ci', token);
  await addAgent(store, 'other', 'token-of-other-0123456789');
  const asked = async (n: number) => {
    const expiresAt = Date.now() + 3_600_000;
    const made = question({
      who: { grantId: grant.id, agent: 'other', ruleKey: `${n}` },
      askedAt: Date.now(),
      expiresAt,
    });
    await store.approvals.ask(made);
    return made.id;
  };
  let standing = '';
  for (let n = 0; n < others; n += 1) {
    const change = { kind: 'domain', host: `h${n}.example`, grant: null } as const;
    await store.proposals.propose(proposal({ agent: n === 0 ? 'ci' : 'other', change }), others);
    await asked(n);
    standing = await asked(n);
    await store.approvals.answer(standing, yes(Date.now(), { kind: 'until', at: Date.now() + 3_600_000 }));
  }
  return { ...service, store, standing, command: commandOf(service.sidekey) };
}

/** Returns a function that runs a command with the config of a proxy, until the test ends. */
function commandOf({ folder, configFile }: TestService['sidekey']) {
  const before = process.cwd();
  onTestFinished(() => process.chdir(before));
  return (...words: string[]) => runHere([...words, '--config', configFile], folder);
}

type Approvals = Awaited<ReturnType<typeof withApprovals>>;
const get = (path: string) => async (at: Approvals) => {
  expect((await at.call(`GET ${path}`)).status).toBe(200);
};
const command =
  (...words: string[]) =>
  async (at: Approvals) => {
    expect((await at.command(...words)).stdout).toContain(`${others} proposals`);
  };

test.each<[string, (at: Approvals) => Promise<unknown>, { requests: number; proposals: number }]>([
  ['GET /v2/status', get('/v2/status'), { requests: 0, proposals: 0 }],
  ['GET /metrics', get('/metrics'), { requests: 0, proposals: 0 }],
  ['sidekey status', command('status'), { requests: 0, proposals: 0 }],
  ['sidekey approve --list', command('approve', '--list'), { requests: 2 * others, proposals: 0 }],
  ['GET /v2/approvals', get('/v2/approvals?limit=10'), { requests: 11, proposals: 0 }],
  ['GET /v2/approvals/standing', get('/v2/approvals/standing?limit=10'), { requests: 11, proposals: 0 }],
  [
    'the end of a standing approval',
    async ({ call, standing }) => {
      expect((await call(`DELETE /v2/approvals/${standing}`)).status).toBe(200);
    },
    { requests: 2, proposals: 0 },
  ],
  [
    'GET /proposals of an agent',
    async ({ sidekey }) => {
      const authorization = `Basic ${Buffer.from(`ci:${token}`).toString('base64')}`;
      const headers = { 'proxy-authorization': authorization };
      expect(await proxiedGet(sidekey.url, 'http://sidekey.internal/proposals', headers)).toMatchObject({
        status: 200,
      });
    },
    { requests: 0, proposals: 1 },
  ],
  [
    'a request that begins to wait',
    async ({ sidekey, store }) => {
      const client = await openTunnel(sidekey, 'api.acme.test:443');
      client.send('DELETE /x HTTP/1.1\r\nHost: api.acme.test\r\n\r\n');
      await expect.poll(() => store.approvals.countWaiting(Date.now())).toBe(others + 1);
    },
    // It looks for its answer.
    { requests: 2, proposals: 0 },
  ],
])('%s does not read all requests and proposals', async (_what, ask, most) => {
  const at = await withApprovals();
  const results = spiedResults();
  await ask(at);
  const rows = results().flat();
  expect(rows.filter((row) => 'rule_key' in row).length).toBeLessThanOrEqual(most.requests);
  expect(rows.filter((row) => 'change' in row).length).toBeLessThanOrEqual(most.proposals);
});

test('GET /v2/status counts the grants once', async () => {
  const at = await withApprovals();
  const results = spiedResults();
  await get('/v2/status')(at);
  expect(results().filter((rows) => rows.some((row) => 'total' in row && 'refreshable' in row))).toHaveLength(
    1,
  );
});

test('a request to an unlisted host reads no accepted domains of other callers', async () => {
  const { sidekey } = await startService();
  const { store } = sidekey.proxy.state;
  await addAgent(store, 'ci', token);
  for (let n = 0; n < 10; n += 1) {
    await addAgent(store, `other-${n}`, `token-of-other-${n}-0123456789`);
    const { id } = (await store.proposals.propose(proposal({ agent: n === 0 ? 'ci' : `other-${n}` }), 1))!;
    await store.proposals.answer(id, { at: Date.now(), by: 'alice', outcome: 'once' });
  }
  const results = spiedResults();
  const headers = { 'proxy-authorization': `Basic ${Buffer.from(`ci:${token}`).toString('base64')}` };
  expect(await proxiedGet(sidekey.url, 'http://unlisted.example/', headers)).toMatchObject({ status: 403 });
  expect(await proxiedGet(sidekey.url, 'http://unlisted.example/', headers)).toMatchObject({ status: 403 });
  expect(
    results()
      .flat()
      .filter((row) => 'change' in row),
  ).toHaveLength(1);
});

/** Starts a proxy with people, each with a passkey and a key that has ended. */
async function withPeople() {
  const service = await startService();
  const { sidekey, url, call } = service;
  const { store } = sidekey.proxy.state;
  for (let n = 0; n < others; n += 1) {
    const name = `person-${n}`;
    const person = { name, role: 'user', user: null, disabledAt: null, identity: null, generation: 0 };
    await store.people.insert({ ...person, createdAt: 1 });
    const passkey = { id: name, person: name, counter: 0, label: 'laptop', publicKey: new Uint8Array(1) };
    await store.people.passkeys.insert({ ...passkey, createdAt: 1, usedAt: null });
    await service.key({ name: `login-${n}`, person: name, expiresAt: 1 });
  }
  const verifier = 'v'.repeat(43);
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'person-0');
  const origin = { origin: url, 'sec-fetch-site': 'same-origin' };
  const { session } = (await call(`POST ${path}`, { key: null, headers: origin })).body;
  const headers = { ...origin, authorization: `Bearer ${session}` };
  const challenge = hash('sha256', verifier, 'base64url');
  const code = (await call('POST /v2/me/login-codes', { key: null, headers, body: { challenge } })).body;
  const login = { key: null, body: { ...code, verifier } };
  return { ...service, login, command: commandOf(sidekey) };
}

type People = Awaited<ReturnType<typeof withPeople>>;

test.each<[string, (at: People) => Promise<{ status?: number; exit?: unknown }>, number[]]>([
  // People, passkeys and keys, with those that identify the caller.
  ['GET /v2/people', ({ call }) => call('GET /v2/people?limit=10'), [11, 10, 1]],
  ['GET /v2/people/{person}', ({ call }) => call('GET /v2/people/person-5'), [1, 1, 1]],
  [
    'PATCH /v2/people/{person}',
    ({ call }) => call('PATCH /v2/people/person-5', { body: { role: 'auditor' } }),
    [1, 1, 1],
  ],
  ['GET /v2/api-keys', ({ call }) => call('GET /v2/api-keys?limit=10'), [0, 0, 12]],
  ['DELETE /v2/api-keys/{key}', ({ call }) => call('DELETE /v2/api-keys/login-5'), [0, 0, 2]],
  ['a login', ({ call, login }) => call('POST /sign-in/login', login), [2, 0, 0]],
  ['person list', ({ command }) => command('person', 'list', '--limit', '10'), [11, 10, 0]],
  ['person show', ({ command }) => command('person', 'show', 'person-5'), [1, 1, 0]],
  ['api-key list', ({ command }) => command('api-key', 'list', '--limit', '10'), [0, 0, 11]],
])('%s does not read all people, passkeys and keys', async (_what, ask, most) => {
  const at = await withPeople();
  const results = spiedResults();
  const { status = 200, exit = 0 } = await ask(at);
  expect([status < 300, exit]).toEqual([true, 0]);
  const rows = results().flat();
  const read = ['generation', 'public_key', 'scopes'].map(
    (column) => rows.filter((row) => column in row && !('sealed' in row)).length,
  );
  expect(read).toEqual(most);
});

test('key rotate reads sessions in pages', async () => {
  const at = await home();
  await at.grant('work', { api_key: 'key' });
  const file = at.at('data', 'sidekey.db');
  const store = await openSqliteStore(file, { now: Date.now });
  const sealed = new Uint8Array(1);
  for (let n = 0; n < 150; n += 1) {
    await store.sessions.insert({ id: `s${n}`, expiresAt: Date.now() + 3_600_000, sealed });
    await store.grants.insert(grantRecord({ name: `other-${n}`, sealed }));
  }
  await store.close();
  const results = spiedResults();
  expect((await at.run(['key', 'rotate'])).exit).toBe(0);
  const pages = results().filter((rows) => rows.length > 1);
  const columns = new Set(pages.flatMap(([row]) => Object.keys(row!).join()));
  expect(columns).toContain('id,expires_at,sealed');
  expect(Math.max(...pages.map((rows) => rows.length))).toBeLessThan(100);
});
