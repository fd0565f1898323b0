import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { describe, expect, test } from 'vitest';
import type { OAuth2Credential } from '../../../src/domain/credential.ts';
import { howToPropose } from '../../../src/proxy/policy/decide.ts';
import { onHeads } from '../../support/granted.ts';
import { ask, openSession } from '../../support/h2-client.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { bearerToken, startSidekey, type SidekeyOptions } from '../../support/sidekey.ts';
import { startH2Upstream, startRawUpstream, startUpstream, type Upstream } from '../../support/upstream.ts';

const lacking = 'Bearer realm="Acme", error="insufficient_scope", scope="read write"';
const hintFor = (scope: string) => `sidekey connect acme --scope ${scope}; ${howToPropose}`;
const hint = hintFor("'read write'");
const get = (authority: string) => `GET /a?b=c HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;

const oauth2: OAuth2Credential = oauth2Credential({ accessToken: bearerToken });

/** A proxy with a grant of a provider that people consent at. */
async function consented(
  upstream: Upstream,
  {
    credential = oauth2,
    provider = {},
    domain = {},
    ...options
  }: SidekeyOptions & { credential?: OAuth2Credential; provider?: object; domain?: object } = {},
) {
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', ...domain } },
    config: {
      providers: {
        acme: {
          authorization_endpoint: `${upstream.url}/authorize`,
          token_endpoint: `${upstream.url}/token`,
          client_id: 'robot',
          audience: [upstream.authority],
          ...provider,
        },
      },
    },
    ...options,
  });
  const grant = await sidekey.grant([upstream.authority], { credential });
  return { upstream, sidekey, grant };
}

async function answering(head: string, options?: Parameters<typeof consented>[1]) {
  const upstream = await startRawUpstream((socket) =>
    onHeads(socket, () => socket.write(Buffer.from(`${head}Content-Length: 2\r\n\r\nno`, 'latin1'))),
  );
  const place = await consented(upstream, options);
  const client = await openTunnel(place.sidekey, upstream.authority);
  client.send(get(upstream.authority));
  return { ...place, client };
}

describe('a 403 for a missing scope', () => {
  test('is forwarded unchanged, with a hint that names the command', async () => {
    const head = `HTTP/1.1 403 Not  Yours\r\nwww-AUTHENTICATE:  ${lacking}  \r\nX-Odd:\tone \r\nX-Odd: two\r\n`;
    const { client, sidekey, grant } = await answering(head, { domain: { leak_guard: 'off' } });
    const all = await client.until('\r\n\r\nno');
    expect(all.startsWith(`${head}Content-Length: 2\r\nSidekey-Hint: ${hint}\r\n`)).toBe(true);
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'ok',
      status: 403,
      code: 'insufficient_scope',
      reason: 'the grant lacks: read write',
      grant: grant.id,
      provider: 'acme',
    });
    await sidekey.proxy.state.activity.flush();
    expect(await sidekey.proxy.state.store.activity.get(grant.id)).toMatchObject({
      lacked: ['read', 'write'],
      lackedAt: expect.any(Number),
    });
  });

  test('keeps the reason that the caller gave in the access record', async () => {
    const upstream = await startUpstream((_request, response) =>
      response.writeHead(403, { 'www-authenticate': lacking }).end(),
    );
    const { sidekey } = await consented(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nSidekey-Reason: ticket 7\r\n\r\n`);
    expect((await client.response()).headers['sidekey-hint']).toBe(hint);
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({ reason: 'ticket 7' });
  });

  test('has a single hint, without any hint of the upstream', async () => {
    const forged = 'Sidekey-Hint: rm -rf /\r\nConnection: sidekey-hint\r\nSidekey-Error: forged\r\n';
    const { client } = await answering(`HTTP/1.1 403 No\r\n${forged}WWW-Authenticate: ${lacking}\r\n`);
    const { rawHeaders } = await client.response();
    expect(rawHeaders.filter((name) => /^sidekey-/i.test(name))).toEqual(['Sidekey-Hint']);
    expect(rawHeaders).toContain(hint);
  });

  test('is forwarded over HTTP/2 with the hint, from an HTTP/1.1 or HTTP/2 upstream', async () => {
    const modern = await consented(
      await startH2Upstream((_request, response) =>
        response.writeHead(403, { 'www-authenticate': lacking, 'sidekey-hint': 'forged' }).end('no'),
      ),
    );
    const old = await consented(
      await startUpstream((_request, response) =>
        response.writeHead(403, { 'www-authenticate': lacking }).end('no'),
      ),
    );
    for (const { sidekey, upstream } of [modern, old]) {
      const answer = await ask(await openSession(sidekey, upstream.authority));
      expect(answer).toMatchObject({ status: 403, body: 'no' });
      expect(answer.headers).toMatchObject({ 'www-authenticate': lacking, 'sidekey-hint': hint });
      const outcome = await sidekey.audited(({ event }) => event === 'outcome');
      expect(outcome).toMatchObject({ code: 'insufficient_scope' });
    }
  });

  test('has the hint for a WebSocket as for any other request', async () => {
    const upstream = await startRawUpstream((socket) =>
      onHeads(socket, () =>
        socket.end(`HTTP/1.1 403 No\r\nWWW-Authenticate: ${lacking}\r\nContent-Length: 0\r\n\r\n`),
      ),
    );
    const { sidekey } = await consented(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    expect((await client.response()).headers).toMatchObject({ 'sidekey-hint': hint });
    const outcome = await sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ code: 'insufficient_scope' });
  });

  test('in header fields of a provider is parsed as the provider definition describes', async () => {
    const head = 'HTTP/1.1 403 No\r\nX-Has: gist\r\nX-Wants: admin:org, read:org\r\n';
    const refusal = { granted_scopes_header: 'X-Has', accepted_scopes_header: 'X-Wants' };
    const { client, sidekey } = await answering(head, {
      provider: { dialect: { insufficient_scope: refusal } },
    });
    expect((await client.response()).headers['sidekey-hint']).toBe(hintFor('read:org'));
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      reason: 'the grant lacks one of: admin:org read:org',
    });
  });

  test('that contains the token has no part of the token in the hint, the audit record or the store', async () => {
    const { client, sidekey, grant } = await answering(
      `HTTP/1.1 403 No\r\nWWW-Authenticate: Bearer error="insufficient_scope", scope="${bearerToken} read", resource_metadata="https://a.example/${bearerToken}"\r\n`,
    );
    expect((await client.response()).headers['sidekey-hint']).toBe(hintFor('read'));
    await sidekey.audited(({ event }) => event === 'outcome');
    await sidekey.proxy.state.activity.flush();
    const stored = await sidekey.proxy.state.store.activity.get(grant.id);
    expect(JSON.stringify([await sidekey.audit(), stored])).not.toContain(bearerToken);
  });

  test('never puts terminal or shell commands from a scope name in the hint', async () => {
    const scopes = "a;id $(id) `id` caf\u00e9 'q' --widen \\\\ 1";
    const many = Array.from({ length: 400 }, (_, number) => `s${number}`).join(' ');
    const { client } = await answering(
      `HTTP/1.1 403 No\r\nWWW-Authenticate: Bearer error="insufficient_scope", scope="${scopes} ${many}"\r\n`,
    );
    const found = (await client.response()).headers['sidekey-hint'] ?? '';
    expect(found).toMatch(/^sidekey connect acme --scope '[\x20-\x7e]*'; an agent proposes it: POST \S+$/);
    expect(found).toContain(String.raw`'a;id $(id) ${'`id`'} '\''q'\'' --widen 1 s0 `);
    expect(found.length).toBeLessThan(200 + howToPropose.length);
  });

  test('with control bytes in a challenge is forwarded without them', async () => {
    const { client } = await answering(
      'HTTP/1.1 403 No\r\nWWW-Authenticate: Bearer error="insufficient_scope", scope="\u001b[31m"\r\n',
    );
    const { status, headers } = await client.response();
    expect(status).toBe(403);
    expect(headers['www-authenticate']).toBe('Bearer error="insufficient_scope", scope=" [31m"');
    expect(headers['sidekey-hint']).toMatch(/^[\x20-\x7e]*$/);
  });
});

