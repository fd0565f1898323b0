import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import type { Dialect, RevocationDialect } from '../../../../src/domain/provider.ts';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import { revoke, type RevocationRequest } from '../../../../src/grants/oauth/revocation.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const io = (fetch: TokenFetch) => ({ fetch, now: () => now });
const basic = `Basic ${btoa('the-client:client-secret')}`;

const request: RevocationRequest = {
  endpoint: 'https://acme.test/revoke',
  client: { clientId: 'the-client', clientSecret: 'client-secret', auth: 'basic' },
  dialect: plainDialect,
  accessToken: 'the-access-token',
  refreshToken: 'the-refresh-token',
};

function dialect(revocation: Partial<RevocationDialect>, over: Partial<Dialect> = {}): Dialect {
  return { ...plainDialect, ...over, revocation: { ...plainDialect.revocation, ...revocation } };
}

function answered(answer: Response | (() => Promise<Response>), over: Partial<RevocationRequest> = {}) {
  return revoke({ ...request, ...over }, io(fakeEndpoint(answer).fetch));
}

async function sent(over: Partial<RevocationRequest>) {
  const { fetch, asked, bodies } = fakeEndpoint(() => new Response(null, { status: 204 }));
  const outcome = await revoke({ ...request, ...over }, io(fetch));
  const [first] = asked;
  return { outcome, asked, ...first, headers: first?.headers ?? {}, body: bodies[0] ?? null };
}

describe('a revocation request', () => {
  test('conforms to RFC 7009 §2.1, and revokes the token that also ends the other token', async () => {
    const { outcome, asked } = await sent({});
    expect(outcome).toEqual({ kind: 'revoked' });
    expect(asked).toEqual([
      {
        url: 'https://acme.test/revoke',
        method: 'POST',
        redirect: 'manual',
        headers: {
          accept: 'application/json',
          authorization: basic,
          'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
        },
        form: { token: 'the-refresh-token' },
      },
    ]);
    expect((await sent({ refreshToken: null })).form).toEqual({ token: 'the-access-token' });
  });

  test('authenticates as at the token endpoint', async () => {
    const client = { clientId: 'the-client', clientSecret: 'client-secret', auth: 'post' } as const;
    expect((await sent({ client })).form).toEqual({
      token: 'the-refresh-token',
      client_id: 'the-client',
      client_secret: 'client-secret',
    });
    expect((await sent({ client: { ...client, clientSecret: null, auth: 'none' } })).form).toEqual({
      token: 'the-refresh-token',
      client_id: 'the-client',
    });
    expect((await sent({ client, dialect: dialect({}, { clientIdParameter: 'client_key' }) })).form).toEqual({
      token: 'the-refresh-token',
      client_key: 'the-client',
      client_secret: 'client-secret',
    });
    const alone = await sent({ client: null });
    expect(alone.form).toEqual({ token: 'the-refresh-token' });
    expect(alone.headers).not.toHaveProperty('authorization');
  });

  test('is signed for this endpoint when the client signs', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const clientSecret = privateKey.export({ format: 'pem', type: 'pkcs8' });
    const client = { clientId: 'the-client', clientSecret, auth: 'private_key_jwt' } as const;
    const { form } = await sent({ client });
    expect(decodeJwt(form?.['client_assertion'] ?? '')).toMatchObject({ aud: 'https://acme.test/revoke' });
  });

  test('has the form of GitHub', async () => {
    const { url, method, headers, body } = await sent({
      endpoint: null,
      client: { clientId: 'a/b $&', clientSecret: 'client-secret', auth: 'post' },
      dialect: dialect(
        {
          method: 'DELETE',
          url: 'https://api.acme.test/applications/{client_id}/grant',
          body: 'json',
          tokenParameter: 'access_token',
          auth: 'basic',
          token: 'access_token',
        },
        { tokenHeaders: { 'X-Version': '2', Accept: 'text/html' } },
      ),
    });
    expect({ url, method }).toEqual({
      url: 'https://api.acme.test/applications/a%2Fb%20%24%26/grant',
      method: 'DELETE',
    });
    expect(headers).toEqual({
      accept: 'application/json',
      authorization: `Basic ${btoa('a%2Fb+%24%26:client-secret')}`,
      'content-type': 'application/json',
      'x-version': '2',
    });
    expect(JSON.parse(body ?? '')).toEqual({ access_token: 'the-access-token' });
  });

  test('is authorized by the access token when the provider defines that', async () => {
    const way = dialect({ method: 'DELETE', body: 'none', auth: 'bearer', token: 'access_token' });
    const { url, headers, body } = await sent({ dialect: way });
    expect({ url, body }).toEqual({ url: 'https://acme.test/revoke', body: null });
    expect(headers).toEqual({ accept: 'application/json', authorization: 'Bearer the-access-token' });
  });

  test('with GET has the token in the query, and never the client credentials', async () => {
    const way = dialect({ method: 'GET', tokenParameter: 't' });
    const client = { clientId: 'the-client', clientSecret: 'client-secret', auth: 'post' } as const;
    const { url, headers, body } = await sent({
      endpoint: 'https://acme.test/revoke?a=b',
      dialect: way,
      client,
    });
    expect({ url, body }).toEqual({ url: 'https://acme.test/revoke?a=b&t=the-refresh-token', body: null });
    expect(headers).toEqual({ accept: 'application/json', authorization: basic });
    const open = await sent({ dialect: way, client: { ...client, clientSecret: null, auth: 'none' } });
    expect(open.headers).not.toHaveProperty('authorization');
  });

  test('has no authentication when none is configured', async () => {
    const { form, headers } = await sent({ dialect: dialect({ auth: 'none' }) });
    expect(form).toEqual({ token: 'the-refresh-token' });
    expect(headers).not.toHaveProperty('authorization');
  });
});

