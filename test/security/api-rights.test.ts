import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { authenticator } from '../../src/api/caller.ts';
import { routes } from '../../src/api/routes.ts';
import { question } from '../support/question.ts';
import { startService, type TestService } from '../support/service.ts';

/** A service with a key that belongs to a person of this role. */
async function withPerson(role = 'operator') {
  const service = await startService();
  const { people } = service.sidekey.proxy.state.store;
  const person = { name: 'pat', role, user: null, disabledAt: null, identity: null, generation: 0 };
  await people.insert({ ...person, createdAt: Date.now() });
  return { ...service, people, person, own: await service.key({ person: 'pat' }) };
}

const token = (fields: object = {}) => ({
  integration_key: 'gh',
  provider: 'github',
  token_type: 'api_key',
  token_data: { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' },
  ...fields,
});

const createKey = (service: TestService, key: string, body: object = {}) =>
  service.call('POST /v2/api-keys', { key, body: { name: 'new', role: 'operator', ...body } });

describe('a key', () => {
  it('that was created with the key of a person is refused after the person is removed', async () => {
    const service = await withPerson();
    const made = await createKey(service, service.own, { expires: 'none' });
    expect(made).toMatchObject({ status: 201, body: { person: 'pat' } });
    expect((await service.call('GET /v2/grants', { key: made.body.key })).status).toBe(200);
    await service.people.change('pat', { role: 'auditor' });
    expect((await service.call('POST /v2/agents', { key: made.body.key, body: { name: 'x' } })).status).toBe(
      403,
    );
    await service.people.remove('pat');
    expect((await service.call('GET /v2/grants', { key: made.body.key })).status).toBe(401);
  });

  it('of a person cannot create a key for another person', async () => {
    const service = await withPerson();
    await service.people.insert({ ...service.person, name: 'other', createdAt: Date.now() });
    const refused = await createKey(service, service.own, { person: 'other' });
    expect(refused.body.code).toBe('scope_missing');
  });

  it('cannot create a key whose role lacks a listed scope', async () => {
    const service = await startService();
    const create = async (body: object) => createKey(service, await service.key(), body);
    const refused = await create({ role: 'auditor', scopes: ['grants:write'] });
    expect(refused).toMatchObject({
      status: 400,
      body: {
        detail: 'A key of the role auditor cannot have the scope grants:write.',
        hint: 'leave out the scope, or choose a role that has it: operator, user',
      },
    });
    expect(await create({ role: 'auditor', scopes: ['grants:read'] })).toMatchObject({ status: 201 });
  });

  it('with an expiry cannot create a key that lasts longer', async () => {
    const service = await startService();
    const expiresAt = Date.now() + 60_000;
    const { body } = await createKey(service, await service.key({ expiresAt }), { expires: 'none' });
    expect(Date.parse(body.expires_at)).toBe(expiresAt);
  });

  it('of a removed person stays refused if a new person gets the same name', async () => {
    const { call, own, people, person } = await withPerson();
    await people.remove('pat');
    await people.insert({ ...person, createdAt: Date.now() + 1_000 });
    expect((await call('GET /v2/grants', { key: own })).status).toBe(401);
  });

  it('of a person for one user cannot see data of another user', async () => {
    const { call, own, sidekey } = await withPerson('user');
    await sidekey.grant(['api.example.com'], { user: 'bob', name: 'desk', provider: 'github' });
    expect((await call('GET /v2/grants', { key: own })).body.data).toEqual([]);
    expect((await call('GET /v2/grants/desk', { key: own })).status).toBe(404);
  });

  it('with fewer scopes cannot end or change a key or person with more', async () => {
    const { call, key } = await withPerson();
    await key({ name: 'root' });
    const narrow = await key({ scopes: ['config:write'] });
    for (const [request, body] of [
      ['DELETE /v2/api-keys/root', {}],
      ['DELETE /v2/people/pat', {}],
      ['PATCH /v2/people/pat', { disabled: true }],
      ['POST /v2/people/pat/link', {}],
    ] as const) {
      expect((await call(request, { key: narrow, body })).body.code, request).toBe('scope_missing');
    }
  });

  it('is looked up by its SHA-256 only, so no comparison depends on its bytes', async () => {
    const { sidekey, key } = await startService();
    const { state } = sidekey.proxy;
    const asked: Uint8Array[] = [];
    const find = (hash: Uint8Array) => {
      asked.push(hash);
      return state.store.apiKeys.find(hash);
    };
    const store = { ...state.store, apiKeys: { ...state.store.apiKeys, find } };
    const quota = { take: () => ({ ok: true }) as const, spend: () => ({ ok: true }) as const, close() {} };
    const authenticate = authenticator({ ...state, store, quota, now: Date.now });
    const secret = await key();
    await authenticate(new Headers({ 'x-api-key': secret }), '127.0.0.1:1');
    await expect(authenticate(new Headers({ 'x-api-key': `${secret}x` }), '127.0.0.1:1')).rejects.toThrow();
    expect(asked.map(({ length }) => length)).toEqual([32, 32]);
    expect(Buffer.compare(asked[0]!, asked[1]!)).not.toBe(0);
  });
});

describe('a key that is stored with the hosts that use it', () => {
  const body = { provider: 'resend', credential: 're_0123456789', domains: true };

  it.each([
    ['without config:write', { scopes: ['grants:write'] }],
    ['of an operator for one user', { user: 'alice' }],
    ['of the role user', { role: 'user', user: 'alice' }],
  ])('is refused to a key %s, and nothing is stored', async (_name, record) => {
    const { call, key, sidekey } = await startService();
    const text = await readFile(sidekey.configFile, 'utf8');
    const refused = await call('POST /v2/grants', {
      key: await key(record),
      body: { ...body, ...userOf(record) },
    });
    expect(refused).toMatchObject({ status: 403, body: { code: 'scope_missing' } });
    expect((await call('GET /v2/grants')).body.data).toEqual([]);
    expect(await readFile(sidekey.configFile, 'utf8')).toBe(text);
  });
});

describe('the keys of the machine', () => {
  const secret = 'secret-of-the-machine';
  const env = { HOME: '/nowhere', INIT_CWD: '/nowhere', RESEND_API_KEY: secret, OWN_SECRET: secret };

  it.each([
    ['without config:write', { scopes: ['grants:read', 'grants:write'] }],
    ['of an auditor', { role: 'auditor' }],
    ['of an operator for one user', { user: 'alice' }],
  ])('are neither listed nor connected for a key %s', async (_name, record) => {
    const { call, key } = await startService({ env });
    const narrow = await key(record);
    for (const request of ['GET /v2/logins', 'POST /v2/logins/resend'])
      expect((await call(request, { key: narrow, ...bodyFor(request) })).body.code).toBe('scope_missing');
    expect((await call('GET /v2/grants')).body.data).toEqual([]);
  });

  it('are not connected for a key without grants:write', async () => {
    const { call, key } = await startService({ env });
    const narrow = await key({ scopes: ['config:write'] });
    expect((await call('GET /v2/logins', { key: narrow })).body.data).toHaveLength(1);
    const refused = await call('POST /v2/logins/resend', { key: narrow, body: {} });
    expect(refused.body.code).toBe('scope_missing');
  });

  it.each(['resend', 'own'])('are not read for %s, a provider that the config file defines', async (name) => {
    const environment = { OWN_SECRET: null };
    const own = { audience: ['evil.example'], environment, token: { label: 'key' } };
    const { call } = await startService({ env, config: { providers: { [name]: own } } });
    const listed = (await call('GET /v2/logins')).body.data;
    expect(listed.map(({ provider }: { provider: string }) => provider)).not.toContain(name);
    expect((await call(`POST /v2/logins/${name}`, { body: {} })).status).toBe(404);
  });

  it('are sent to no host that the request names', async () => {
    const { call } = await startService({ env });
    const body = { audience: ['evil.example'] };
    expect((await call('POST /v2/logins/resend', { body })).status).toBe(400);
  });
});

const userOf = (record: { user?: string; scopes?: readonly string[] }) =>
  record.user === undefined ? {} : { user: record.user };
const bodyFor = (request: string) => (request.startsWith('POST') ? { body: {} } : {});

describe('a change of a provider', () => {
  it.each([
    ['without config:write', { scopes: ['grants:write', 'config:read'] }],
    ['of an operator for one user', { user: 'alice' }],
  ])('is refused to a key %s, and the config file stays', async (_name, record) => {
    const { call, key, sidekey } = await startService();
    const before = await readFile(sidekey.configFile, 'utf8');
    const narrow = await key(record);
    for (const [request, body] of [
      ['PATCH /v2/providers/zendesk', { settings: { subdomain: 'acme' } }],
      ['POST /v2/providers', { address: 'https://api.example.com' }],
    ] as const) {
      expect((await call(request, { key: narrow, body })).body.code, request).toBe('scope_missing');
    }
    expect(await readFile(sidekey.configFile, 'utf8')).toBe(before);
  });
});

describe('a caller that is limited to a user', () => {
  it('cannot lift limits that the operator set for a grant', async () => {
    const { call, key, sidekey } = await startService();
    await sidekey.grant(['api.example.com'], { user: 'alice', name: 'desk', provider: 'github' });
    await call('PATCH /v2/grants/desk?user=alice', { body: { max_ttl: '1d', max_lease_ttl: '1h' } });
    const alice = await key({ role: 'user', user: 'alice' });
    for (const body of [
      { max_ttl: 'none', expires: '900d' },
      { max_lease_ttl: 'none' },
      { labels: ['prod'] },
      { metadata: { team: 'x' } },
    ]) {
      const { body: refused } = await call('PATCH /v2/grants/desk', { key: alice, body });
      expect(refused.code, JSON.stringify(body)).toBe('scope_missing');
    }
    const { status } = await call('PATCH /v2/grants/desk', { key: alice, body: { expires: '12h' } });
    expect(status).toBe(200);
  });

  it('reads its own grant by name, although another user has a grant of the same name', async () => {
    const { call, key, sidekey } = await startService();
    for (const user of ['alice', 'bob'])
      await sidekey.grant(['api.example.com'], { user, name: 'desk', provider: 'github' });
    const alice = await key({ role: 'user', user: 'alice' });
    const { status, body } = await call('GET /v2/grants/desk', { key: alice });
    expect([status, body.user]).toEqual([200, 'alice']);
  });

  it('cannot give a grant a name that looks like the ID of another grant', async () => {
    const { call } = await startService();
    const body = token({ integration_key: crypto.randomUUID() });
    expect((await call('POST /v2/users/alice/tokens', { body })).status).toBe(400);
  });
});

describe('a request that waits for a person', () => {
  it.each([
    ['without approvals:read', { scopes: ['audit:read', 'config:read'] as const }],
    ['for one user', { user: 'default' }],
    ['of a person with the role user', { role: 'user', user: 'default' } as const],
  ])('is not shown to a key %s, nor is its body', async (_whose, record) => {
    const { call, key, sidekey } = await startService();
    const { approvals } = sidekey.proxy.state.store;
    const { id: grantId } = await sidekey.grant(['api.example.com']);
    const asked = question({ askedAt: Date.now(), who: { grantId } });
    await approvals.ask(asked);
    const limited = await key(record);
    for (const path of ['/v2/approvals', `/v2/approvals/${asked.id}`]) {
      const { status, body } = await call(`GET ${path}`, { key: limited });
      expect([status, body.code], path).toEqual([403, 'scope_missing']);
      expect((await call(`GET ${path}`, { key: await key({ role: 'approver' }) })).status, path).toBe(200);
    }
  });
});

describe('Idempotency-Key', () => {
  it('does not match a request with another query', async () => {
    const { call, sidekey } = await startService();
    for (const user of ['alice', 'bob'])
      await sidekey.grant(['api.example.com'], { user, name: 'desk', provider: 'github' });
    const options = { body: { local: true }, headers: { 'idempotency-key': 'k' } };
    await call('POST /v2/grants/desk/revoke?user=alice', options);
    const second = await call('POST /v2/grants/desk/revoke?user=bob', options);
    expect(second.headers.get('idempotency-replayed')).toBeNull();
    expect((await call('GET /v2/grants')).body.data.map(({ state }: { state: string }) => state)).toEqual([
      'revoked',
      'revoked',
    ]);
  });

  it('does not replay the response of a removed key to a new key of the same name', async () => {
    const { call, key, sidekey } = await startService();
    const headers = { 'idempotency-key': 'k' };
    const first = await key({ name: 'ci', createdAt: 1 });
    await call('POST /v2/agents', { key: first, headers, body: { name: 'a' } });
    await sidekey.proxy.state.store.apiKeys.remove('ci');
    const second = await call('POST /v2/agents', {
      key: await key({ name: 'ci', createdAt: 2 }),
      headers,
      body: { name: 'a' },
    });
    expect(second).toMatchObject({ status: 409, body: { code: 'already_exists' } });
  });
});

describe('the stream of the audit log', () => {
  it('ends before the next line when its key is revoked', async () => {
    const { call, url, key } = await startService();
    const response = await fetch(`${url}/v2/audit/stream?event=agent.added`, {
      headers: { 'x-api-key': await key({ name: 'reader' }) },
    });
    const reader = response.body!.getReader();
    await reader.read();
    await call('DELETE /v2/api-keys/reader');
    await call('POST /v2/agents', { body: { name: 'after' } });
    expect(await reader.read()).toEqual({ done: true, value: undefined });
  });

  it('ends before a missed line and before the next heartbeat when its key is revoked', async () => {
    const { call, sidekey } = await startService();
    for (const name of ['one', 'two', 'three', 'four']) await call('POST /v2/agents', { body: { name } });
    const [first] = (await call('GET /v2/audit/events?event=agent.added&order=asc')).body.data;
    const { handle } = routes.find(({ id }) => id === 'streamAuditEvents')!;
    const timers = { after: (_ms: number, run: () => void) => (run(), () => {}) };
    const config = async () => sidekey.proxy.config();
    for (const lastEventId of [`${first.node}:${first.seq}`, undefined]) {
      let allowed = true;
      const stop = new AbortController();
      const given = { query: {}, caller: { user: null }, signal: stop.signal, lastEventId };
      const answer = await handle(
        { ...given, isStillAllowed: async () => allowed } as never,
        { config, timers, now: Date.now } as never,
      );
      const reader = (answer as Response).body!.getReader();
      await reader.read();
      expect((await reader.read()).done).toBe(false);
      allowed = false;
      // At most the part that was read ahead.
      await reader.read();
      expect((await reader.read()).done).toBe(true);
    }
  });

  it('checks the right once for each batch, and sends no line of a batch that was read before a revocation', async () => {
    const { call, sidekey } = await startService();
    const { handle } = routes.find(({ id }) => id === 'streamAuditEvents')!;
    const config = async () => sidekey.proxy.config();
    const late: (() => void)[] = [];
    const timers = { after: (_ms: number, run: () => void) => (late.push(run), () => {}) };
    let checks = 0;
    let allowed = true;
    const isStillAllowed = async () => {
      checks += 1;
      return allowed;
    };
    const given = { query: { event: 'agent.added' }, caller: { user: null } };
    const stop = new AbortController();
    const answer = await handle(
      { ...given, signal: stop.signal, isStillAllowed } as never,
      { config, timers, now: Date.now } as never,
    );
    const reader = (answer as Response).body!.getReader();
    await reader.read();
    /** Adds an agent, and resolves when the stream has read its line and collects further ones. */
    const add = async (name: string) => {
      const waits = late.length;
      await call('POST /v2/agents', { body: { name } });
      await expect.poll(() => late.length).toBe(waits + 1);
    };
    await expect.poll(() => late.length).toBe(1);
    await add('one');
    expect(checks).toBe(0);
    late.at(-1)!();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('"agent":"one"');
    expect(checks).toBe(1);
    await expect.poll(() => late.length).toBe(3);
    await add('two');
    allowed = false;
    late.at(-1)!();
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    expect(checks).toBe(2);
  });

  it('continues after the line that Last-Event-ID names', async () => {
    const { call, url, key } = await startService();
    const headers = { 'x-api-key': await key() };
    for (const name of ['one', 'two', 'three']) await call('POST /v2/agents', { body: { name } });
    const { data } = (await call('GET /v2/audit/events?event=agent.added&order=asc')).body;
    const id = `${data[0].node}:${data[0].seq}`;
    const response = await fetch(`${url}/v2/audit/stream?event=agent.added`, {
      headers: { ...headers, 'last-event-id': id },
    });
    const reader = response.body!.getReader();
    let text = '';
    const until = async (part: string) => {
      while (!text.includes(part)) text += new TextDecoder().decode((await reader.read()).value);
    };
    await until('"agent":"three"');
    await call('POST /v2/agents', { body: { name: 'four' } });
    await until('"agent":"four"');
    await reader.cancel();
    expect(text.match(/"agent":"(\w+)"/g)).toEqual(
      ['two', 'three', 'four'].map((name) => `"agent":"${name}"`),
    );
  });
});

describe('the expiry of a token', () => {
  it('is returned even if the token itself has no expiry', async () => {
    const { call } = await startService();
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const made = await call('POST /v2/users/alice/tokens', { body: token({ expires_at }) });
    expect(made.status).toBe(201);
    expect((await call('GET /v2/users/alice/tokens')).body).toMatchObject([
      { expires_at, is_expired: false },
    ]);
  });
});

/** Returns whether an operation of the OpenAPI document takes `If-Match`. */
const isDescribed = ({ parameters }: { readonly parameters: readonly { readonly name: string }[] }) =>
  parameters.some(({ name }) => name === 'If-Match');

describe('If-Match', () => {
  it('is compared with the grant of the user in the query', async () => {
    const { call, sidekey } = await startService();
    for (const user of ['alice', 'bob'])
      await sidekey.grant(['api.example.com'], { user, name: 'desk', provider: 'github' });
    const path = '/v2/grants/desk?user=alice';
    const etag = (await call(`GET ${path}`)).headers.get('etag') ?? '';
    const change = { body: { expires: '1d' }, headers: { 'if-match': etag } };
    expect((await call(`PATCH ${path}`, change)).status).toBe(200);
    expect((await call(`PATCH ${path}`, change)).status).toBe(412);
  });

  it('is refused for a resource without an ETag, and is not documented there', async () => {
    const { call, key } = await startService();
    const { paths } = (await call('GET /openapi.json')).body;
    expect(isDescribed(paths['/v2/grants/{grant}'].patch)).toBe(true);
    expect(isDescribed(paths['/v2/api-keys/{key}'].delete)).toBe(false);
    await key({ name: 'x' });
    const { status } = await call('DELETE /v2/api-keys/x', { headers: { 'if-match': '"1"' } });
    expect(status).toBe(400);
  });
});

describe('the config', () => {
  it.each(['command:touch /tmp/x', 'file:/etc/passwd', 'env:HOME'])(
    'cannot get a new %s through the API, and no event reports a change',
    async (reference) => {
      const { call, sidekey } = await startService();
      const { body, headers } = await call('GET /v2/config');
      const text = `${body.text}\nproviders:\n  own: { token_endpoint: "https://a.example/t", audience: [a.example], client_id: x, client_secret: "${reference}" }\n`;
      const put = { body: { text }, headers: { 'if-match': headers.get('etag') ?? '' } };
      const { status, body: refusal } = await call('PUT /v2/config', put);
      expect([status, refusal.code]).toEqual([403, 'config_protected']);
      expect(refusal.detail).toContain('providers.own.client_secret');
      expect(await readFile(sidekey.configFile, 'utf8')).toBe(body.text);
      expect((await call('GET /v2/audit/events?event=config.changed')).body.data).toEqual([]);
    },
  );

  it.each(['command:touch /tmp/x', 'file:/etc/passwd', 'env:HOME'])(
    'of a draft cannot get a new %s, and nothing is read',
    async (reference) => {
      const { call } = await startService();
      const { text } = (await call('GET /v2/config')).body;
      const secret = `{ token_endpoint: "https://a.example/t", audience: [a.example], client_id: x, client_secret: "${reference}" }`;
      const draft = `${text}\nproviders:\n  own: ${secret}\n`;
      const cases = '- request: GET https://a.example/\n  expect: deny\n';
      for (const [request, more] of [
        ['POST /v2/explain', { url: 'https://a.example/' }],
        ['POST /v2/config/test', { cases }],
        ['POST /v2/config/replay', {}],
      ] as const) {
        const { status, body } = await call(request, { body: { text: draft, ...more } });
        expect([status, body.code], request).toEqual([403, 'config_protected']);
      }
    },
  );

  it('of a draft is refused to a key that may not write the config', async () => {
    const { call, key } = await startService();
    const { text } = (await call('GET /v2/config')).body;
    const url = 'https://a.example/';
    const narrow = await key({ scopes: ['access:read', 'audit:read'] });
    const ask = async (request: string, body: object, by = narrow) =>
      (await call(request, { key: by, body })).status;
    expect(await ask('POST /v2/explain', { url })).toBe(200);
    expect(await ask('POST /v2/explain', { url, text })).toBe(403);
    expect(await ask('POST /v2/config/replay', { text })).toBe(403);
    expect(await ask('POST /v2/config/replay', { text }, await key({ role: 'auditor' }))).toBe(403);
    expect(await ask('POST /v2/config/test', { cases: '[]', text }, await key({ role: 'auditor' }))).toBe(
      403,
    );
    expect(await ask('POST /v2/config/replay', { text }, await key())).toBe(200);
    const owner = await key({ role: 'user', user: 'alice' });
    expect(await ask('POST /v2/config/replay', { text }, owner)).toBe(403);
    const withoutLog = await key({ scopes: ['config:write'] });
    expect(await ask('POST /v2/config/replay', { text }, withoutLog)).toBe(403);
  });

  it('keeps a reference that the file already contains', async () => {
    const secret = 'file:secret.txt';
    const provider = { token_endpoint: 'https://a.example/t', audience: ['a.example'], client_id: 'x' };
    const { call } = await startService({
      config: { providers: { own: { ...provider, client_secret: secret } } },
    });
    const { body, headers } = await call('GET /v2/config');
    const put = {
      body: { text: `${body.text}\n# kept\n` },
      headers: { 'if-match': headers.get('etag') ?? '' },
    };
    expect((await call('PUT /v2/config', put)).status).toBe(200);
  });
});

describe('a page of Sidekey', () => {
  it.each(['/', '/ui/app.js', '/ui/style.css', '/ui/icons.json'])(
    '%s loads nothing from other origins and cannot be framed',
    async (path) => {
      const { url } = await startService();
      const { headers } = await fetch(url + path);
      expect(headers.get('content-security-policy')?.split('; ')).toEqual([
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        'img-src data:',
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
      ]);
    },
  );
});
