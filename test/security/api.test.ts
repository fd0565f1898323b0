import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { routes } from '../../src/api/routes.ts';
import { startService, type TestService } from '../support/service.ts';

/** Sends a request with a head of its own. */
async function raw(url: string, lines: readonly string[]): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.end(`${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`);
  return text(socket);
}

/** Two users with a grant each. */
async function withUsers(): Promise<TestService> {
  const service = await startService();
  for (const user of ['alice', 'bob']) {
    await service.sidekey.grant(['api.example.com'], { user, name: 'desk', provider: 'github' });
  }
  return service;
}

/** Fills the parameters of a path. */
const pathOf = (path: string, grant: string) =>
  path
    .replace('{grant}', grant)
    .replace('{user}', 'bob')
    .replace('{integration_key}', 'desk')
    .replace(/\{\w+\}/g, 'x');

describe('the API', () => {
  it('refuses every route without a valid key, with the same response', async () => {
    const { call, key, sidekey } = await startService();
    const expired = await key({ expiresAt: Date.now() - 1 });
    const strange = await key({ role: 'emperor' });
    const removed = await key({ name: 'gone' });
    await sidekey.proxy.state.store.apiKeys.remove('gone');
    const bodies = new Set<string>();
    for (const each of [null, '', 'sk_wrong', 'ghp_0123', expired, strange, removed]) {
      const { status, body, headers } = await call('GET /v2/grants', { key: each });
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toBe('Bearer realm="Sidekey"');
      bodies.add(JSON.stringify(body));
    }
    expect(bodies.size).toBe(1);
    for (const { method, path } of routes) {
      const { status } = await call(`${method.toUpperCase()} ${pathOf(path, 'desk')}`, { key: null });
      // After many failures the answer is another one.
      expect([401, 429], `${method} ${path}`).toContain(status);
    }
  });

  it('refuses a request with two different keys', async () => {
    const { call, key } = await startService();
    const [one, other] = [await key(), await key()];
    const { status } = await call('GET /v2/grants', {
      key: one,
      headers: { authorization: `Bearer ${other}` },
    });
    expect(status).toBe(401);
    const same = await call('GET /v2/grants', { key: one, headers: { authorization: `Bearer ${one}` } });
    expect(same.status).toBe(200);
  });

  it('refuses requests for which the key lacks the scope', async () => {
    const { call, key } = await startService();
    const auditor = await key({ role: 'auditor' });
    const narrow = await key({ scopes: ['grants:read'] });
    expect((await call('GET /v2/grants', { key: auditor })).status).toBe(200);
    expect((await call('POST /v2/agents', { key: auditor, body: { name: 'x' } })).body.code).toBe(
      'scope_missing',
    );
    expect((await call('GET /v2/grants', { key: narrow })).status).toBe(200);
    expect((await call('GET /v2/agents', { key: narrow })).body.code).toBe('scope_missing');
  });

  it('refuses to create a key with more scopes than the calling key has', async () => {
    const { call, key } = await startService();
    const narrow = await key({ scopes: ['config:write'] });
    for (const body of [
      { name: 'a', role: 'operator' },
      { name: 'b', role: 'operator', scopes: ['grants:write'] },
      { name: 'c', role: 'operator', scopes: ['config:write', 'tokens:read'] },
      { name: 'd', role: 'operator', scopes: ['config:write', 'tokens:refresh_token'] },
    ]) {
      expect((await call('POST /v2/api-keys', { key: narrow, body })).body.code).toBe('scope_missing');
    }
    const same = { name: 'd', role: 'operator', scopes: ['config:write'] };
    expect((await call('POST /v2/api-keys', { key: narrow, body: same })).status).toBe(201);
  });

  it('shows the value of a token only to a key that lists tokens:read, and records the access', async () => {
    const { call, key, sidekey } = await withUsers();
    const path = 'GET /v2/users/alice/tokens/desk';
    const refresh = 'tokens:refresh_token';
    const { scopes } = (await call('GET /v2/me')).body;
    for (const secret of ['tokens:read', refresh]) expect(scopes).not.toContain(secret);
    for (const each of [
      await key(),
      await key({ role: 'auditor', scopes: ['grants:read', 'tokens:read', refresh] }),
      await key({ scopes: ['grants:read', refresh] }),
    ]) {
      const { body } = await call(path, { key: each });
      expect(body.token_data).toBeUndefined();
      expect(JSON.stringify(body)).not.toContain('token-of-the-grant');
    }
    const reader = await key({ name: 'reader', scopes: ['grants:read', 'tokens:read'] });
    const { body } = await call(path, { key: reader });
    expect(body.token_data.api_key).toContain('token-of-the-grant');
    const reads = (await sidekey.audit()).filter(({ event }) => event === 'token.read');
    expect(reads).toMatchObject([{ by: 'key reader', user: 'alice', grant: body.grant_id }]);
  });

  it('shows a key for one user no data of another user', async () => {
    const { call, key } = await withUsers();
    const alice = await key({ role: 'user', user: 'alice' });
    const operator = await key({ user: 'alice' });
    const all = (await call('GET /v2/grants')).body.data as { id: string; user: string }[];
    const bobs = all.find(({ user }) => user === 'bob')!.id;
    for (const own of [alice, operator]) {
      const { data } = (await call('GET /v2/grants', { key: own })).body;
      expect(data.map(({ user }: { user: string }) => user)).toEqual(['alice']);
      expect((await call('GET /v2/grants?user=bob', { key: own })).status).toBe(404);
      for (const { method, path, id, media } of routes) {
        // The second one would end the key of this walk.
        if (media !== undefined || id === 'revokeOwnKey') continue;
        const request = `${method.toUpperCase()} ${pathOf(path, bobs)}`;
        const answer = await call(request, { key: own, ...(method === 'get' ? {} : { body: {} }) });
        // Lists and providers have an answer for anybody, without anything of another user.
        if (answer.status < 300) {
          expect(JSON.stringify(answer.body), id).not.toContain('bob');
          expect(['listGrants', 'listProviders', 'getProvider', 'listAuditEvents', 'getMe'], id).toContain(
            id,
          );
        } else expect([400, 403, 404], `${request}: ${JSON.stringify(answer.body)}`).toContain(answer.status);
      }
      expect((await call(`GET /v2/grants/${bobs}`, { key: own })).body.code).toBe('not_found');
      expect((await call(`POST /v2/grants/${bobs}/revoke`, { key: own, body: {} })).body.code).toBe(
        'not_found',
      );
      expect((await call('DELETE /v2/users/bob/tokens/desk', { key: own })).body.code).toBe('not_found');
      expect((await call('GET /v2/audit/events?user=bob', { key: own })).body.code).toBe('not_found');
    }
    expect((await call('GET /v2/grants')).body.data).toHaveLength(2);
  });

  it('refuses a request with another Host, as after DNS rebinding', async () => {
    const { url, key } = await startService();
    const own = new URL(url).host;
    const answerFor = async (host: string) =>
      raw(url, ['GET /v2/grants HTTP/1.1', `Host: ${host}`, `X-API-Key: ${await key()}`]);
    expect(await answerFor('evil.example')).toContain('421');
    expect(await answerFor(own.replace('127.0.0.1', 'evil.example'))).toContain('authority_mismatch');
    expect(await answerFor(own)).toContain('HTTP/1.1 200');
    expect(await answerFor(own.replace('127.0.0.1', 'localhost'))).toContain('HTTP/1.1 200');
  });

  it('prevents pages of other origins from reading a response, and pages from being framed', async () => {
    const { call } = await startService();
    for (const path of ['/v2/grants', '/openapi.json', '/nothing']) {
      const { headers } = await call(`GET ${path}`, { headers: { origin: 'https://evil.example' } });
      expect(headers.get('access-control-allow-origin')).toBeNull();
      expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cache-control')).toBe('no-store');
    }
    const { headers } = await call('OPTIONS /v2/grants', { headers: { origin: 'https://evil.example' } });
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });

  it('writes no key and no secret of a request body to the log, the audit file or the store', async () => {
    const { call, key, sidekey } = await startService();
    const secret = await key({ name: 'mine' });
    const value = 'ghp_9876543210abcdef9876543210abcdef9876';
    await call('POST /v2/users/alice/tokens', {
      key: secret,
      headers: { 'idempotency-key': 'once' },
      body: {
        integration_key: 'gh',
        provider: 'github',
        token_type: 'api_key',
        token_data: { api_key: value },
      },
    });
    const { body } = await call('POST /v2/agents', {
      key: secret,
      body: { name: 'ci' },
      headers: { 'idempotency-key': 'a' },
    });
    await call('POST /v2/agents', { key: secret, body: `{"name":"${value}",` });
    await call('POST /v2/agents', { key: secret, body: { name: `${value} ${secret}` } });
    await call(`GET /v2/grants/${secret}`, { key: secret });
    const files = await readdir(sidekey.folder, { recursive: true, withFileTypes: true });
    const contents = await Promise.all(
      files
        .filter((file) => file.isFile())
        .map((file) => readFile(join(file.parentPath, file.name), 'latin1')),
    );
    for (const content of [...contents, sidekey.logged()]) {
      for (const hidden of [secret, value, body.token as string])
        expect(content.includes(hidden)).toBe(false);
    }
    expect(contents.length).toBeGreaterThan(3);
  });

  it('opens no file whose path is in a request', async () => {
    const { call } = await withUsers();
    const file = { file: '/etc/passwd' };
    for (const [request, body] of [
      ['POST /v2/grants', { provider: 'github', credential: '@/etc/passwd', ...file }],
      ['POST /v2/explain', { url: 'https://api.example.com', data_file: '/etc/passwd' }],
      ['POST /v2/config/test', { cases: '/etc/passwd', tests: '/etc/passwd' }],
      ['POST /v2/requests', { url: 'https://api.example.com', output: '/tmp/x' }],
    ] as const) {
      const answer = await call(request, { body });
      expect(answer.status, request).toBe(400);
      expect(JSON.stringify(answer.body)).not.toContain('root:');
    }
    expect((await call('GET /v2/audit/verify?anchor=/etc/passwd')).status).toBe(200);
  });
});
