import { generateKeyPairSync } from 'node:crypto';
import { jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import type { TokenResponseDialect, Dialect } from '../../../../src/domain/provider.ts';
import type { TokenAnswer } from '../../../../src/grants/oauth/answer.ts';
import {
  askTokenEndpoint,
  type TokenClient,
  type TokenQuestion,
} from '../../../../src/grants/oauth/token-endpoint.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const tokens = { access_token: 'the-access-token', token_type: 'Bearer', expires_in: 3600 };
const client: TokenClient = { clientId: 'the-client', clientSecret: 'client-secret', auth: 'post' };

/** A change of the response dialect over that of a provider that conforms to the RFCs. */
type Change = Partial<Omit<Dialect, 'answer'>> & { readonly answer?: Partial<TokenResponseDialect> };

function dialect({ answer, ...change }: Change = {}): Dialect {
  return { ...plainDialect, ...change, tokenResponse: { ...plainDialect.tokenResponse, ...answer } };
}

function question(change: Change = {}, over: Partial<TokenQuestion> = {}): TokenQuestion {
  return {
    endpoint: 'https://acme.test/token',
    client,
    dialect: dialect(change),
    grantType: 'some_grant',
    parameters: { thing: 'the thing' },
    secrets: ['the-secret-thing'],
    ...over,
  };
}

async function sent(change: Change, over: Partial<TokenQuestion> = {}) {
  const { fetch, asked, bodies } = fakeEndpoint(() => Response.json(tokens));
  const answer = await askTokenEndpoint(question(change, over), { fetch, now: () => now });
  return {
    answer,
    headers: asked[0]?.headers ?? {},
    form: asked[0]?.form ?? {},
    body: bodies[0] ?? '',
    asked,
  };
}

function read(body: unknown, change: Change = {}, status = 200): Promise<TokenAnswer> {
  const response =
    typeof body === 'string' ? new Response(body, { status }) : Response.json(body, { status });
  return askTokenEndpoint(question(change), { fetch: fakeEndpoint(response).fetch, now: () => now });
}

describe('a token request', () => {
  test('is a form that accepts JSON', async () => {
    const { headers, form, asked } = await sent({});
    expect(asked).toMatchObject([{ url: 'https://acme.test/token', method: 'POST', redirect: 'manual' }]);
    expect(headers).toEqual({
      accept: 'application/json',
      'accept-encoding': 'identity',
      'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
      'user-agent': expect.any(String),
    });
    expect(form).toEqual({
      grant_type: 'some_grant',
      thing: 'the thing',
      client_id: 'the-client',
      client_secret: 'client-secret',
    });
  });

  test('is a JSON object for a provider that requires it', async () => {
    const { headers, body } = await sent(
      { tokenBody: 'json' },
      { client: { ...client, auth: 'basic' }, parameters: { code: 'ä"\\' } },
    );
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      accept: 'application/json',
      authorization: `Basic ${btoa('the-client:client-secret')}`,
    });
    expect(JSON.parse(body)).toEqual({ grant_type: 'some_grant', code: 'ä"\\' });
    const post = await sent({ tokenBody: 'json' });
    expect(JSON.parse(post.body)).toMatchObject({ client_id: 'the-client', client_secret: 'client-secret' });
  });

  test('has the configured parameters, which cannot replace the parameters of the flow', async () => {
    const { headers, form } = await sent({
      tokenHeaders: { 'User-Agent': 'sidekey/1', Accept: 'text/plain' },
      tokenParameters: { thing: 'other', audience: 'api', grant_type: 'other', client_id: 'other' },
    });
    expect(headers).toMatchObject({ 'user-agent': 'sidekey/1', accept: 'application/json' });
    expect(form).toEqual({
      audience: 'api',
      thing: 'the thing',
      grant_type: 'some_grant',
      client_id: 'the-client',
      client_secret: 'client-secret',
    });
  });

  test('names the client with the parameter of the provider', async () => {
    const { form } = await sent({ clientIdParameter: 'client_key' });
    expect(form).toMatchObject({ client_key: 'the-client', client_secret: 'client-secret' });
    expect(form).not.toHaveProperty('client_id');
  });

  test('names no client when none is configured', async () => {
    const { form, headers } = await sent({}, { client: null });
    expect(form).toEqual({ grant_type: 'some_grant', thing: 'the thing' });
    expect(headers).not.toHaveProperty('authorization');
  });

  test.each([
    ['a header with a line break', { 'X-Name': 'a\nb' }],
    ['a header of the client authentication', { Authorization: 'other' }],
  ])('with %s is not sent', async (_, tokenHeaders) => {
    const { answer, asked } = await sent({ tokenHeaders });
    expect(answer).toMatchObject({ kind: 'error', error: 'request_invalid' });
    expect(asked).toEqual([]);
  });
});