describe('no revocation request is sent', () => {
  test.each<[string, Partial<RevocationRequest>]>([
    ['without a revocation endpoint', { endpoint: null }],
    [
      'when the definition needs an unknown client',
      { client: null, dialect: dialect({ url: 'https://acme.test/{client_id}' }) },
    ],
  ])('%s', async (_, over) => {
    const { outcome, asked } = await sent(over);
    expect(outcome).toEqual({ kind: 'unsupported' });
    expect(asked).toEqual([]);
  });

  test.each<[string, Partial<RevocationRequest>, string]>([
    ['to an http URL', { endpoint: 'http://acme.test/revoke' }, 'not an https URL'],
    ['with a password in the URL', { endpoint: 'https://a:b@acme.test/' }, 'not an https URL'],
    ['to an invalid URL', { endpoint: 'revoke' }, 'not an https URL'],
    ['without a token', { accessToken: null, refreshToken: null }, 'no refresh token'],
    [
      'without the token to revoke',
      { accessToken: null, dialect: dialect({ token: 'access_token' }) },
      'no access token',
    ],
    [
      'without an access token for bearer authentication',
      { accessToken: null, dialect: dialect({ auth: 'bearer' }) },
      'no access token',
    ],
    ['without a client', { client: null, dialect: dialect({ auth: 'basic' }) }, 'no client secret'],
    [
      'with a private key as client secret',
      {
        client: { clientId: 'c', clientSecret: 'private-key', auth: 'private_key_jwt' },
        dialect: dialect({ auth: 'basic' }),
      },
      'wants a client secret',
    ],
    [
      'with an invalid key',
      { client: { clientId: 'c', clientSecret: 'private-key', auth: 'private_key_jwt' } },
      'private key',
    ],
    [
      'with an invalid header field',
      { dialect: dialect({}, { tokenHeaders: { 'X-Y': 'a\nb' } }) },
      'cannot be written',
    ],
  ])('%s', async (_, over, reason) => {
    const { outcome, asked } = await sent(over);
    expect(outcome).toEqual({
      kind: 'failed',
      reason: expect.stringContaining(reason),
      passing: false,
      retryAfterMs: null,
    });
    expect(JSON.stringify(outcome)).not.toContain('private-key');
    expect(asked).toEqual([]);
  });
});

