import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openState } from '../../../src/app/state.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { keepGrants } from '../../../src/grants/keep.ts';
import { openRegistry } from '../../../src/grants/registry.ts';
import { pace } from '../../../src/operations/grant-import.ts';
import { alreadyThere } from '../../../src/operations/credential-entry.ts';
import { home } from '../../support/command-line.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

/** JSON lines of so many credentials. */
function lines(count: number, more: object = {}, first = 0): string {
  return Array.from({ length: count }, (_, index) =>
    JSON.stringify({ name: 'github', user: `u${first + index}`, value: `key-${index}`, ...more }),
  ).join('\n');
}

/** Returns a home whose provider `github` probes credentials at an upstream with this handler. */
async function homeWithProbe(handler: Parameters<typeof startUpstream>[0]) {
  const upstream = await startUpstream(handler);
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: { github: { audience: [upstream.authority], probe: { url: `${upstream.url}/me` } } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return at;
}

test('an import stores JSON lines of a file over 1 MiB, with an audit line for each', async () => {
  const at = await home();
  const text = lines(1_100, { value: 'k'.repeat(1_000) });
  await writeFile(at.at('many.jsonl'), text, { mode: 0o600 });
  const ran = await at.run(['grant', 'import', '--no-verify', '--file', at.at('many.jsonl')]);
  expect(ran).toMatchObject({ exit: 0, stdout: 'Stored 1100 credentials.\n' });
  // Once, because the grants of all users share the name.
  expect(ran.stderr.match(/No domain uses it yet/g)).toHaveLength(1);
  const named = Array.from({ length: 60 }, (_, n) =>
    JSON.stringify({ name: `n${n}`, provider: 'github', value: `v${n}` }),
  );
  const others = await at.run(['grant', 'import', '--no-verify'], { input: named.join('\n') });
  expect(others.stderr).toContain('10 more notes are not shown.');
  const { stdout } = await at.run(['audit', 'query', '--event', 'grant.added', '--json']);
  expect(stdout.match(/"event":"grant.added"/g)).toHaveLength(1_160);
});

test('--resume skips credentials whose name and provider are stored, and says how many', async () => {
  const at = await home();
  const first = await at.run(['grant', 'import', '--no-verify'], { input: lines(3) });
  expect(first.exit).toBe(0);
  const again = await at.run(['grant', 'import', '--no-verify'], { input: lines(5) });
  expect(again).toMatchObject({ exit: 2, stderr: expect.stringContaining('There is a grant') });
  expect(again.stderr).toContain('if an earlier import was interrupted, repeat it with --resume');
  const one = await at.run(['grant', 'import', '--no-verify'], { input: lines(1) });
  expect(one).toMatchObject({ exit: 2, stderr: expect.not.stringContaining('--resume') });
  const resumed = await at.run(['grant', 'import', '--no-verify', '--resume'], { input: lines(5) });
  expect(resumed).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/Stored github \(user u3\)\.[^]*Stored github \(user u4\)\./),
    stderr: expect.stringContaining('3 credentials were stored before.'),
  });
  expect(await at.json(['grant', 'import', '--no-verify', '--resume'], { input: lines(5) })).toEqual([]);
  const other = lines(1, { provider: 'gitlab' });
  const refused = await at.run(['grant', 'import', '--no-verify', '--resume'], {
    input: `${other}\n${lines(1, {}, 9)}`,
  });
  expect(refused).toMatchObject({ exit: 2, stderr: expect.stringContaining('There is a grant') });
  expect(refused.stderr).not.toContain('--resume');
});

test('a refused credential of the second thousand leaves the first stored, and the error says so', async () => {
  const at = await homeWithProbe(({ headers: { authorization } }, response) => {
    response.writeHead(authorization === 'Bearer bad' ? 401 : 200).end('{}');
  });
  const input = `${lines(1_001)}\n${lines(1, { value: 'bad' }, 1_001)}`;
  const ran = await at.run(['grant', 'import'], { input });
  expect(ran.exit).toBe(5);
  expect(ran.stderr).toContain('Entry 1002 (github)');
  expect(ran.stderr.replaceAll(/\s+/g, ' ')).toContain('The 1000 credentials before it are stored.');
  expect(ran.stderr).toContain('--resume');
  const state = await openState(await loadConfig(at.configFile, { env: {} }), {
    log: { error() {}, warn() {}, info() {}, debug() {} },
    now: Date.now,
  });
  expect(await state.store.grants.find({})).toHaveLength(1_000);
  await state.close();
});

test('Ctrl-C leaves the thousands that are stored, and says how many and that --resume continues', async () => {
  let asked = 0;
  const at = await homeWithProbe((_, response) => {
    asked += 1;
    if (asked === 1_001) process.emit('SIGINT');
    response.writeHead(200).end('{}');
  });
  const input = lines(1_100);
  const ran = await at.run(['grant', 'import'], { input });
  expect(ran).toMatchObject({ exit: 130, stdout: '' });
  expect(ran.stderr).toBe(
    'Interrupted: 1000 of 1100 credentials were stored. The same command with --resume stores the rest.\n',
  );
  expect(asked).toBeLessThan(1_100);
  const resumed = await at.run(['grant', 'import', '--no-verify', '--resume'], { input });
  expect(resumed).toMatchObject({ exit: 0, stdout: 'Stored 100 credentials.\n' });
});

const settings = async () => ({ policy: { labels: ['prod'] }, metadata: { team: 'core' }, reason: 'labels' });

test.each([
  ['', undefined],
  [' with settings', settings],
])('a thousand new grants%s cost one read and one insert', async (_, given) => {
  const at = await home();
  const state = await openState(await loadConfig(at.configFile, { env: {} }), {
    log: { error() {}, warn() {}, info() {}, debug() {} },
    now: Date.now,
  });
  const calls: string[] = [];
  const noting = <Part extends object>(part: Part) =>
    new Proxy(part, {
      get(of, name) {
        calls.push(String(name));
        return of[name as keyof Part];
      },
    });
  const store = {
    ...state.store,
    grants: noting(state.store.grants),
    grantPolicies: noting(state.store.grantPolicies),
  };
  const registry = openRegistry({ store, vault: state.vault, now: Date.now });
  const entries = Array.from({ length: 1_000 }, (_, index) => ({
    wanted: { name: `n${index}`, user: 'alice', provider: 'acme', scopes: [] },
    settings: given,
    sealed: {
      credential: { type: 'api_key', value: 'k' } as const,
      audience: ['api.acme.test'],
    },
  }));
  const kept = await keepGrants({ ...state, store, grants: registry }, entries, {
    event: 'grant.added',
    keepsOut: alreadyThere,
    now: Date.now,
  });
  expect(kept).toHaveLength(1_000);
  expect(calls).toEqual(['find', 'insert']);
  for (const { grant } of [kept[0]!, kept[999]!]) {
    const [policy, opened] = [
      await state.store.grantPolicies.get(grant.id),
      await state.grants.read(grant.id),
    ];
    const expected = given ? [['prod'], { team: 'core' }] : [undefined, undefined];
    expect([policy?.labels, opened?.sealed.metadata]).toEqual(expected);
  }
  await state.close();
});

test.each([
  [0, 100, 0, '0.0 a second'],
  [1, 10, 2_000, '0.5 a second, 18 s left'],
  [3_000, 100_000, 2_000, '1500 a second, 65 s left'],
])('the pace of %d of %d credentials after %d ms is %s', (done, of, milliseconds, text) => {
  expect(pace(done, of, milliseconds)).toBe(text);
});
