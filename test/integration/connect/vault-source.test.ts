/** Grants whose credential is in HashiCorp Vault or OpenBao. */
import { readFile, writeFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { createVaultReader } from '../../../src/app/vault-source.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { SourceForm } from '../../../src/domain/credential.ts';
import { startAuthorizedApi } from '../../support/authorized-api.ts';
import { home } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { upstreamCa } from '../../support/upstream.ts';
import { startVaultServer } from '../../support/vault-server.ts';

const vaultToken = 'hvs.root-token-0123456789';
const basic = (count: number) => `Basic ${Buffer.from(`u${count}:password-${count}`).toString('base64')}`;

/** An API, a Vault server, and a home with both. `isGood`: authorizations that the API takes. */
async function desk(isGood: (authorization: string) => boolean, provider: object = {}) {
  const { asked, upstream, settings: api } = await startAuthorizedApi(isGood, provider);
  const vault = await startVaultServer({
    token: vaultToken,
    logins: { approle: { role: 'r1', secret: 'secret-id-0123456789' } },
    kv2: {
      'secret/data/desk': { token: 'token-of-desk', note: 'for tests' },
      'secret/data/lines': { token: 'two\nlines' },
    },
    roles: {
      'database/creds/app': {
        ttl: 60,
        maxTtl: 600,
        make: (count) => ({ username: `u${count}`, password: `password-${count}` }),
      },
      'aws/creds/deploy': {
        ttl: 60,
        maxTtl: 600,
        make: () => ({
          access_key: 'AKIAIOSFODNN7EXAMPLE',
          secret_key: 'wJalrXUtnFEMI',
          security_token: null,
        }),
      },
    },
  });
  const server = { address: vault.url, ca: 'upstream-ca.pem', token: 'env:VAULT_TOKEN' };
  const port = await freePort();
  const settings = (vaults: object) => ({
    version: 1,
    proxy: { listen: `127.0.0.1:${port}`, local_callers: 'any' },
    ...api,
    vaults,
    domains: { [upstream.authority]: { grant: 'desk' } },
  });
  const at = await home(settings({ main: server }));
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const env = { VAULT_TOKEN: vaultToken, SECRET_ID: 'secret-id-0123456789', PATH: process.env['PATH'] };
  return {
    at,
    vault,
    asked,
    env,
    server,
    configure: (vaults: object) => writeFile(at.configFile, stringify(settings(vaults))),
    connect: (from: string, ...more: readonly string[]) =>
      at.run(['connect', 'desk', '--from', from, ...more], { env }),
    start: async () => {
      const proxy = await at.start({ env });
      return async () => {
        const answer = await proxiedGet(proxy.url, `https://${upstream.authority}/a`);
        return 'status' in answer ? answer : { status: 0, body: answer.lost };
      };
    },
  };
}

describe('connect --from vault:', () => {
  test('verifies the member of a secret, and stores neither the secret nor the Vault token', async () => {
    const { at, connect, asked } = await desk((it) => it === 'Bearer token-of-desk');
    expect(await connect('vault:secret/data/desk#token')).toMatchObject({ exit: 0 });
    expect(asked).toEqual(['Bearer token-of-desk']);
    for (const name of (await at.everything()).keys()) {
      const content = await readFile(at.at(name)).catch(() => Buffer.alloc(0));
      expect([name, content.includes('token-of-desk'), content.includes(vaultToken)]).toEqual([
        name,
        false,
        false,
      ]);
    }
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      type: 'source',
      source: 'vault:secret/data/desk#token',
    });
  });

  test('accepts a user name with its password, and AWS keys', async () => {
    const { connect, asked } = await desk((it) => it.startsWith('Basic '));
    expect(await connect('vault:database/creds/app')).toMatchObject({ exit: 0 });
    expect(asked).toEqual([basic(1)]);
    const aws = await desk((it) => it.startsWith('AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/'), {
      inject: { aws_sigv4: { service: 's3', region: 'eu-west-1' } },
    });
    expect(await aws.connect('vault:aws/creds/deploy')).toMatchObject({ exit: 0 });
  });

  test.each([
    [
      'vault:secret/data/desk',
      'The Vault secret secret/data/desk has no text that is a credential by itself.',
      'name one of its members after #: token, note',
    ],
    ['vault:secret/data/desk#constructor', 'has no text in constructor.', 'token, note'],
    ['vault:secret/data/lines#token', 'The Vault secret secret/data/lines holds no credential', ''],
    ['vault://other/secret/data/desk#token', 'names the server other', 'one of: main'],
    ['vault:secret/desk#token', 'answered 404 to /v1/secret/desk', 'secret/data/NAME'],
  ])('%s is refused with the next step', async (from, sentence, hint) => {
    const { at, connect } = await desk(() => true);
    const { exit, stderr } = await connect(from);
    expect([exit, stderr], stderr).toEqual([5, expect.stringContaining(sentence)]);
    expect(stderr).toContain(hint);
    expect(stderr).not.toMatch(/token-of-desk|hvs\.|two/);
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test('is refused without a path, or without a server in the config', async () => {
    const { connect, configure } = await desk(() => true);
    expect(await connect('vault:secret/../sys/seal')).toMatchObject({ exit: 2 });
    await configure({});
    expect(await connect('vault:secret/data/desk#token')).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('add to the config: vaults:'),
    });
  });
});

