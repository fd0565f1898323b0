import { describe, expect, test } from 'vitest';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import { registerClient, type Registration } from '../../../../src/grants/oauth/registration.ts';

function server(
  status: number,
  answer: unknown,
): { fetch: TokenFetch; asked: () => Record<string, unknown> } {
  let body: unknown;
  return {
    asked: () => JSON.parse(String(body)) as Record<string, unknown>,
    fetch: async (url, init) => {
      expect([url, init.method, init.redirect]).toEqual([
        'https://login.company.test/register',
        'POST',
        'manual',
      ]);
      body = init.body;
      return {
        status,
        headers: new Headers({ 'content-type': 'application/json' }),
        body: (async function* () {
          yield Buffer.from(JSON.stringify(answer));
        })(),
      };
    },
  };
}

const registration = (over: Partial<Registration> = {}): Registration => ({
  endpoint: 'https://login.company.test/register',
  redirectUris: ['http://127.0.0.1:4711/callback'],
  grantTypes: ['authorization_code', 'refresh_token'],
  authMethods: ['client_secret_basic', 'client_secret_post', 'none'],
  scopes: ['read'],
  ...over,
});

describe('a client registration', () => {
  test('is for a public client when the server accepts one', async () => {
    const { fetch, asked } = server(201, { client_id: 'abc' });
    expect(await registerClient(registration(), { fetch })).toEqual({
      clientId: 'abc',
      clientSecret: null,
      auth: 'none',
    });
    expect(asked()).toEqual({
      client_name: 'Sidekey',
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1:4711/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      scope: 'read',
    });
  });

  test.each([
    [['client_secret_post'], 'client_secret_post', 'post'],
    [['client_secret_basic', 'client_secret_post'], 'client_secret_basic', 'basic'],
    [['client_secret_post', 'client_secret_basic'], 'client_secret_post', 'post'],
    [[], 'client_secret_basic', 'basic'],
  ])('is for a client with a secret when the server accepts %j', async (authMethods, method, auth) => {
    const { fetch, asked } = server(201, {
      client_id: 'abc',
      client_secret: 's3cret',
      client_secret_expires_at: 0,
    });
    expect(await registerClient(registration({ authMethods }), { fetch })).toEqual({
      clientId: 'abc',
      clientSecret: 's3cret',
      auth,
    });
    expect(asked()['token_endpoint_auth_method']).toBe(method);
  });

  test('uses the client authentication of the response', async () => {
    const { fetch } = server(201, {
      client_id: 'abc',
      client_secret: 's3cret',
      client_secret_expires_at: 0,
      token_endpoint_auth_method: 'client_secret_post',
    });
    expect(await registerClient(registration(), { fetch })).toMatchObject({
      clientSecret: 's3cret',
      auth: 'post',
    });
  });
});

describe('a registration response without a usable client is refused:', () => {
  test.each([
    [
      'an error',
      400,
      { error: 'invalid_redirect_uri', error_description: 'only https' },
      /invalid_redirect_uri: only https/,
    ],
    ['an error without a description', 403, {}, /HTTP 403/],
    ['an empty object', 201, {}, /HTTP 201/],
    ['a client id with a line break', 201, { client_id: 'a\r\nb' }, /not printable/],
    [
      'a missing client secret',
      201,
      { client_id: 'a', token_endpoint_auth_method: 'client_secret_basic' },
      /no client secret/,
    ],
    [
      'another client authentication',
      201,
      { client_id: 'a', token_endpoint_auth_method: 'tls_client_auth' },
      /Sidekey has not/,
    ],
  ])('%s', async (_, status, answer, message) => {
    await expect(registerClient(registration(), server(status, answer))).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringMatching(message),
      hint: expect.stringContaining('--client-id'),
    });
  });
});
