import { generateKeyPairSync, hash, type KeyObject } from 'node:crypto';
import { SignJWT, UnsecuredJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import { createOpenId } from '../../../../src/grants/oauth/open-id.ts';

const issuer = 'https://login.acme.test/realms/acme';
const client = { issuer, clientId: 'sidekey', redirectUri: 'https://sidekey.test/back', scopes: ['openid'] };

interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly jwk: object;
}

function newKey(kid: string): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' } };
}

type Claims = Record<string, unknown>;

interface SignIn {
  /** Parameters that differ; null: it is absent. */
  readonly callback?: Readonly<Record<string, string | null>>;
  readonly clientSecret?: string | null;
  readonly needed?: readonly string[];
}

const seconds = () => Math.floor(Date.now() / 1_000);

/** An issuer at the edge of the network, which answers as a test wants. */
function fakeIssuer({ metadata = {} }: { metadata?: object } = {}) {
  const at = {
    keys: [newKey('k1')],
    /** Makes the ID token from the right claims. */
    idToken: async (claims: Claims): Promise<string | undefined> => signed(claims),
    userinfo: { sub: 'a-1' } as object,
    asked: [] as string[],
    authorization: '',
    form: new URLSearchParams(),
  };
  const signed = (claims: Claims, { kid, privateKey } = at.keys[0]!) =>
    new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey);
  let nonce = '';
  const right = (): Claims => ({
    iss: issuer,
    sub: 'a-1',
    aud: 'sidekey',
    nonce,
    iat: seconds(),
    exp: seconds() + 300,
  });
  const fetch: TokenFetch = async (url, { headers, body }) => {
    const { pathname } = new URL(url);
    at.asked.push(pathname);
    if (pathname.endsWith('openid-configuration')) {
      return Response.json({
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/jwks`,
        id_token_signing_alg_values_supported: ['ES256', 'HS256', 'none'],
        ...metadata,
      });
    }
    if (pathname.endsWith('/jwks')) return Response.json({ keys: at.keys.map(({ jwk }) => jwk) });
    if (pathname.endsWith('/userinfo')) return Response.json(at.userinfo);
    at.authorization = headers['authorization'] ?? '';
    at.form = new URLSearchParams((body as string | URLSearchParams | undefined)?.toString());
    const idToken = await at.idToken(right());
    return Response.json({ access_token: 'the-access-token', token_type: 'Bearer', id_token: idToken });
  };
  const openId = createOpenId({ io: async () => ({ fetch }), now: Date.now });
  /** Signs in; returns the claims. */
  async function signIn({ callback = {}, clientSecret = null, needed = [] }: SignIn = {}) {
    const { url, flow } = await openId.begin(client);
    nonce = flow.nonce;
    const parameters = new URLSearchParams({ code: 'the-code', state: flow.state });
    for (const [name, value] of Object.entries(callback)) {
      if (value === null) parameters.delete(name);
      else parameters.set(name, value);
    }
    const { claims } = await openId.finish(client, { flow, parameters, clientSecret, needed });
    return { claims, url: new URL(url), flow };
  }
  return { at, signed, signIn };
}

const refused = (message: string) => ({
  code: 'provider_refused',
  message: expect.stringContaining(message) as string,
});

describe('an ID token', () => {
  it('is requested with PKCE, a state and a nonce, and its claims are returned', async () => {
    const { at, signIn } = fakeIssuer();
    const { claims, url, flow } = await signIn();
    expect(claims).toMatchObject({ sub: 'a-1', iss: issuer });
    expect(Object.fromEntries(url.searchParams)).toEqual({
      response_type: 'code',
      client_id: 'sidekey',
      redirect_uri: client.redirectUri,
      scope: 'openid',
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: hash('sha256', flow.codeVerifier, 'base64url'),
      code_challenge_method: 'S256',
    });
    expect(at.form.get('code_verifier')).toBe(flow.codeVerifier);
  });

  it.each<[string, Claims, string]>([
    ['for another client', { aud: 'another' }, 'aud'],
    ['for further clients without azp', { aud: ['sidekey', 'another'] }, 'aud'],
    ['for further clients with the azp of another', { aud: ['sidekey', 'another'], azp: 'another' }, 'azp'],
    ['with the azp of another', { azp: 'another' }, 'azp'],
    ['of another issuer', { iss: 'https://login.acme.test' }, 'iss'],
    ['with another nonce', { nonce: 'another' }, 'nonce'],
    ['without a nonce', { nonce: undefined }, 'nonce'],
    ['without a subject', { sub: undefined }, 'sub'],
    ['that ended 61 seconds ago', { exp: seconds() - 61 }, 'exp'],
    ['that begins in two minutes', { nbf: seconds() + 120 }, 'nbf'],
    ['with the hash of another access token', { at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' }, 'at_hash'],
  ])('is refused %s', async (_, changed, named) => {
    const { at, signed, signIn } = fakeIssuer();
    at.idToken = (claims) => signed({ ...claims, ...changed });
    await expect(signIn()).rejects.toMatchObject(refused(named));
  });

  it.each<[string, Claims]>([
    ['that ended 30 seconds ago', { exp: seconds() - 30 }],
    ['for further clients with our azp', { aud: ['sidekey', 'another'], azp: 'sidekey' }],
    [
      'with the hash of its access token',
      { at_hash: hash('sha256', 'the-access-token', 'buffer').subarray(0, 16).toString('base64url') },
    ],
  ])('is accepted %s', async (_, changed) => {
    const { at, signed, signIn } = fakeIssuer();
    at.idToken = (claims) => signed({ ...claims, ...changed });
    expect((await signIn()).claims.sub).toBe('a-1');
  });

  it('is refused with a signature of another key, or with changed claims', async () => {
    const { at, signed, signIn } = fakeIssuer();
    at.idToken = (claims) => signed(claims, newKey('k1'));
    await expect(signIn()).rejects.toMatchObject(refused('signature'));
    at.idToken = async (claims) => {
      const [head, , signature] = (await signed(claims)).split('.');
      return [
        head,
        Buffer.from(JSON.stringify({ ...claims, sub: 'root' })).toString('base64url'),
        signature,
      ].join('.');
    };
    await expect(signIn()).rejects.toMatchObject(refused('signature'));
  });

  it('is refused without a signature, or with an HMAC signature, even if the issuer lists them', async () => {
    const { at, signIn } = fakeIssuer();
    at.idToken = async (claims) => new UnsecuredJWT(claims).encode();
    await expect(signIn({ clientSecret: 'x'.repeat(32) })).rejects.toMatchObject(refused('alg'));
    at.idToken = (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
        .sign(Buffer.from(JSON.stringify(at.keys[0]!.jwk)));
    await expect(signIn({ clientSecret: 'x'.repeat(32) })).rejects.toMatchObject(refused('alg'));
  });

  it('is refused when the response has none', async () => {
    const { at, signIn } = fakeIssuer();
    at.idToken = async () => undefined;
    await expect(signIn()).rejects.toMatchObject(refused('id_token'));
  });
});

describe('keys of the issuer', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: Date.now() }));
  afterEach(() => void vi.useRealTimers());

  it('are fetched again for an unknown key, and at most once a minute', async () => {
    const { at, signIn } = fakeIssuer();
    await signIn();
    await signIn();
    const reads = () => at.asked.filter((path) => path.endsWith('/jwks')).length;
    expect(reads()).toBe(1);
    at.keys = [newKey('k2')];
    for (const _ of [1, 2, 3]) await expect(signIn()).rejects.toMatchObject(refused('no applicable keys'));
    expect(reads()).toBe(1);
    vi.setSystemTime(Date.now() + 61_000);
    expect((await signIn()).claims.sub).toBe('a-1');
    expect(reads()).toBe(2);
  });

  it('are fetched again with the metadata after ten minutes', async () => {
    const { at, signIn } = fakeIssuer();
    await signIn();
    vi.setSystemTime(Date.now() + 600_000);
    await signIn();
    expect(at.asked.filter((path) => path.endsWith('openid-configuration'))).toHaveLength(2);
  });
});

describe('a callback', () => {
  it.each<[string, Record<string, string | null>, object]>([
    ['with another state', { state: 'another' }, { code: 'bad_request' }],
    ['without a state', { state: null }, { code: 'bad_request' }],
    ['of another issuer', { iss: 'https://evil.example' }, { code: 'bad_request' }],
    ['that says no', { code: null, error: 'access_denied' }, { code: 'consent_declined' }],
    ['that says an error', { code: null, error: 'server_error' }, refused('server_error')],
  ])('%s is refused before its code is used', async (_, callback, failure) => {
    const { at, signIn } = fakeIssuer();
    await expect(signIn({ callback })).rejects.toMatchObject(failure);
    expect(at.asked.some((path) => path.endsWith('/token'))).toBe(false);
  });

  it('without an issuer is refused if the metadata announce one', async () => {
    const metadata = { authorization_response_iss_parameter_supported: true };
    const { signIn } = fakeIssuer({ metadata });
    await expect(signIn()).rejects.toMatchObject({ code: 'bad_request' });
    expect((await fakeIssuer({ metadata }).signIn({ callback: { iss: issuer } })).claims.sub).toBe('a-1');
  });
});

describe('the client', () => {
  it('sends its secret by a method that the issuer supports', async () => {
    const basic = fakeIssuer();
    await basic.signIn({ clientSecret: 's3' });
    expect(basic.at.authorization).toBe(`Basic ${Buffer.from('sidekey:s3').toString('base64')}`);
    const post = fakeIssuer({ metadata: { token_endpoint_auth_methods_supported: ['client_secret_post'] } });
    await post.signIn({ clientSecret: 's3' });
    expect([post.at.authorization, post.at.form.get('client_secret')]).toEqual(['', 's3']);
    const open = fakeIssuer();
    await open.signIn();
    expect([open.at.authorization, open.at.form.get('client_id')]).toEqual(['', 'sidekey']);
  });

  it('requests the userinfo endpoint only for a missing claim, and prefers the ID token', async () => {
    const { at, signIn } = fakeIssuer({ metadata: { userinfo_endpoint: `${issuer}/userinfo` } });
    at.userinfo = { sub: 'a-1', groups: ['ops'], iss: 'https://evil.example' };
    expect((await signIn({ needed: ['sub'] })).claims['groups']).toBeUndefined();
    expect((await signIn({ needed: ['groups'] })).claims).toMatchObject({ groups: ['ops'], iss: issuer });
    at.userinfo = { sub: 'another', groups: ['ops'] };
    await expect(signIn({ needed: ['groups'] })).rejects.toMatchObject(refused('sub'));
  });

  it('takes the verified flag of an e-mail from the source of the e-mail', async () => {
    const { at, signed, signIn } = fakeIssuer({ metadata: { userinfo_endpoint: `${issuer}/userinfo` } });
    at.idToken = (claims) => signed({ ...claims, email: 'root@acme.test' });
    at.userinfo = { sub: 'a-1', email: 'eve@acme.test', email_verified: true };
    const verified = async () =>
      (await signIn({ needed: ['email', 'email_verified'] })).claims['email_verified'];
    expect(await verified()).toBeUndefined();
    at.userinfo = { sub: 'a-1', email: 'root@acme.test', email_verified: true };
    expect(await verified()).toBe(true);
  });

  it.each<[string, object, string]>([
    ['of another issuer', { issuer: 'https://evil.example' }, 'not one of this issuer'],
    ['without https', { authorization_endpoint: 'http://login.acme.test/' }, 'no https URL'],
  ])('refuses metadata %s', async (_, metadata, says) => {
    await expect(fakeIssuer({ metadata }).signIn()).rejects.toMatchObject(refused(says));
  });
});

/** An issuer whose requests take time, by a clock of its own. */
function slowIssuer() {
  const at = { time: 0, asked: 0, takesMs: 0, isUp: false };
  const fetch: TokenFetch = async () => {
    at.asked += 1;
    at.time += at.takesMs;
    if (!at.isUp) throw new Error('it is down');
    return Response.json({ issuer, authorization_endpoint: `${issuer}/authorize` });
  };
  const openId = createOpenId({ io: async () => ({ fetch }), now: () => at.time });
  return { at, begin: async () => openId.begin(client) };
}

describe('metadata of an issuer', () => {
  it('are requested again after a timed-out request and a pause of equal length, in which sign-ins fail at once', async () => {
    const { at, begin } = slowIssuer();
    const down = { code: 'upstream_unreachable', retryAfterMs: 20_000 };
    at.takesMs = 20_000;
    await expect(begin()).rejects.toMatchObject(down);
    at.time += 19_999;
    await expect(begin()).rejects.toMatchObject(down);
    expect(at.asked).toBe(1);
    at.time += 1;
    at.isUp = true;
    await begin();
    expect(at.asked).toBe(2);
  });

  it('are requested again 30 s after a failure, regardless of the number of failures', async () => {
    const { at, begin } = slowIssuer();
    for (let failures = 0; failures < 8; failures += 1) {
      await expect(begin()).rejects.toMatchObject({ code: 'upstream_unreachable' });
      at.time += 30_000;
    }
    expect(at.asked).toBe(8);
  });

  it('are requested once for many sign-ins, and again after 10 min', async () => {
    const { at, begin } = slowIssuer();
    at.isUp = true;
    await Promise.all([begin(), begin(), begin()]);
    at.time += 599_999;
    await begin();
    expect(at.asked).toBe(1);
    at.time += 1;
    await begin();
    expect(at.asked).toBe(2);
  });
});
