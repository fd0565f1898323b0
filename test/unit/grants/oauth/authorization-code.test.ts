import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import {
  authorizationUrl,
  exchangeCode,
  parseCallback,
} from '../../../../src/grants/oauth/authorization-code.ts';
import { hintOfText } from '../../../support/hint.ts';
import { acme } from '../processes.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const redirectUri = 'http://127.0.0.1:8378/callback';
const tokens = { access_token: 'access', token_type: 'Bearer', expires_in: 3600, refresh_token: 'refresh' };

async function flow(query: Record<string, string>, answer = Response.json(tokens), provider = acme) {
  const { state, codeVerifier } = await authorizationUrl({ provider, redirectUri, scopes: ['read'] });
  const endpoint = fakeEndpoint(answer);
  const callback = new URL(redirectUri);
  for (const [name, value] of Object.entries({ code: 'the-code', state, ...query })) {
    callback.searchParams.set(name, value);
  }
  const exchanged = exchangeCode({
    provider,
    callback: parseCallback(callback.href),
    state,
    codeVerifier,
    redirectUri,
    scopes: ['read'],
    fetch: endpoint.fetch,
    now: () => now,
  });
  return { exchanged, asked: endpoint.asked, bodies: endpoint.bodies, codeVerifier };
}

describe('the authorization URL', () => {
  test('has PKCE and state, new each time', async () => {
    const provider = { ...acme, authorizationEndpoint: 'https://acme.test/authorize?tenant=1' };
    const one = await authorizationUrl({ provider, redirectUri, scopes: ['a', 'b'] });
    const two = await authorizationUrl({ provider, redirectUri, scopes: [] });
    const url = new URL(one.url);
    expect(url.origin + url.pathname).toBe('https://acme.test/authorize');
    expect(Object.fromEntries(url.searchParams)).toEqual({
      tenant: '1',
      response_type: 'code',
      client_id: 'sidekey',
      redirect_uri: redirectUri,
      scope: 'a b',
      state: one.state,
      code_challenge: createHash('sha256')
        .update(one.codeVerifier ?? '')
        .digest('base64url'),
      code_challenge_method: 'S256',
    });
    expect(new URL(two.url).searchParams.has('scope')).toBe(false);
    expect(one.state).not.toBe(two.state);
    expect(one.codeVerifier).not.toBe(two.codeVerifier);
    expect(one.url).not.toContain(one.codeVerifier);
    expect(one.url).toContain('scope=a%20b');
  });

  test('has the parameters of the provider’s dialect', async () => {
    const dialect = {
      ...plainDialect,
      scopeSeparator: ',',
      scopeParameter: 'user_scope',
      clientIdParameter: 'client_key',
      authorizationParameters: {
        access_type: 'offline',
        prompt: 'consent',
        state: 'fixed',
        redirect_uri: 'other',
      },
      pkce: false,
    };
    const provider = {
      ...acme,
      authorizationEndpoint: 'https://acme.test/authorize?owner=user&a=b+c%2Bd',
      dialect,
    };
    const begun = await authorizationUrl({
      provider,
      redirectUri,
      scopes: ['a', 'b+c'],
      parameters: { prompt: 'login', response_type: 'token' },
    });
    expect(Object.fromEntries(new URL(begun.url).searchParams)).toEqual({
      owner: 'user',
      a: 'b c+d',
      access_type: 'offline',
      prompt: 'login',
      response_type: 'code',
      client_key: 'sidekey',
      redirect_uri: redirectUri,
      user_scope: 'a,b+c',
      state: begun.state,
    });
    expect(begun.codeVerifier).toBeNull();
    expect(begun.state).toHaveLength(43);
  });

  test.each([
    [{ authorizationEndpoint: null }, 'set providers.acme.authorization_endpoint'],
    [
      { authorizationEndpoint: 'http://acme.test/' },
      'set providers.acme.authorization_endpoint to an https URL',
    ],
    [{ clientId: null }, 'set providers.acme.client_id'],
  ])('is refused for an unusable definition: %j', async (change, hint) => {
    await expect(
      authorizationUrl({ provider: { ...acme, ...change }, redirectUri, scopes: [] }),
    ).rejects.toMatchObject({ code: 'config_invalid', hint });
  });
});

