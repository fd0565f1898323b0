import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { createVaultClient } from '../../../src/app/vault-client.ts';
import { openVaultLeases } from '../../../src/app/vault-leases.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';
import { startVaultServer } from '../../support/vault-server.ts';

type ServerOptions = Parameters<typeof startVaultServer>[0];

const start = Date.parse('2026-11-01T00:00:00Z');
const account = (count: number) => ({ username: `u${count}`, password: `p${count}` });
const role = { ttl: 60, maxTtl: 600, make: account };

/** Starts a server, and opens its secrets with this login. Both have one clock. */
async function open(options: ServerOptions, login: object = { token: 'env:TOKEN' }, timeout = '10s') {
  const clock = { now: start };
  const now = () => clock.now;
  const server = await startVaultServer({ token: 'root-token', now, ...options });
  const folder = await tempFolder();
  await writeFile(join(folder, 'ca.pem'), upstreamCa);
  const text = stringify({
    version: 1,
    limits: { refresh_timeout: timeout },
    upstream: { resolve: { [upstreamHost]: '127.0.0.1' } },
    vaults: { main: { address: server.url, ca: 'ca.pem', ...login } },
  });
  const env = { TOKEN: 'root-token', SECRET: 's1' };
  const config = await parseConfig(text, join(folder, 'sidekey.yaml'), { env });
  const client = createVaultClient(config.vaults.get('main')!, {
    config: () => config,
    env,
    now,
    code: 'key_invalid',
  });
  const leases = openVaultLeases(client, now);
  return {
    server,
    folder,
    env,
    pass: (seconds: number) => void (clock.now += seconds * 1_000),
    read: (path: string, isRefused = false) => leases.read(path, isRefused),
    /** Paths of the calls since the last look. */
    calls: () => (server.calls as string[]).splice(0).map((call) => call.split(' ')[1]),
  };
}

const after = (seconds: number) => start + seconds * 1_000;

describe('a secret of the KV engine', () => {
  it('is read from version 1 and version 2 of the engine', async () => {
    const { read } = await open({
      kv1: { 'kv/github': { token: 'one' }, 'kv/short': { token: 'one', ttl: '90s' } },
      kv2: { 'secret/data/github': { token: 'two' } },
    });
    expect(await read('kv/github')).toEqual({ data: { token: 'one' }, expiresAt: null });
    expect((await read('kv/short')).expiresAt).toBe(after(90));
    expect(await read('secret/data/github')).toEqual({ data: { token: 'two' }, expiresAt: null });
  });

  it('expires when its version is deleted', async () => {
    const { server, read } = await open({});
    const metadata = { version: 3, deletion_time: '2026-11-01T01:00:00Z' };
    server.instead = () => ({ status: 200, body: { data: { data: { token: 'a' }, metadata } } });
    expect(await read('secret/data/github')).toEqual({ data: { token: 'a' }, expiresAt: after(3_600) });
  });

  it('has data/ in its path with version 2, as the hint explains', async () => {
    const { read } = await open({ kv2: { 'secret/data/github': { token: 'two' } } });
    await expect(read('secret/github')).rejects.toMatchObject({
      message: expect.stringContaining(
        'answered 404 to /v1/secret/github (Invalid path for a versioned K/V secrets engine)',
      ),
      hint: expect.stringContaining('secret/data/NAME'),
    });
  });
});

