import { describe, expect, it } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { askForAccountToken } from '../../../../src/grants/oauth/auth0.ts';
import { startAuth0, type Auth0Options } from '../../../support/auth0-server.ts';
import { testUpstreamClient } from '../../../support/upstream-fetch.ts';

async function tenant(options: Auth0Options = {}) {
  const auth0 = await startAuth0(options);
  const { fetch } = testUpstreamClient();
  const ask = (refreshToken = auth0.refreshToken()) =>
    askForAccountToken(
      {
        endpoint: auth0.tokenEndpoint,
        client: { ...auth0.client, auth: 'post' },
        dialect: plainDialect,
        refreshToken,
      },
      { fetch, now: () => 0 },
    );
  return { auth0, ask };
}

describe('a token of the My Account API', () => {
  it('is requested with the audience of the domain and the three scopes', async () => {
    const { auth0, ask } = await tenant();
    expect(await ask()).toEqual({
      kind: 'token',
      accessToken: expect.stringMatching(/^my-account-/),
      refreshToken: null,
      missingScopes: [],
    });
    expect(auth0.faults).toEqual([]);
    expect(auth0.bodies).toEqual([
      {
        grant_type: 'refresh_token',
        client_id: auth0.client.clientId,
        client_secret: auth0.client.clientSecret,
        refresh_token: 'auth0-refresh-1',
        audience: `${auth0.url}/me/`,
        scope: 'create:me:connected_accounts read:me:connected_accounts delete:me:connected_accounts',
      },
    ]);
  });

  it('is returned with the rotated refresh token, even when the token is unusable', async () => {
    const { ask } = await tenant({ rotates: true, allowed: ['read:me:connected_accounts'] });
    expect(await ask()).toMatchObject({
      refreshToken: 'auth0-refresh-2',
      missingScopes: ['create:me:connected_accounts', 'delete:me:connected_accounts'],
    });
  });

  it('has the requested scopes if the response names no scopes', async () => {
    const { auth0, ask } = await tenant();
    auth0.refuse('account_token', { status: 200, body: { access_token: 'token', token_type: 'Bearer' } });
    expect(await ask()).toMatchObject({ kind: 'token', missingScopes: [] });
  });

  it('is refused when the login has ended', async () => {
    const { auth0, ask } = await tenant();
    auth0.endLogin();
    expect(await ask()).toEqual({
      kind: 'refused',
      ends: 'login',
      description: 'invalid_grant: Unknown or invalid refresh token.',
    });
  });

  it.each([
    [403, { error: 'access_denied', error_description: 'no' }, { kind: 'refused', error: 'access_denied' }],
    [401, { error: 'invalid_client' }, { kind: 'refused', error: 'invalid_client', description: '' }],
    [503, {}, { kind: 'later' }],
  ])('is refused by HTTP %i %j', async (status, body, outcome) => {
    const { auth0, ask } = await tenant();
    auth0.refuse('account_token', { status, body });
    expect(await ask()).toMatchObject(outcome);
  });
});