describe('the value of a secret', () => {
  const now = Date.UTC(2026, 10, 1);

  /** Asks the server of `desk` for a value, with a clock that stands. */
  async function value(path: string, member: string | null, form: SourceForm | null = null) {
    const { at, env } = await desk(() => true);
    const config = await loadConfig(at.configFile, { env });
    const reader = createVaultReader({ config: () => config, env, now: () => now });
    const credential = { type: 'source', from: '', form, ttlMs: null } as const;
    const { signal } = new AbortController();
    return reader.ask(
      { server: null, path, member },
      { grant: '', revision: 0, credential, audience: [], isRefused: false, signal },
    );
  }

  test('from a lease expires with the lease', async () => {
    const expiresAt = now + 60_000;
    expect(await value('database/creds/app', null)).toEqual({
      credential: { type: 'basic', username: 'u1', password: 'password-1' },
      expiresAt,
    });
    expect(await value('database/creds/app', 'password')).toMatchObject({
      credential: { type: 'oauth2', accessToken: 'password-1', expiresAt },
      expiresAt,
    });
    expect(await value('aws/creds/deploy', null)).toMatchObject({ credential: { type: 'aws' }, expiresAt });
  });

  test('has the declared format', async () => {
    expect((await value('secret/data/lines', 'token', 'first_line')).credential).toEqual({
      type: 'api_key',
      value: 'two',
    });
  });
});

describe('a running proxy', () => {
  test('reads Vault at the first request, creates another lease after a 401, and follows the config', async () => {
    let good = basic(2);
    const { at, connect, start, vault, asked, server, configure, env } = await desk((it) => it === good);
    expect(await connect('vault:database/creds/app', '--no-verify')).toMatchObject({ exit: 0 });
    expect(vault.calls).toEqual([]);
    const get = await start();
    expect(vault.calls).toEqual([]);
    expect(await get()).toMatchObject({ status: 200 });
    expect(asked).toEqual([basic(1), basic(2)]);
    const calls = vault.calls.length;
    expect(await get()).toMatchObject({ status: 200 });
    expect(vault.calls).toHaveLength(calls);
    // Another login is another owner of the leases.
    const { token: _, ...plain } = server;
    await configure({ main: { ...plain, approle: { role_id: 'r1', secret_id: 'env:SECRET_ID' } } });
    await at.run(['grant', 'source', 'desk', 'vault://main/database/creds/app', '--no-verify'], { env });
    good = basic(3);
    expect(await get()).toMatchObject({ status: 200 });
    expect(vault.calls.some((call) => call.startsWith('POST auth/approle/login'))).toBe(true);
    const audit = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
    expect(audit).toContain('from the source vault:database/creds/app');
    expect(audit).not.toMatch(/password-\d|hvs\.|secret-id-0/);
  });

  test('refuses a request while Vault is sealed, without revealing the Vault token', async () => {
    const { at, connect, start, vault, asked, env } = await desk(() => true);
    expect(await connect('vault:secret/data/desk#token', '--no-verify')).toMatchObject({ exit: 0 });
    const get = await start();
    vault.seal();
    const { status, body } = await get();
    expect([status, body]).toEqual([
      502,
      expect.stringContaining('answered 503 to /v1/secret/data/desk (Vault is sealed)'),
    ]);
    expect(asked).toEqual([]);
    expect(body + (await at.run(['status'], { env })).stdout).not.toContain('hvs.');
    vault.seal(false);
    expect(await at.run(['grant', 'refresh', 'desk'], { env })).toMatchObject({ exit: 0 });
  });

  test('reports that it cannot read the login of a source', async () => {
    const { at, connect, vault } = await desk(() => true);
    expect(await connect('vault:secret/data/desk#token', '--no-verify')).toMatchObject({ exit: 0 });
    const proxy = await at.start();
    expect(JSON.parse(await proxy.logged('cannot ask'))).toMatchObject({
      msg: expect.stringContaining('vaults.main.token: env:VAULT_TOKEN is not set.'),
    });
    expect(vault.calls).toEqual([]);
  });
});
