import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { authorizationUrl, exchangeCode } from '../../../src/oauth/authorization-code.ts';
import { acme } from '../grants/house.ts';
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
    callbackUrl: callback.href,
    state,
    codeVerifier,
    redirectUri,
    scopes: ['read'],
    fetch: endpoint.fetch,
    now: () => now,
  });
  return { exchanged, asked: endpoint.asked, codeVerifier };
}

describe('the authorization URL', () => {
  test('has PKCE and state, fresh each time', async () => {
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
      code_challenge: createHash('sha256').update(one.codeVerifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    expect(new URL(two.url).searchParams.has('scope')).toBe(false);
    expect(one.state).not.toBe(two.state);
    expect(one.codeVerifier).not.toBe(two.codeVerifier);
    expect(one.url).not.toContain(one.codeVerifier);
  });

  test.each([
    [{ authorizationEndpoint: null }, 'set providers.acme.authorization_endpoint'],
    [
      { authorizationEndpoint: 'http://acme.test/' },
      'set providers.acme.authorization_endpoint to an https URL',
    ],
    [{ clientId: null }, 'set providers.acme.client_id'],
  ])('needs a definition that can be used: %j', async (change, hint) => {
    await expect(
      authorizationUrl({ provider: { ...acme, ...change }, redirectUri, scopes: [] }),
    ).rejects.toMatchObject({ code: 'config_invalid', hint });
  });
});

describe('the exchange', () => {
  test('gives a credential, with the scopes that were granted', async () => {
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

  test('takes any issuer where the definition names none', async () => {
    const { exchanged } = await flow({ iss: 'https://somebody.test' }, undefined, { ...acme, issuer: null });
    expect(await exchanged).toMatchObject({ scopes: ['read'] });
  });

  test.each([
    ['another state', { state: 'forged' }],
    ['no state', { state: '' }],
    ['another issuer', { iss: 'https://evil.test' }],
    ['a token in the URL', { token: 'x' }],
  ])('refuses a callback with %s, and asks nobody', async (_, query) => {
    const { exchanged, asked } = await flow(query);
    await expect(exchanged).rejects.toMatchObject({ code: 'bad_request' });
    expect(asked).toEqual([]);
  });

  test('says what the user or the provider said', async () => {
    const denied = await flow({ error: 'access_denied', error_description: 'The user said\nno' });
    await expect(denied.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      message: 'The provider "acme" gave no token (access_denied: The user said no).',
    });
    const refused = await flow(
      {},
      Response.json({ error: 'invalid_grant', error_description: 'the-code is used' }, { status: 400 }),
    );
    await expect(refused.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      message: 'The provider "acme" gave no token (invalid_grant: [redacted] is used).',
    });
    const down = await flow({}, new Response('', { status: 502 }));
    await expect(down.exchanged).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('HTTP 502'),
    });
  });
});
