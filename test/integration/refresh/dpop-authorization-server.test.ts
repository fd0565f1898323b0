import { readdir, readFile, writeFile } from 'node:fs/promises';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { consentAs } from '../../../examples/helpdesk/consent.ts';
import { plainDialect } from '../../../src/config/provider-dialect.ts';
import {
  type DeviceRequest,
  pollForTokens,
  requestDeviceAuthorization,
} from '../../../src/grants/oauth/device-code.ts';
import { renew } from '../../../src/grants/oauth/renewal.ts';
import { createNonces, newDpopKey } from '../../../src/proxy/schemes/dpop-proof.ts';
import { home, type Home } from '../../support/command-line.ts';
import { begin, visit } from '../../support/connect-home.ts';
import { type DpopServer, startDpopServer } from '../../support/dpop-server.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';

const nobody = { user: 'alice', password: '' };

/** A place whose config knows the server as the provider desk. */
async function deskAt(server: DpopServer, provider: object): Promise<Home> {
  const at = await home({
    workers: 1,
    proxy: { listen: '127.0.0.1:0', authentication: 'optional' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      desk: {
        title: 'The Desk',
        token_endpoint: `${server.issuer}/token`,
        audience: [`${upstreamHost}:${server.port}`],
        dpop: true,
        probe: { url: `${server.issuer}/me` },
        ...provider,
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return at;
}

const app = (server: DpopServer) => ({
  authorization_endpoint: `${server.issuer}/auth`,
  device_authorization_endpoint: `${server.issuer}/device/auth`,
  client_id: server.publicClient,
  scopes: ['openid', 'offline_access', 'read'],
  dialect: { authorization_parameters: { prompt: 'consent' } },
});

const consent = (server: DpopServer, url: string) =>
  consentAs(new URL(url), nobody, {
    issuer: server.issuer,
    ca: upstreamCa,
    connectTo: { host: '127.0.0.1', port: server.port },
  });

interface Shown {
  readonly dpop: { readonly algorithm: string; readonly thumbprint: string; readonly token_bound: boolean };
}
const shown = async (at: Home) => (await at.json(['grant', 'show', 'desk'])) as Shown;

/** Returns the answer of the API to a request of the real program. */
async function asked(at: Home, server: DpopServer, count = 1) {
  const proxy = await at.start();
  const caPem = await readFile(proxy.caFile, 'utf8');
  const authority = `${upstreamHost}:${server.port}`;
  const client = await openTunnel({ port: Number(new URL(proxy.url).port), caPem }, authority);
  const answers = [];
  for (let i = 0; i < count; i += 1) {
    client.send(`GET /me HTTP/1.1\r\nHost: ${authority}\r\nAuthorization: Bearer placeholder\r\n\r\n`);
    answers.push(await client.response());
  }
  await proxy.stop();
  return answers;
}

const jtiOf = (proof: string) => decodeJwt(proof).jti;

describe('at an authorization server that requires a nonce in each proof', () => {
  test('a consent in a browser gets tokens that are bound to a key, and requests with proofs', async () => {
    const server = await startDpopServer();
    const at = await deskAt(server, app(server));
    const command = begin(
      ['connect', 'desk', '--no-browser', '--port', '0', '--config', at.configFile],
      at.folder,
    );
    const url = await command.consentUrl();
    await visit(await consent(server, url));
    const ran = await command.done;
    expect(ran.exit, ran.stderr).toBe(0);
    expect(ran.stdout).toContain('The Desk accepts the credential (HTTP 200)');

    const { dpop } = await shown(at);
    expect(dpop).toEqual({ algorithm: 'ES256', thumbprint: expect.any(String), token_bound: true });
    // The code was bound to the key before it was issued (RFC 9449 §10).
    expect(new URL(url).searchParams.get('dpop_jkt')).toBe(dpop.thumbprint);
    const text = await at.run(['grant', 'show', 'desk']);
    expect(text.stdout).toContain(
      `bound to         key ${dpop.thumbprint} (ES256); Authorization: DPoP …, with a proof for each request`,
    );
    expect((await at.run(['status'])).stdout).toContain('bound to a key (DPoP): desk');
    expect((await at.run(['explain', `${server.issuer}/me`])).stdout).toContain(
      'Authorization: DPoP …, with a proof for each request (set by the provider desk)',
    );

    const answers = await asked(at, server, 2);
    expect(answers.map(({ status, body }) => [status, JSON.parse(body)])).toEqual([
      [200, { sub: 'alice' }],
      [200, { sub: 'alice' }],
    ]);
    // The nonce was asked for once by each process at each place, and known from then on.
    const proofs = server.asked.filter(({ proof }) => proof !== '');
    expect(proofs.map(({ path, status }) => `${path} ${status}`)).toEqual([
      '/token 400',
      '/token 200',
      '/me 401',
      '/me 200',
      '/me 401',
      '/me 200',
      '/me 200',
    ]);
    expect(new Set(proofs.map(({ proof }) => jtiOf(proof))).size).toBe(proofs.length);
    expect(proofs.every(({ proof }) => !('d' in (decodeProtectedHeader(proof)['jwk'] as object)))).toBe(true);
  });

  test('a refresh uses the same key, and a new consent creates a new key', async () => {
    const server = await startDpopServer();
    const at = await deskAt(server, app(server));
    const connect = async () => {
      const printed = (await at.json(['connect', 'desk', '--print-url', '--replace'])) as {
        consent_url: string;
      };
      const { href } = await consent(server, printed.consent_url);
      const ran = await at.run(['connect', '--finish', href]);
      expect(ran.exit, ran.stderr).toBe(0);
      return shown(at);
    };
    const first = await connect();
    const refreshed = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(refreshed.exit, refreshed.stderr).toBe(0);
    expect(await shown(at)).toMatchObject({ dpop: first.dpop });
    expect((await asked(at, server))[0]?.status).toBe(200);

    const second = await connect();
    expect(second.dpop.thumbprint).not.toBe(first.dpop.thumbprint);
    expect((await asked(at, server))[0]?.status).toBe(200);
  });

  test('a device flow works with another algorithm', async () => {
    const server = await startDpopServer();
    const { fetch } = testUpstreamClient();
    const key = newDpopKey('EdDSA');
    const io = { fetch, now: Date.now, proofKey: key, nonces: createNonces() };
    const request: DeviceRequest = {
      deviceEndpoint: `${server.issuer}/device/auth`,
      endpoint: `${server.issuer}/token`,
      client: { clientId: server.publicClient, clientSecret: null, auth: 'none' },
      dialect: plainDialect,
      scopes: ['openid', 'offline_access'],
    };
    const begun = await requestDeviceAuthorization(request, io);
    if (begun.kind !== 'authorization') throw new Error(JSON.stringify(begun));
    let rounds = 0;
    const pause = async () => {
      rounds += 1;
      if (rounds === 2) await server.approve(begun.userCode);
    };
    const outcome = await pollForTokens(begun, request, { ...io, pause });
    expect(outcome).toMatchObject({ kind: 'tokens', isBound: true });
    // Only the first of three requests had no nonce.
    expect(server.asked.map(({ path, status }) => `${path} ${status}`)).toEqual([
      '/device/auth 200',
      '/token 400',
      '/token 400',
      '/token 200',
    ]);
    expect(decodeProtectedHeader(server.asked.at(-1)?.proof ?? '')).toMatchObject({ alg: 'EdDSA' });
    // A token that is bound to the key is only refreshed with that key.
    if (outcome.kind !== 'tokens' || outcome.refreshToken === null) throw new Error('no refresh token');
    const refresh = { ...request, kind: 'refresh_token', refreshToken: outcome.refreshToken } as const;
    expect(await renew(refresh, { ...io, proofKey: newDpopKey('EdDSA') })).toMatchObject({
      kind: 'refused',
      ends: 'grant',
    });
    expect(await renew(refresh, { ...io, proofKey: null })).not.toMatchObject({ kind: 'renewed' });
    expect(await renew(refresh, io)).toMatchObject({ kind: 'renewed', isBound: true });
  });

  test('client credentials use the same key each time', async () => {
    const server = await startDpopServer();
    const at = await deskAt(server, {
      client_id: 'robot',
      client_secret: 'file:robot-secret',
      flows: ['client_credentials'],
      probe: undefined,
    });
    await writeFile(at.at('config', 'robot-secret'), server.clientSecret, { mode: 0o600 });
    const ran = await at.run(['connect', 'desk', '--client-credentials']);
    expect(ran.exit, ran.stderr).toBe(0);
    const first = await shown(at);
    expect(first.dpop.token_bound).toBe(true);
    const refreshed = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(refreshed.exit, refreshed.stderr).toBe(0);
    expect(await shown(at)).toMatchObject({ dpop: first.dpop });
  });
});

describe('a provider definition that later requires bound tokens', () => {
  test('prevents unbound tokens from being sent, and the next token is bound', async () => {
    const server = await startDpopServer();
    const provider = { client_id: 'robot', client_secret: 'file:robot-secret', probe: undefined };
    const at = await deskAt(server, { ...provider, dpop: false, flows: ['client_credentials'] });
    await writeFile(at.at('config', 'robot-secret'), server.clientSecret, { mode: 0o600 });
    await at.grant('desk', { access_token: 'of-elsewhere', refresh_token: 'r-of-elsewhere' }, [
      '--provider',
      'desk',
    ]);
    await at.run(['domain', 'allow', `${upstreamHost}:${server.port}`, '--grant', 'desk']);
    const config = parse(await readFile(at.configFile, 'utf8')) as { providers: { desk: object } };
    config.providers.desk = { ...config.providers.desk, dpop: true };
    await writeFile(at.configFile, stringify(config));

    const [answer] = await asked(at, server);
    expect(answer).toMatchObject({ status: 403, reason: 'policy_violation' });
    expect(answer?.body).toContain('bound to no key');
    expect(server.asked).toEqual([]);
    expect((await at.run(['status'])).stdout).toContain('is not bound to a key');
    expect((await at.run(['grant', 'show', 'desk'])).stdout).toContain('no key, though the provider');
    // Such a token is no longer accepted, except to get another.
    const again = await at.run(['grant', 'import', 'desk', '--provider', 'desk', '--replace'], {
      input: '{"access_token":"of-elsewhere"}',
    });
    expect(again).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('bound to a key that is made here'),
    });
  });
});

test('no file contains the key in plain text', async () => {
  const server = await startDpopServer();
  const at = await deskAt(server, app(server));
  const printed = (await at.json(['connect', 'desk', '--print-url'])) as { consent_url: string };
  const { href } = await consent(server, printed.consent_url);
  await at.run(['connect', '--finish', href]);
  const x = (decodeProtectedHeader(server.asked.at(-1)?.proof ?? '')['jwk'] as { x: string }).x;
  for (const name of await readdir(at.folder, { recursive: true })) {
    const bytes = await readFile(at.at(name)).catch(() => Buffer.alloc(0));
    // Both halves are stored together: a file without the public one lacks the private one too.
    expect(bytes.includes(x), name).toBe(false);
  }
});
