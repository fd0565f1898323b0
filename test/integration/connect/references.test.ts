import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { openView } from '../../../src/app/state.ts';
import { reportTarget } from '../../../src/store/vault/instance.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { homeWithProvider, type Answer } from '../../support/provider-home.ts';

const secret = 'the-secret-of-the-robot';
const env = { DESK_SECRET: secret };
const issued: Answer = (_asked, count) => [
  200,
  { access_token: `access-${count}`, token_type: 'Bearer', expires_in: 3600 },
];
const sentence = 'The running proxy cannot renew the grant "desk": env:DESK_SECRET is not set.';
const hint =
  'set DESK_SECRET in the environment of the proxy, and start it again; or change providers.desk.client_secret: sidekey config edit';

/** A home whose provider has this client secret. */
async function deskHome(reference: string, config: object = {}) {
  const at = await homeWithProvider(issued, () => ({ client_id: 'robot', client_secret: reference }));
  const text = await readFile(at.configFile, 'utf8');
  const added = JSON.stringify({ listen: `127.0.0.1:${await freePort()}` });
  const rest = Object.entries(config).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  await writeFile(
    at.configFile,
    text.replace(/^proxy:\n.*\n/m, `proxy: ${added}\n`).replace(/^workers: .*\n/m, '') + rest.join(''),
  );
  const connect = (...more: readonly string[]) =>
    at.run(['connect', 'desk', '--client-credentials', ...more], { env });
  return { ...at, connect };
}

interface Status {
  readonly needs: readonly { readonly about: string; readonly sentence: string; readonly hint: string }[];
}

describe.each([1, 2])('a proxy of %i processes', (workers) => {
  test('without the variable of a new grant: connect, status and the log each name the variable once', async () => {
    const at = await deskHome('env:DESK_SECRET', { workers });
    const proxy = await at.start();
    const connected = await at.connect();
    expect(connected).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining(`Note: ${sentence}\n  → ${hint}\n`),
    });
    const line = JSON.parse(await proxy.logged('cannot renew')) as object;
    expect(line).toMatchObject({ level: 40, msg: sentence, code: 'secret_missing', hint });
    // The variable is set here, which does not help the proxy.
    const status = await at.run(['status'], { env });
    expect(status.exit).toBe(1);
    expect(status.stdout.replace(/\s+/g, ' ')).toContain(`Needs attention: ${sentence} → ${hint}`);
    expect(status.stdout).not.toContain('grant refresh');
    const { stderr } = await proxy.stop();
    expect(stderr.split('cannot renew')).toHaveLength(2);
    expect(stderr + connected.stderr + status.stdout).not.toContain(secret);
  });

  test('with the variable of a new grant: connect, status and the log report nothing', async () => {
    const at = await deskHome('env:DESK_SECRET', { workers });
    const proxy = await at.start({ env });
    expect((await at.connect()).stderr).not.toContain('Note:');
    // Not set here, which does not matter to the proxy.
    expect(await at.run(['status'])).toMatchObject({ exit: 0 });
    expect((await proxy.stop()).stderr).not.toContain('cannot renew');
  });
});

test('a proxy that starts with the variable clears the finding in status', async () => {
  const at = await deskHome('env:DESK_SECRET');
  await at.connect();
  const without = await at.start();
  await without.logged('cannot renew');
  expect(await at.run(['status'])).toMatchObject({ exit: 1, stdout: expect.stringContaining(sentence) });
  await without.stop();
  await at.start({ env });
  expect(await at.run(['status'])).toMatchObject({ exit: 0 });
});

test('explain reports whether the running proxy can read the secret of a due refresh', async () => {
  const at = await deskHome('env:DESK_SECRET');
  const endedAt = Math.round(Date.now() / 1_000) - 60;
  const ended = { type: 'oauth2', access_token: 'access', refresh_token: 'refresh', expires_at: endedAt };
  await at.grant('desk', ended, ['--provider', 'desk', '--audience', 'api.desk.test']);
  await at.run(['domain', 'allow', 'api.desk.test', '--grant', 'desk']);
  const explain = async (variables: Readonly<Record<string, string>>) =>
    JSON.parse((await at.run(['explain', 'https://api.desk.test/', '--json'], { env: variables })).stdout);
  const without = await at.start();
  expect(await explain(env)).toMatchObject({ code: 'refresh_failed', message: sentence, hint });
  await without.stop();
  await at.start({ env });
  expect(await explain({})).toMatchObject({ allowed: true });
});

test('a refresh that fails in the proxy gets no hint to refresh at the command line', async () => {
  const at = await deskHome('env:DESK_SECRET');
  await at.connect();
  await at.run(['grant', 'refresh', 'desk', '--force']);
  expect((await at.run(['status'])).stdout).toContain('grant refresh desk --force');
  await at.start();
  const { needs } = (await at.json(['status'])) as Status;
  expect(needs).toEqual([{ about: 'grants', sentence, hint }]);
});

test('a reload reads a file reference again', async () => {
  const at = await deskHome('file:desk.txt');
  await writeFile(at.at('config', 'desk.txt'), secret, { mode: 0o600 });
  await at.connect();
  await at.start();
  expect(await at.run(['status'])).toMatchObject({ exit: 0 });
  const text = await readFile(at.configFile, 'utf8');
  await writeFile(at.configFile, text.replace('file:desk.txt', 'file:other.txt'));
  expect(await at.run(['status'])).toMatchObject({
    exit: 1,
    stdout: expect.stringContaining('grant "desk": file:other.txt cannot be read (ENOENT).'),
  });
});

test('a command reference is not run before its secret is used', async () => {
  const at = await deskHome('command:touch ran');
  await at.grant('desk', { type: 'oauth2', access_token: 'access', refresh_token: 'refresh' }, [
    '--provider',
    'desk',
  ]);
  await at.start();
  expect(await at.run(['status'])).toMatchObject({ exit: 0 });
  expect(existsSync(at.at('config', 'ran'))).toBe(false);
});

test('the report of the proxy is sealed, and only answers a caller with the key', async () => {
  const at = await deskHome('env:DESK_SECRET');
  await at.connect();
  const { url } = await at.start();
  const view = await openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now });
  const vault = await view.vault();
  await view.close();
  const target = vault === null ? '' : reportTarget(vault);
  const plain = (await (await fetch(`${url}/healthz`)).json()) as object;
  const report = (await (await fetch(`${url}${target}`)).json()) as { readonly sealed: string };
  expect(report).toEqual({ ...plain, sealed: expect.stringMatching(/^[\w+/=]{100,}$/) });
  expect(Buffer.from(report.sealed, 'base64').toString('latin1')).not.toMatch(/desk|secret/i);
  for (const other of ['/healthz?report', `${target.slice(0, -1)}~`, `${target.slice(0, -1)}%C3%BC`])
    expect((await fetch(`${url}${other}`)).status).not.toBe(200);
});