describe('a lease', () => {
  it('is renewed after two thirds of its lifetime, and shared until then', async () => {
    const { read, pass, calls } = await open({ roles: { 'database/creds/app': role } });
    const first = await read('database/creds/app');
    expect(first).toEqual({ data: { username: 'u1', password: 'p1' }, expiresAt: after(60) });
    pass(39);
    expect(await read('database/creds/app')).toEqual(first);
    expect(calls()).toEqual(['database/creds/app', 'auth/token/lookup-self']);
    pass(1);
    expect(await read('database/creds/app')).toEqual({ ...first, expiresAt: after(100) });
    expect(calls()).toEqual(['sys/leases/renew', 'auth/token/lookup-self']);
  });

  it('is replaced at the maximum of its role, or if it cannot be renewed', async () => {
    const roles = { 'a/creds/x': { ...role, maxTtl: 90 }, 'b/creds/x': { ...role, renewable: false } };
    const { read, pass } = await open({ roles });
    await read('a/creds/x');
    await read('b/creds/x');
    pass(50);
    expect(await read('a/creds/x')).toMatchObject({ data: account(1), expiresAt: after(90) });
    expect(await read('b/creds/x')).toMatchObject({ data: account(3), expiresAt: after(110) });
    pass(30);
    expect(await read('a/creds/x')).toMatchObject({ data: account(4), expiresAt: after(140) });
  });

  it('is never used after its expiry or after a refusal by the upstream', async () => {
    const { read, pass, server } = await open({ roles: { 'a/creds/x': role } });
    await read('a/creds/x');
    expect((await read('a/creds/x', true)).data).toEqual(account(2));
    expect((await read('a/creds/x')).data).toEqual(account(2));
    pass(60);
    server.instead = (path) =>
      path === 'sys/leases/renew' ? { status: 200, body: { lease_duration: 60, renewable: true } } : null;
    expect((await read('a/creds/x')).data).toEqual(account(3));
    server.seal();
    pass(60);
    await expect(read('a/creds/x')).rejects.toMatchObject({ hint: 'unseal the server' });
  });

  it('is created once for simultaneous readers', async () => {
    const { read, calls } = await open({ roles: { 'a/creds/x': role } });
    const got = await Promise.all(Array.from({ length: 5 }, () => read('a/creds/x')));
    expect(new Set(got.map(({ data }) => data['username']))).toEqual(new Set(['u1']));
    expect(calls()).toHaveLength(2);
  });

  it('expires with the token that created the lease', async () => {
    const { read, env, pass } = await open({
      endingTokens: { short: 30 },
      roles: { 'a/creds/x': { ...role, ttl: 3_600, maxTtl: 7_200 } },
    });
    env.TOKEN = 'short';
    expect((await read('a/creds/x')).expiresAt).toBe(after(30));
    env.TOKEN = 'root-token';
    pass(20);
    expect(await read('a/creds/x')).toMatchObject({ data: account(2), expiresAt: after(3_620) });
  });
});

describe('a login', () => {
  const logins = {
    approle: { role: 'r1', secret: 's1' },
    kubernetes: { role: 'r1', secret: 's1' },
    'jwt/github': { role: 'r1', secret: 's1' },
  };
  const kv2 = { 'secret/data/a': { token: 'v' }, 'secret/data/b': { token: 'w' } };

  it.each([
    ['AppRole', { approle: { role_id: 'r1', secret_id: 'env:SECRET' } }],
    ['Kubernetes', { kubernetes: { role: 'r1', jwt: 'env:SECRET' } }],
    ['JWT', { jwt: { role: 'r1', jwt: 'env:SECRET', mount: 'jwt/github' } }],
  ])('with %s serves several requests, and is renewed', async (_name, login) => {
    const { read, pass, calls } = await open({ logins, kv2, tokenMaxTtl: 90 }, login);
    await Promise.all([read('secret/data/a'), read('secret/data/b')]);
    expect(calls().filter((path) => path?.endsWith('/login'))).toHaveLength(1);
    pass(45);
    await read('secret/data/a');
    expect(calls()).toEqual(['auth/token/renew-self', 'secret/data/a']);
    pass(30);
    await read('secret/data/a');
    expect(calls()).toEqual(['auth/token/renew-self', expect.stringContaining('/login'), 'secret/data/a']);
  });

  it('is repeated once if the server refuses its token', async () => {
    const { read, server, calls } = await open(
      { logins, kv2 },
      { approle: { role_id: 'r1', secret_id: 'env:SECRET' } },
    );
    await read('secret/data/a');
    server.revokeTokens();
    calls();
    await read('secret/data/a');
    expect(calls()).toEqual(['secret/data/a', 'auth/approle/login', 'secret/data/a']);
  });

  it('keeps its leases when renewed, and replaces them when repeated', async () => {
    const roles = { 'a/creds/x': { ...role, ttl: 3_600, maxTtl: 7_200 } };
    const { read, pass } = await open(
      { logins, roles, tokenMaxTtl: 100 },
      { approle: { role_id: 'r1', secret_id: 'env:SECRET' } },
    );
    expect((await read('a/creds/x')).expiresAt).toBe(after(60));
    pass(45);
    expect(await read('a/creds/x')).toMatchObject({ data: account(1), expiresAt: after(100) });
    pass(45);
    expect(await read('a/creds/x')).toMatchObject({ data: account(2), expiresAt: after(150) });
  });

  it('stays in use while the server is unreachable, until the login expires', async () => {
    const { read, pass, server, calls } = await open(
      { logins, kv2 },
      { approle: { role_id: 'r1', secret_id: 'env:SECRET' } },
    );
    await read('secret/data/a');
    server.instead = (path) =>
      path.startsWith('auth/') ? { status: 500, body: { errors: ['no leader'] } } : null;
    pass(45);
    await read('secret/data/a');
    calls();
    await read('secret/data/a');
    expect(calls()).toEqual(['secret/data/a']);
    pass(15);
    await expect(read('secret/data/a')).rejects.toMatchObject({
      message: expect.stringContaining('(no leader)'),
    });
    expect(calls()).toEqual(['auth/approle/login']);
  });

  it('reads the secret file again', async () => {
    const { read, folder } = await open({ kv2, endingTokens: { t2: 60 } }, { token: 'file:sink' });
    const sink = join(folder, 'sink');
    await writeFile(sink, 'root-token\n');
    await chmod(sink, 0o600);
    expect((await read('secret/data/a')).data).toEqual({ token: 'v' });
    await writeFile(sink, 't2');
    expect((await read('secret/data/a')).data).toEqual({ token: 'v' });
    await writeFile(sink, 'none');
    await expect(read('secret/data/a')).rejects.toMatchObject({ hint: expect.stringContaining('policy') });
  });

  it('sends the namespace', async () => {
    const { read } = await open(
      { logins, kv2, namespace: 'team-a' },
      { namespace: 'team-a', approle: { role_id: 'r1', secret_id: 'env:SECRET' } },
    );
    expect((await read('secret/data/a')).data).toEqual({ token: 'v' });
  });
});

