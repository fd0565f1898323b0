import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { requestJwtBearer, type JwtBearerRequest } from '../../../../src/grants/oauth/assertions.ts';
import { fakeEndpoint } from './fake-endpoint.ts';
import { aKey, verified } from '../keys-for-test.ts';

const now = Date.UTC(2027, 0, 1) + 999;
const seconds = Math.floor(now / 1000);
const key = aKey('RS256', 'key-1');
const request: JwtBearerRequest = {
  endpoint: 'https://acme.test/token',
  client: null,
  dialect: plainDialect,
  key,
  issuer: 'robot@acme.test',
  subject: 'alice@acme.test',
  audience: 'https://acme.test/token',
  scope: 'read write',
  parameters: {},
};

async function ask(changes: Partial<JwtBearerRequest> = {}) {
  const { fetch, asked } = fakeEndpoint(() => Response.json({ access_token: 'token', expires_in: 60 }));
  const answer = await requestJwtBearer({ ...request, ...changes }, { fetch, now: () => now });
  return { answer, form: asked[0]?.form ?? {}, headers: asked[0]?.headers ?? {}, asked };
}

describe('the assertion', () => {
  test('conforms to RFC 7523 §3, is signed, and is valid for three minutes', async () => {
    const { answer, form } = await ask();
    expect(answer).toMatchObject({ kind: 'tokens', accessToken: 'token', expiresAt: now + 60_000 });
    const { payload, header } = await verified(form['assertion'], key, now);
    expect(header).toEqual({ alg: 'RS256', typ: 'JWT', kid: 'key-1' });
    expect(payload).toEqual({
      iss: 'robot@acme.test',
      sub: 'alice@acme.test',
      aud: 'https://acme.test/token',
      scope: 'read write',
      iat: seconds,
      exp: seconds + 180,
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
  });

  test('is different each time', async () => {
    const [first, second] = [await ask(), await ask()];
    const jtis = await Promise.all(
      [first, second].map(async ({ form }) => (await verified(form['assertion'], key, now)).payload.jti),
    );
    expect(new Set(jtis).size).toBe(2);
  });

  test.each(['ES256', 'EdDSA'] as const)('is signed with %s for a key of that kind', async (algorithm) => {
    const other = aKey(algorithm);
    const { form } = await ask({ key: other });
    expect(await verified(form['assertion'], other, now)).toMatchObject({ header: { alg: algorithm } });
  });

  test('has no scope and no key id if none is configured', async () => {
    const { form } = await ask({ scope: null, key: { ...key, keyId: null } });
    const { payload, header } = await verified(form['assertion'], key, now);
    expect(payload).not.toHaveProperty('scope');
    expect(header).not.toHaveProperty('kid');
    expect(form).not.toHaveProperty('scope');
  });
});

test('the request conforms to RFC 7523 §2.1, without a client by default', async () => {
  const { form, headers } = await ask({ parameters: { resource: 'https://api.acme.test' } });
  expect(form).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: expect.stringContaining('.'),
    scope: 'read write',
    resource: 'https://api.acme.test',
  });
  expect(headers).not.toHaveProperty('authorization');
});

test('a configured client authenticates', async () => {
  const { form } = await ask({ client: { clientId: 'robot', clientSecret: 's3cret', auth: 'post' } });
  expect(form).toMatchObject({ client_id: 'robot', client_secret: 's3cret' });
});

test.each([
  ['is invalid', { ...key, privateKey: 'not a key that anyone could read' }],
  ['does not support the algorithm', { ...key, algorithm: 'ES256' }],
])(
  'a key that %s is refused without its content in the message, and without a request',
  async (_what, broken) => {
    const { answer, asked } = await ask({ key: broken });
    expect(answer).toMatchObject({ kind: 'error', error: 'key_invalid' });
    expect(JSON.stringify(answer)).not.toContain('anyone');
    expect(asked).toEqual([]);
  },
);

test('a refusal that repeats the assertion is reported without it', async () => {
  const answer = await requestJwtBearer(request, {
    fetch: async (_url, { body }) => {
      const assertion = new URLSearchParams(typeof body === 'string' ? body : '').get('assertion') ?? '';
      return Response.json(
        { error: 'invalid_grant', error_description: `no: ${assertion}` },
        { status: 400 },
      );
    },
    now: () => now,
  });
  expect(answer).toEqual({
    kind: 'error',
    error: 'invalid_grant',
    description: expect.stringMatching(/^no: (\[redacted\])+\S{0,8}$/),
  });
});