describe('a client that signs (RFC 7523 §2.2)', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = (key: typeof ec.privateKey, type: 'pkcs8' | 'pkcs1' | 'sec1'): string =>
    key.export({ format: 'pem', type });

  test.each([
    ['PKCS#8', pem(ec.privateKey, 'pkcs8'), 'ES256', ec.publicKey, undefined],
    ['SEC 1', pem(ec.privateKey, 'sec1'), 'ES256', ec.publicKey, undefined],
    ['PKCS#1', pem(rsa.privateKey, 'pkcs1'), 'RS256', rsa.publicKey, undefined],
    [
      'JWK',
      JSON.stringify({ ...rsa.privateKey.export({ format: 'jwk' }), kid: 'key-1', alg: 'PS256' }),
      'PS256',
      rsa.publicKey,
      'key-1',
    ],
  ])('is read with a key as %s', async (_, clientSecret, alg, publicKey, kid) => {
    const { form, headers } = await sent(
      {},
      { client: { ...client, clientSecret, auth: 'private_key_jwt' } },
    );
    expect(headers).not.toHaveProperty('authorization');
    expect(form).toMatchObject({
      client_id: 'the-client',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    });
    const { payload, protectedHeader } = await jwtVerify(form['client_assertion'] ?? '', publicKey, {
      currentDate: new Date(now),
      audience: 'https://acme.test/token',
      issuer: 'the-client',
      subject: 'the-client',
      requiredClaims: ['jti', 'iat'],
    });
    expect(protectedHeader).toEqual({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) });
    expect(payload).toMatchObject({ iat: now / 1000, exp: now / 1000 + 60 });
  });

  test('signs a new assertion each time', async () => {
    const signing: TokenClient = {
      ...client,
      clientSecret: pem(ec.privateKey, 'pkcs8'),
      auth: 'private_key_jwt',
    };
    const [one, two] = [await sent({}, { client: signing }), await sent({}, { client: signing })];
    expect(one.form['client_assertion']).not.toBe(two.form['client_assertion']);
  });

  test.each([
    [null, 'secret_missing'],
    ['no-key-but-a-secret', 'input_invalid'],
    [pem(rsa.privateKey, 'pkcs8').slice(0, 600), 'input_invalid'],
  ])('is refused with the problem of its key, without the key: %#', async (clientSecret, error) => {
    const { answer, asked } = await sent(
      {},
      { client: { ...client, clientSecret, auth: 'private_key_jwt' } },
    );
    expect(answer).toMatchObject({ kind: 'error', error, description: expect.stringContaining('key') });
    expect(asked).toEqual([]);
    if (clientSecret !== null) expect(JSON.stringify(answer)).not.toContain(clientSecret.slice(-40));
  });

  test('has its assertion redacted from the messages of the provider', async () => {
    const { fetch, asked } = fakeEndpoint(() => {
      const assertion = asked[0]?.form['client_assertion'] ?? '';
      return Response.json(
        { error: 'invalid_client', error_description: `bad ${assertion}` },
        { status: 401 },
      );
    });
    const signing: TokenClient = {
      ...client,
      clientSecret: pem(ec.privateKey, 'pkcs8'),
      auth: 'private_key_jwt',
    };
    const answer = await askTokenEndpoint(question({}, { client: signing }), { fetch, now: () => now });
    expect(answer).toEqual({ kind: 'error', error: 'invalid_client', description: 'bad [redacted]' });
  });
});

