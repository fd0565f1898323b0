import { describe, expect, it } from 'vitest';
import { plainDialect } from '../../../src/config/provider-dialect.ts';
import { askForConnectionToken, type ConnectionTokenRequest } from '../../../src/oauth/auth0-connection.ts';
import { startAuth0, type Auth0Options } from '../../support/auth0-server.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';

const google = { id: 'cac_google', connection: 'google-oauth2', scopes: ['calendar'], hint: 'work' };
const home = { id: 'cac_home', connection: 'google-oauth2', scopes: ['calendar'], hint: 'home' };
const at = Date.UTC(2027, 0, 1);

async function tenant(options: Auth0Options = { accounts: [google] }) {
  const auth0 = await startAuth0(options);
  const upstream = await testUpstreamClient();
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

/** Answers the next exchange like this, and says what came of it. */
async function refused(status: number, body: unknown, headers: Record<string, string> = {}) {
  const { auth0, request, io } = await tenant();
  auth0.refuse('exchange', { status, body, headers });
  return { outcome: await askForConnectionToken(request(), io), auth0 };
}

const code = (error: string) => ({ error, error_description: 'so it is' });

describe('the token of a connected account', () => {
  it('is asked for with the parameters of Token Vault, and no others', async () => {
    const { auth0, request, io } = await tenant();
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'refreshed',
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

  it('is that of the account which the login hint names', async () => {
    const { auth0, request, io } = await tenant({ accounts: [google, home] });
    for (const [loginHint, token] of [
      ['work', 'token-of-cac_google'],
      ['home', 'token-of-cac_home'],
    ] as const) {
      expect(await askForConnectionToken(request({ loginHint }), io)).toMatchObject({ accessToken: token });
    }
    expect(auth0.faults).toEqual([]);
  });

  it('is asked for by a client that authenticates with Basic, where it does', async () => {
    const { auth0, request, io } = await tenant({ accounts: [google], auth: 'basic' });
    expect(await askForConnectionToken(request(), io)).toMatchObject({ kind: 'refreshed' });
    expect(auth0.faults).toEqual([]);
  });

  it('never comes with a refresh token that a grant would keep', async () => {
    const { outcome } = await refused(200, {
      access_token: 'token',
      refresh_token: 'of the account itself'.replaceAll(' ', '-'),
      token_type: 'Bearer',
    });
    expect(outcome).toMatchObject({ kind: 'refreshed', refreshToken: null });
  });

  it('is not taken for one where it is a token of another type', async () => {
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
  ])('shows by HTTP %i %j', async (status, body) => {
    const { outcome } = await refused(status, body);
    expect(outcome.kind).toBe('account_gone');
  });

  it('shows by the answer of the tenant itself', async () => {
    const { auth0, request, io } = await tenant({ accounts: [] });
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'account_gone',
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
  ])('shows by HTTP %i %s', async (status, error) => {
    const { outcome } = await refused(status, code(error));
    expect(outcome).toEqual({ kind: 'login_ended', description: `${error}: so it is` });
  });

  it('shows by the answer of the tenant itself', async () => {
    const { auth0, request, io } = await tenant();
    auth0.endLogin();
    expect(await askForConnectionToken(request(), io)).toEqual({
      kind: 'login_ended',
      description: 'invalid_grant: Unknown or invalid refresh token.',
    });
  });
});

describe('any other failure', () => {
  it.each([
    [401, 'invalid_client'],
    [403, 'mfa_required'],
    [400, 'invalid_request'],
  ])('of HTTP %i %s stays until the setup changes, and ends no grant', async (status, error) => {
    const { outcome } = await refused(status, code(error));
    expect(outcome).toEqual({ kind: 'refused', error, description: 'so it is' });
  });

  it('that passes is said to', async () => {
    const { outcome } = await refused(429, code('too_many_requests'), { 'retry-after': '7' });
    expect(outcome).toMatchObject({ kind: 'transient', retryAfterMs: 7_000 });
    expect((await refused(503, '')).outcome).toMatchObject({ kind: 'transient' });
  });

  it('says nothing of the refresh token', async () => {
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