describe('a revocation response', () => {
  test.each([200, 204])('with status %i ends the token, even an unknown token', async (status) => {
    expect(await answered(new Response(status === 204 ? null : '', { status }))).toEqual({ kind: 'revoked' });
    expect(await answered(new Response(status === 204 ? null : '<html>', { status }))).toEqual({
      kind: 'revoked',
    });
  });

  test.each<[object | string, string | null]>([
    [{ ok: true, done: { all: true } }, null],
    [{ ok: true, done: { all: false } }, 'HTTP 200'],
    [{ ok: true, done: { all: 'true' } }, 'HTTP 200'],
    [{ ok: false, error: 'not_authed' }, 'not_authed'],
    ['done', 'HTTP 200'],
  ])('with the result in its body is read: %j', async (body, reason) => {
    const way = dialect({ okField: 'done.all' });
    const answer = typeof body === 'string' ? new Response(body) : Response.json(body);
    expect(await answered(answer, { dialect: way })).toMatchObject(
      reason === null ? { kind: 'revoked' } : { kind: 'failed', reason: expect.stringContaining(reason) },
    );
  });

  test('for a token that has expired already is success', async () => {
    const gone = Response.json({ error: 'invalid_token' }, { status: 400 });
    expect(await answered(gone.clone())).toEqual({ kind: 'revoked' });
    const slack = Response.json({ ok: false, error: 'token_revoked' });
    expect(await answered(slack, { dialect: dialect({ auth: 'bearer', okField: 'ok' }) })).toEqual({
      kind: 'revoked',
    });
    // Only the access token may have expired, and it authorizes the request.
    expect(await answered(gone, { dialect: dialect({ auth: 'bearer' }) })).toMatchObject({
      kind: 'failed',
    });
  });

  test('that reports unsupported token types has the result `unsupported`', async () => {
    const error = Response.json({ error: 'unsupported_token_type' }, { status: 400 });
    expect(await answered(error)).toEqual({ kind: 'unsupported' });
  });

  test('with an error is a failure without the secret', async () => {
    const error_description = 'no\n the-refresh-token, the-access-token or client-secret';
    expect(
      await answered(Response.json({ error: 'invalid_client', error_description }, { status: 401 })),
    ).toEqual({
      kind: 'failed',
      reason: 'the revocation endpoint answered invalid_client: no [redacted], [redacted] or [redacted]',
      passing: false,
      retryAfterMs: null,
    });
    expect(await answered(new Response('<html>', { status: 404 }))).toMatchObject({
      kind: 'failed',
      reason: 'the revocation endpoint answered HTTP 404',
    });
  });

  test('with 503 means that the grant is still valid (RFC 7009 §2.2.1)', async () => {
    const busy = new Response('', { status: 503, headers: { 'retry-after': '7' } });
    expect(await answered(busy)).toEqual({
      kind: 'failed',
      reason: 'the revocation endpoint answered with HTTP 503',
      passing: true,
      retryAfterMs: 7_000,
    });
  });

  test('with a redirect to another origin is not followed', async () => {
    const away = new Response(null, { status: 307, headers: { location: 'https://evil.test/' } });
    expect(await answered(away)).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('redirect'),
      passing: false,
    });
  });

  test('over the size limit is not read to its end', async () => {
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(8_192)),
    });
    expect(await answered(new Response(endless))).toMatchObject({
      kind: 'failed',
      reason: 'the answer of the revocation endpoint was larger than 1 MiB',
    });
  });

  test('that never comes is a failure with its code', async () => {
    const lost = new TypeError('the-refresh-token', {
      cause: Object.assign(new Error('x'), { code: 'ECONNRESET' }),
    });
    expect(await answered(() => Promise.reject(lost))).toMatchObject({
      kind: 'failed',
      reason: 'the connection failed (ECONNRESET)',
      passing: true,
    });
    const guarded = new TypeError('fetch failed', {
      cause: new SidekeyError('address_blocked', '10.0.0.1 is private.'),
    });
    expect(await answered(() => Promise.reject(guarded))).toMatchObject({
      reason: '10.0.0.1 is private.',
      passing: false,
    });
  });
});