describe('the code exchange', () => {
  test('returns a credential with the granted scopes', async () => {
    const { exchanged, asked, codeVerifier } = await flow({ iss: acme.issuer! });
    expect(await exchanged).toEqual({
      credential: {
        type: 'oauth2',
        accessToken: 'access',
        refreshToken: 'refresh',
        expiresAt: now + 3_600_000,
        obtainedAt: now,
        scope: null,
        clientId: null,
        clientSecret: null,
        tokenEndpoint: null,
      },
      scopes: ['read'],
      details: {},
    });
    expect(asked).toMatchObject([
      {
        url: acme.tokenEndpoint,
        form: {
          grant_type: 'authorization_code',
          code: 'the-code',
          redirect_uri: redirectUri,
          code_verifier: codeVerifier,
        },
      },
    ]);
    const narrowed = await flow({}, Response.json({ ...tokens, scope: 'other', id_token: 'not.looked.at' }));
    expect(await narrowed.exchanged).toMatchObject({ scopes: ['other'], credential: { scope: 'other' } });
  });

  test('uses the provider’s dialect in request and response', async () => {
    const dialect = {
      ...plainDialect,
      scopeSeparator: ',',
      tokenBody: 'json' as const,
      pkce: false,
      accountParameters: ['realmId'],
      accountFields: ['team.name'],
    };
    const answer = Response.json({ ...tokens, scope: 'a,b', team: { name: 'Acme' } });
    const { exchanged, bodies, codeVerifier } = await flow({ realmId: '42' }, answer, { ...acme, dialect });
    expect(await exchanged).toMatchObject({
      scopes: ['a', 'b'],
      credential: { scope: 'a b' },
      details: { realmId: '42', 'team.name': 'Acme' },
    });
    expect(codeVerifier).toBeNull();
    expect(JSON.parse(bodies[0] ?? '')).toEqual({
      grant_type: 'authorization_code',
      code: 'the-code',
      redirect_uri: redirectUri,
    });
  });

  test('counts offline_access as granted when the response has a refresh token', async () => {
    const { state, codeVerifier } = await authorizationUrl({ provider: acme, redirectUri, scopes: [] });
    const scopes = ['read', 'offline_access'];
    const ask = (answer: object) =>
      exchangeCode({
        provider: acme,
        callback: parseCallback(`?code=c&state=${state}`),
        state,
        codeVerifier,
        redirectUri,
        scopes,
        fetch: fakeEndpoint(Response.json(answer)).fetch,
        now: () => now,
      });
    expect(await ask({ ...tokens, scope: 'read' })).toMatchObject({ scopes });
    const { refresh_token: _, ...without } = tokens;
    expect(await ask({ ...without, scope: 'read' })).toMatchObject({ scopes: ['read'] });
  });

  test('of a code without state needs the permission of the caller', async () => {
    const { state, codeVerifier } = await authorizationUrl({ provider: acme, redirectUri, scopes: [] });
    const { fetch, asked } = fakeEndpoint(() => Response.json(tokens));
    const exchange = {
      provider: acme,
      callback: parseCallback('the-code'),
      state,
      codeVerifier,
      redirectUri,
      fetch,
      now: () => now,
    };
    await expect(exchangeCode(exchange)).rejects.toMatchObject({ code: 'bad_request' });
    expect(asked).toEqual([]);
    await exchangeCode({ ...exchange, acceptBareCode: true });
    expect(asked).toMatchObject([{ form: { code: 'the-code', code_verifier: codeVerifier } }]);
  });

  test('accepts any issuer if the definition names no issuer', async () => {
    const { exchanged } = await flow({ iss: 'https://somebody.test' }, undefined, { ...acme, issuer: null });
    expect(await exchanged).toMatchObject({ scopes: ['read'] });
  });

  test.each([
    ['another state', { state: 'forged' }],
    ['no state', { state: '' }],
    ['another issuer', { iss: 'https://evil.test' }],
    ['a token in the URL', { token: 'x' }],
  ])('refuses a callback with %s, without a request', async (_, query) => {
    const { exchanged, asked } = await flow(query);
    await expect(exchanged).rejects.toMatchObject({ code: 'bad_request' });
    expect(asked).toEqual([]);
  });

  test('reports the error of the user or the provider', async () => {
    const denied = await flow({ error: 'access_denied', error_description: 'The user said\nno' });
    await expect(denied.exchanged).rejects.toMatchObject({
      code: 'consent_declined',
      message: 'You, or the provider "acme", said no to the consent (access_denied: The user said no).',
    });
    const refused = await flow(
      {},
      Response.json({ error: 'invalid_grant', error_description: 'the-code is used' }, { status: 400 }),
    );
    await expect(refused.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      message: 'The provider "acme" gave no token (invalid_grant: [redacted] is used).',
    });
    const unknown = await flow({}, Response.json({ ...tokens, token_type: 'mac' }));
    await expect(unknown.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      hint: hintOfText(
        /add "mac" to providers\.acme\.dialect\.token_response\.token_types: .*; then begin again$/,
      ),
    });
    const down = await flow({}, new Response('', { status: 502 }));
    await expect(down.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('HTTP 502'),
    });
  });
});
