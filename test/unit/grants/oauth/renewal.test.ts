import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { renew, type RenewalRequest } from '../../../../src/grants/oauth/renewal.ts';
import { fakeEndpoint } from './fake-endpoint.ts';
import { aKey } from '../keys-for-test.ts';

const now = Date.UTC(2027, 0, 1);
const side = {
  endpoint: 'https://acme.test/token',
  client: { clientId: 'sidekey', clientSecret: 's3cret', auth: 'basic' },
  dialect: plainDialect,
} as const;
const key = aKey('ES256');
const exchange = {
  ...side,
  kind: 'token_exchange',
  isKept: true,
  subjectToken: 'the-subject',
  subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
  actorToken: null,
  actorTokenType: null,
  requestedTokenType: null,
  scope: null,
  parameters: {},
} as const;
const login = {
  ...side,
  kind: 'auth0_connection',
  refreshToken: 'of the login',
  connection: 'c',
  loginHint: null,
} as const;
const requests: Readonly<Record<string, RenewalRequest>> = {
  refresh_token: { ...side, kind: 'refresh_token', refreshToken: 'refresh', scopes: [] },
  client_credentials: { ...side, kind: 'client_credentials', scope: null, parameters: {} },
  jwt_bearer: {
    ...side,
    kind: 'jwt_bearer',
    key,
    issuer: 'i',
    subject: 's',
    audience: 'a',
    scope: null,
    parameters: {},
  },
  'token_exchange, kept': exchange,
  'token_exchange, read anew': { ...exchange, isKept: false },
  auth0_connection: login,
  github_installation: {
    kind: 'github_installation',
    endpoint: side.endpoint,
    key,
    appId: '1',
    installationId: '2',
  },
};
const all = Object.entries(requests);

const ask = (request: RenewalRequest, body: object, status = 200) =>
  renew(request, { fetch: fakeEndpoint(() => Response.json(body, { status })).fetch, now: () => now });

describe('a new token', () => {
  test.each(all)('is read from the response of %s', async (name, request) => {
    const outcome = await ask(request, {
      access_token: 'token',
      token: 'token',
      expires_in: 60,
      expires_at: new Date(now + 60_000).toISOString(),
      refresh_token: 'another',
    });
    expect(outcome).toMatchObject({ kind: 'renewed', accessToken: 'token', expiresAt: now + 60_000 });
    // Only a refresh token is replaced by the one in the response.
    expect(outcome).toMatchObject({ refreshToken: name === 'refresh_token' ? 'another' : null });
  });
});

test.each(['refresh_token', 'client_credentials', 'jwt_bearer', 'token_exchange, kept'])(
  'only a refresh passes on the refresh token of a response that cannot be used: %s',
  async (name) => {
    const answer = { access_token: 'token', token_type: 'mac', refresh_token: 'another' };
    expect(await ask(requests[name]!, answer)).toMatchObject({
      kind: 'refused',
      unusable: { tokenType: 'mac', refreshToken: name === 'refresh_token' ? 'another' : null },
    });
  },
);

describe('invalid_grant', () => {
  test.each([
    ['refresh_token', 'grant'],
    ['client_credentials', 'nothing'],
    ['jwt_bearer', 'nothing'],
    ['token_exchange, kept', 'grant'],
    ['token_exchange, read anew', 'nothing'],
    ['auth0_connection', 'login'],
  ] as const)('of %s ends %s', async (name, ends) => {
    const outcome = await ask(requests[name]!, { error: 'invalid_grant', error_description: 'no' }, 400);
    expect(outcome).toMatchObject({ kind: 'refused', description: expect.stringContaining('no') });
    expect(outcome).toMatchObject(ends === 'nothing' ? { error: 'invalid_grant' } : { ends });
    expect('ends' in outcome).toBe(ends !== 'nothing');
  });

  test('is reported for an account that is no longer connected', async () => {
    expect(await ask(login, { error: 'access_denied' }, 403)).toMatchObject({
      kind: 'refused',
      ends: 'grant',
    });
  });
});

test.each(all)('a provider failure that may be temporary is transient: %s', async (_name, request) => {
  expect(await ask(request, {}, 503)).toMatchObject({ kind: 'later' });
});