describe('no hint is added', () => {
  test.each([
    ['a 200', `HTTP/1.1 200 OK\r\nWWW-Authenticate: ${lacking}\r\n`],
    ['a 404', `HTTP/1.1 404 No\r\nWWW-Authenticate: ${lacking}\r\n`],
    ['a 403 for another reason', 'HTTP/1.1 403 No\r\nX-Why: not yours\r\n'],
    [
      'a 401 of a token that has ended',
      'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error="invalid_token"\r\n',
    ],
  ])('to %s', async (_what, head) => {
    const { client, sidekey } = await answering(head);
    expect((await client.until('\r\n\r\nno')).startsWith(`${head}Content-Length: 2\r\n`)).toBe(true);
    expect(client.received()).not.toContain('Sidekey-');
    expect(await sidekey.audited(({ event }) => event === 'outcome')).not.toHaveProperty('code');
  });

  test('to a response for a credential that the client sent', async () => {
    const { client } = await answering(`HTTP/1.1 401 No\r\nWWW-Authenticate: ${lacking}\r\n`, {
      provider: { inject: [{ as: 'own' }] },
    });
    expect(await client.until('\r\n\r\nno')).not.toContain('Sidekey-');
  });
});

/** The first token is refused as one that ends; what the second gets is up to the test. */
async function refreshed(tokenStatus: number) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    if (request.url === '/token') {
      request.resume();
      response.writeHead(tokenStatus, { 'content-type': 'application/json' });
      response.end(
        tokenStatus === 200
          ? '{"access_token":"second-token","token_type":"Bearer","expires_in":3600}'
          : '{"error":"temporarily_unavailable"}',
      );
      return;
    }
    const { authorization = '' } = request.headers;
    seen.push(authorization);
    const status = authorization === 'Bearer second-token' ? 403 : 401;
    const scope = status === 403 ? 'write' : 'read';
    response
      .writeHead(status, { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` })
      .end('no');
  });
  const credential: OAuth2Credential = {
    ...oauth2,
    refreshToken: 'refresh-token',
    expiresAt: Date.now() + 3_600_000,
  };
  const { sidekey } = await consented(upstream, { credential });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(get(upstream.authority));
  return { answer: await client.response(), sidekey, seen };
}

describe('a 401 that Sidekey inspects for missing scopes', () => {
  test('gets the hint if it is forwarded after the refresh', async () => {
    const { answer, sidekey, seen } = await refreshed(503);
    expect(answer).toMatchObject({ status: 401, body: 'no' });
    expect(answer.headers['sidekey-hint']).toBe(hintFor('read'));
    expect(seen).toHaveLength(1);
    const outcome = await sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ reason: 'the grant lacks: read' });
  });

  test('loses its hint if the refreshed token gets a different response', async () => {
    const { answer, sidekey, seen } = await refreshed(200);
    expect(answer).toMatchObject({ status: 403, body: 'no' });
    expect(answer.headers['sidekey-hint']).toBe(hintFor('write'));
    expect(seen).toHaveLength(2);
    const outcome = await sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ reason: 'the grant lacks: write' });
  });
});