describe('a failure of the Vault server', () => {
  it('is reported with its errors, without the token and the secret of the login', async () => {
    const { read, env } = await open(
      { logins: { approle: { role: 'r1', secret: 's1' } } },
      { approle: { role_id: 'r1', secret_id: 'env:SECRET' } },
    );
    env.SECRET = 'wrong-secret-0123456789';
    const refused: unknown = await read('secret/data/a').catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'key_invalid',
      message: expect.stringContaining('invalid role or secret ID: [redacted]'),
    });
    expect(JSON.stringify(refused)).not.toContain('wrong-secret');
    const other = await open({});
    other.env.TOKEN = 'hvs.token-of-nobody';
    await expect(other.read('secret/data/a')).rejects.toMatchObject({
      message: expect.stringMatching(
        /answered 403 to \/v1\/secret\/data\/a \(permission denied; token \[redacted\]\)/,
      ),
    });
  });

  it('is reported for a redirect, which is not followed', async () => {
    const { read, server } = await open({});
    server.instead = () => ({ status: 307, body: '', headers: { location: `${server.url}/v1/elsewhere` } });
    await expect(read('secret/data/a')).rejects.toMatchObject({
      hint: expect.stringContaining('active server'),
    });
    expect(server.calls).toHaveLength(1);
  });

  it('is reported if there is no answer within refresh_timeout', { timeout: 10_000 }, async () => {
    const { read, server } = await open({}, { token: 'env:TOKEN' }, '200ms');
    server.instead = () => ({ status: 0, body: '' });
    await expect(read('secret/data/a')).rejects.toMatchObject({
      message: expect.stringContaining('it did not answer within 200 ms'),
    });
  });

  it('is reported for an endless answer, or an answer that is not JSON', async () => {
    const { read, server } = await open({});
    server.instead = () => ({ status: 200, body: 'x'.repeat(1_048_577) });
    await expect(read('secret/data/a')).rejects.toMatchObject({
      message: expect.stringContaining('larger than 1 MiB'),
    });
    server.instead = () => ({ status: 200, body: 'not JSON' });
    await expect(read('secret/data/a')).rejects.toMatchObject({
      message: expect.stringContaining('no JSON'),
    });
  });
});
