import { describe, expect, it } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import {
  askForConnectionToken,
  type ConnectionTokenRequest,
} from '../../../../src/grants/oauth/auth0-connection.ts';
import { startAuth0, type Auth0Options } from '../../../support/auth0-server.ts';
import { testUpstreamClient } from '../../../support/upstream-fetch.ts';

const google = { id: 'cac_google', connection: 'google-oauth2', scopes: ['calendar'], hint: 'work' };
const home = { id: 'cac_home', connection: 'google-oauth2', scopes: ['calendar'], hint: 'home' };
const at = Date.UTC(2027, 0, 1);

async function tenant(options: Auth0Options = { accounts: [google] }) {
  const auth0 = await startAuth0(options);
  const upstream = testUpstreamClient();
  const request = (over: Partial<ConnectionTokenRequest> = {}): ConnectionTokenRequest => ({
    endpoint: auth0.tokenEndpoint,
    client: { ...auth0.client, auth: options.auth ?? 'post' },
    dialect: plainDialect,
    refreshToken: auth0.refreshToken(),
    connection: 'google-oauth2',
    loginHint: null,
    ...over,
  });
  return { auth0, request, io: { fetch: upstream.fetch, now: () => at } };
}

/** The outcome of an exchange with this response. */
async function refused(status: number, body: unknown, headers: Record<string, string> = {}) {
  const { auth0, request, io } = await tenant();
  auth0.refuse('exchange', { status, body, headers });
  return { outcome: await askForConnectionToken(request(), io), auth0 };
}

const code = (error: string) => ({ error, error_description: 'so it is' });

describe('the token of a connected account', () => {
  it('is requested with exactly the parameters of Token Vault', async () => {
    const { auth0, request, io } = await tenant();
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'renewed',
      accessToken: 'token-of-cac_google',
      refreshToken: null,
      expiresAt: at + 1_377_000,
      obtainedAt: at,
      scope: 'calendar',
    });
    expect(auth0.faults).toEqual([]);
    expect(auth0.bodies).toEqual([
      {
        grant_type: 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token',
        client_id: auth0.client.clientId,
        client_secret: auth0.client.clientSecret,
        subject_token: 'auth0-refresh-1',
        subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
        requested_token_type: 'http://auth0.com/oauth/token-type/federated-connection-access-token',
        connection: 'google-oauth2',
      },
    ]);
  });

  it('is requested for the account in login_hint', async () => {
    const { auth0, request, io } = await tenant({ accounts: [google, home] });
    for (const [loginHint, token] of [
      ['work', 'token-of-cac_google'],
      ['home', 'token-of-cac_home'],
    ] as const) {
      expect(await askForConnectionToken(request({ loginHint }), io)).toMatchObject({ accessToken: token });
    }
    expect(auth0.faults).toEqual([]);
  });

  it('is requested with Basic authentication when the client uses it', async () => {
    const { auth0, request, io } = await tenant({ accounts: [google], auth: 'basic' });
    expect(await askForConnectionToken(request(), io)).toMatchObject({ kind: 'renewed' });
    expect(auth0.faults).toEqual([]);
  });

  it('never has a refresh token for the grant', async () => {
    const { outcome } = await refused(200, {
      access_token: 'token',
      refresh_token: 'of the account itself'.replaceAll(' ', '-'),
      token_type: 'Bearer',
    });
    expect(outcome).toMatchObject({ kind: 'renewed', refreshToken: null });
  });

  it('is refused when its token type differs', async () => {
    const { outcome } = await refused(200, {
      access_token: 'an-auth0-access-token',
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'Bearer',
    });
    expect(outcome).toMatchObject({ kind: 'refused', error: 'unexpected_token_type' });
  });
});

describe('an account that is not connected', () => {
  it.each([
    [401, code('unauthorized_client')],
    [403, code('unauthorized_client')],
    [403, code('access_denied')],
    [400, code('federated_connection_refresh_token_flow_failed')],
    [401, code('federated_connection_refresh_token_not_found')],
    [401, { statusCode: 401, message: 'not found' }],
    [401, 'Unauthorized'],
  ])('is recognized by HTTP %i %j', async (status, body) => {
    const { outcome } = await refused(status, body);
    expect(outcome).toMatchObject({ kind: 'refused', ends: 'grant' });
  });

  it('is recognized by the response of the tenant', async () => {
    const { auth0, request, io } = await tenant({ accounts: [] });
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'refused',
      ends: 'grant',
      description: 'access_denied: No connected account was found.',
    });
    expect(auth0.faults).toEqual([]);
  });
});

describe('a login that has ended', () => {
  it.each([
    [403, 'invalid_grant'],
    [401, 'invalid_grant'],
    [400, 'expired_token'],
    [401, 'expired_token'],
    [400, 'login_required'],
    [403, 'consent_required'],
    [403, 'interaction_required'],
  ])('is recognized by HTTP %i %s', async (status, error) => {
    const { outcome } = await refused(status, code(error));
    expect(outcome).toEqual({ kind: 'refused', ends: 'login', description: `${error}: so it is` });
  });

  it('is recognized by the response of the tenant', async () => {
    const { auth0, request, io } = await tenant();
    auth0.endLogin();
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'refused',
      ends: 'login',
      description: 'invalid_grant: Unknown or invalid refresh token.',
    });
  });
});

describe('any other failure', () => {
  it.each([
    [401, 'invalid_client'],
    [403, 'mfa_required'],
    [400, 'invalid_request'],
  ])('with HTTP %i %s is a config error, and changes no grant state', async (status, error) => {
    const { outcome } = await refused(status, code(error));
    expect(outcome).toEqual({ kind: 'refused', error, description: 'so it is' });
  });

  it('that may be temporary is transient', async () => {
    const { outcome } = await refused(429, code('too_many_requests'), { 'retry-after': '7' });
    expect(outcome).toMatchObject({ kind: 'later', retryAfterMs: 7_000 });
    expect((await refused(503, '')).outcome).toMatchObject({ kind: 'later' });
  });

  it('is reported without the refresh token', async () => {
    const { auth0, request, io } = await tenant();
    const refreshToken = 'a-refresh-token-that-is-secret';
    auth0.refuse('exchange', {
      status: 403,
      body: { error: 'invalid_grant', error_description: `no ${refreshToken}` },
    });
    const outcome = await askForConnectionToken(request({ refreshToken }), io);
    expect(JSON.stringify(outcome)).not.toContain(refreshToken);
  });
});