describe('a token response', () => {
  test('that conforms to the RFCs is read', async () => {
    expect(await read({ ...tokens, refresh_token: 'next', scope: 'a b' })).toEqual({
      kind: 'tokens',
      accessToken: 'the-access-token',
      refreshToken: 'next',
      expiresAt: now + 3_600_000,
      obtainedAt: now,
      scopes: ['a', 'b'],
      scope: 'a b',
      details: {},
      issuedTokenType: null,
    });
    expect(await read({ ...tokens, issued_token_type: 'urn:x:y' })).toMatchObject({
      issuedTokenType: 'urn:x:y',
    });
  });

  test('as a form is read, as GitHub sends it without Accept', async () => {
    expect(
      await read('access_token=gho_a%2Bb&scope=repo%2Cgist&token_type=bearer\n', { scopeSeparator: ',' }),
    ).toMatchObject({
      kind: 'tokens',
      accessToken: 'gho_a+b',
      scopes: ['repo', 'gist'],
      scope: 'repo gist',
      expiresAt: null,
    });
    expect(await read('error=bad_verification_code&error_description=The+code+is+old.')).toEqual({
      kind: 'error',
      error: 'bad_verification_code',
      description: 'The code is old.',
    });
  });

  test('that is an HTML page with a link is not read as a form', async () => {
    const page = '<a href="/login?a=1&error=invalid_grant&b=2">Sign in</a>';
    expect(await read(page, {}, 400)).toMatchObject({ kind: 'later' });
  });

  test('that is an HTML page with an error in a script is not read as the object of the error', async () => {
    const page = '<script>last = {"error":"invalid_grant"}</script>';
    expect(await read(page, {}, 400)).toMatchObject({ kind: 'later' });
  });

  const slack = { root: 'authed_user', okField: 'ok', tokenTypes: ['user', 'bot'] };
  const slackAnswer = {
    ok: true,
    access_token: 'xoxb-bot',
    token_type: 'bot',
    scope: 'chat:write',
    expires_in: 43_200,
    refresh_token: 'xoxe-bot',
    team: { id: 'T1', name: 'Acme\nInc' },
  };

  test('with nested tokens is read, as Slack sends the tokens of a user', async () => {
    const authed_user = { id: 'U1', access_token: 'xoxp-user', token_type: 'user', scope: 'a:read,b:read' };
    const answer = await read(
      { ...slackAnswer, authed_user },
      {
        scopeSeparator: ',',
        answer: slack,
        accountFields: ['team.id', 'team.name', 'authed_user.id', 'none.here'],
      },
    );
    expect(answer).toMatchObject({
      accessToken: 'xoxp-user',
      // Members of the bot token are not mixed into the user token.
      refreshToken: null,
      expiresAt: null,
      scopes: ['a:read', 'b:read'],
      details: { 'team.id': 'T1', 'team.name': 'Acme Inc', 'authed_user.id': 'U1' },
    });
    expect(answer).toHaveProperty('details', {
      'team.id': 'T1',
      'team.name': 'Acme Inc',
      'authed_user.id': 'U1',
    });
  });

  test('without the nested object is read at the top level', async () => {
    for (const authed_user of [{ id: 'U1' }, null, 'U1', undefined]) {
      expect(await read({ ...slackAnswer, authed_user }, { answer: slack })).toMatchObject({
        accessToken: 'xoxb-bot',
        refreshToken: 'xoxe-bot',
        expiresAt: now + 43_200_000,
      });
    }
  });

  test('with ok: false is an error, regardless of its status and other members', async () => {
    expect(await read({ ok: false, error: 'invalid_code' }, { answer: slack })).toEqual({
      kind: 'error',
      error: 'invalid_code',
      description: '',
    });
    expect(await read({ ...tokens, ok: false }, { answer: slack })).toMatchObject({ error: 'unnamed_error' });
    // Only for a provider whose definition says so.
    expect(await read({ ...tokens, ok: false })).toMatchObject({ kind: 'tokens' });
  });

  test('is read with other member names', async () => {
    const names = {
      root: 'data.auth',
      error: 'status.code',
      accessToken: 'token',
      refreshToken: 'renew.token',
      expiresIn: 'lives',
      scope: 'rights',
    };
    const auth = { token: 'a', renew: { token: 'r' }, lives: '7200', rights: ['x', 'y', 'x'] };
    expect(await read({ data: { auth } }, { answer: names })).toMatchObject({
      accessToken: 'a',
      refreshToken: 'r',
      expiresAt: now + 7_200_000,
      scopes: ['x', 'y'],
    });
    expect(
      await read({ status: { code: 4003, message: 'the-secret-thing is\nwrong' } }, { answer: names }),
    ).toEqual({ kind: 'error', error: '4003', description: '[redacted] is wrong' });
    // A response that conforms to the RFC is read too.
    expect(await read({ error: 'invalid_grant' }, { answer: names }, 400)).toMatchObject({
      error: 'invalid_grant',
    });
  });

  test('with status 404 and no code of OAuth names the status', async () => {
    expect(await read({ error: 'Not Found' }, {}, 404)).toMatchObject({
      kind: 'later',
      reason: 'the token endpoint answered HTTP 404 without an OAuth error',
      isForeign: true,
    });
    expect(await read({ error: 'invalid_grant' }, {}, 404)).toMatchObject({ error: 'invalid_grant' });
  });

  test('with an error object is an error with the members of the object', async () => {
    const error = { message: 'This code has been used.', type: 'OAuthException', code: 100 };
    expect(await read({ error }, {}, 400)).toMatchObject({
      kind: 'later',
      reason: 'the token endpoint answered HTTP 400 without an OAuth error: This code has been used.',
      retryAfterMs: null,
    });
    expect(await read({ error }, { answer: { error: 'error.type' } }, 400)).toEqual({
      kind: 'error',
      error: 'OAuthException',
      description: 'This code has been used.',
    });
  });

  test('with tokens and an error text counts as a response with tokens', async () => {
    for (const error of ['', 'none', 0]) {
      expect(await read({ ...tokens, error })).toMatchObject({ kind: 'tokens' });
    }
  });

  test('is read without inherited members of objects', async () => {
    expect(await read(tokens, { answer: { root: 'constructor', error: '__proto__.name' } })).toMatchObject({
      accessToken: 'the-access-token',
    });
    expect(await read(tokens, { accountFields: ['constructor.name', 'access_token.length'] })).toMatchObject({
      details: {},
    });
  });

  test.each(['3600.5', '3600', 3600])('is read with the lifetime %j', async (expires_in) => {
    expect(await read({ ...tokens, expires_in })).toMatchObject({
      expiresAt: now + Number(expires_in) * 1000,
    });
  });

  test.each([undefined, true, ['3600'], '1h', '0x10', '-1'])(
    'with the lifetime %j has no expiry',
    async (expires_in) => {
      expect(await read({ ...tokens, expires_in })).toMatchObject({ kind: 'tokens', expiresAt: null });
    },
  );

  test.each([
    ['2027-01-31T00:00:00Z', Date.UTC(2027, 0, 31)],
    [Date.UTC(2027, 0, 31) / 1000, Date.UTC(2027, 0, 31)],
    ['1999-01-31T00:00:00Z', null],
    ['soon', null],
    [undefined, null],
  ])('is read with the expiry %j', async (ends, expiresAt) => {
    expect(
      await read({ access_token: 'a', ends_at: ends }, { answer: { expiresAt: 'ends_at' } }),
    ).toMatchObject({
      expiresAt,
    });
  });

  test('is read with another scope separator than the request', async () => {
    expect(await read({ ...tokens, scope: 'repo,gist' }, { answer: { scopeSeparator: ',' } })).toMatchObject({
      scopes: ['repo', 'gist'],
    });
  });

  test.each(['user', 'USER', 'bearer', 'Bearer', '', null])('of type %j is a bearer token', async (type) => {
    expect(await read({ ...tokens, token_type: type }, { answer: { tokenTypes: ['User'] } })).toMatchObject({
      kind: 'tokens',
    });
  });

  test.each(['user', 'mac', 'DPoP', 'N_A', 7, {}])('of type %j is refused', async (type) => {
    expect(await read({ ...tokens, token_type: type }, { answer: { tokenTypes: ['bot'] } })).toMatchObject({
      kind: 'error',
      error: 'unsupported_token_type',
    });
  });

  test('has no secret in its details', async () => {
    const answer = await read(
      {
        ...tokens,
        refresh_token: 'the-next-one',
        a: 'the-access-token',
        b: 'x the-next-one',
        c: 'client-secret',
        d: 'the-secret-thing',
        e: { f: 1 },
        g: 7,
        h: false,
        i: '',
        j: 'x'.repeat(400),
      },
      { accountFields: ['a', 'b', 'c', 'd', 'e', 'g', 'h', 'i', 'j'] },
    );
    expect(answer).toHaveProperty('details', { g: '7', h: 'false', j: `${'x'.repeat(299)}…` });
  });

  test('to a device request returns the errors of the device flow', async () => {
    for (const error of ['authorization_pending', 'slow_down', 'expired_token']) {
      expect(await read({ error }, {}, 400)).toEqual({ kind: 'error', error, description: '' });
    }
  });
});
