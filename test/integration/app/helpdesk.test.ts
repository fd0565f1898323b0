import { createHash } from 'node:crypto';
import { spawn, type ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  authorizationRequest,
  exchangeCode,
  obtainTokens,
  requestTokens,
  type TokenResponse,
} from '../../../examples/helpdesk/authorization-code.ts';
import { send, type Answer, type Connection } from '../../../examples/helpdesk/connection.ts';
import { consentAs } from '../../../examples/helpdesk/consent.ts';
import { createCookieJar } from '../../../examples/helpdesk/cookie-jar.ts';
import { openDatabase } from '../../../examples/helpdesk/database.ts';
import { openDataDirectory } from '../../../examples/helpdesk/data-directory.ts';
import {
  startHelpdesk,
  type Helpdesk,
  type HelpdeskOptions,
  type ReceivedRequest,
} from '../../../examples/helpdesk/helpdesk.ts';
import { openOAuthState } from '../../../examples/helpdesk/oauth-state.ts';
import { makeSidekeyHome } from '../../../examples/helpdesk/sidekey-home.ts';
import { runProgram } from '../../support/command-line.ts';

const alice = { user: 'alice@acme.test', password: 'demo1234' };
const redirectUri = 'http://127.0.0.1:49152/callback';
const readScope = 'openid read:tickets';
const bothScopes = 'openid read:tickets write:tickets';

async function start(options: HelpdeskOptions = {}): Promise<{ helpdesk: Helpdesk; connection: Connection }> {
  const helpdesk = await startHelpdesk(options);
  onTestFinished(() => helpdesk.close());
  const { issuer, caCertificate: ca, host, port } = helpdesk;
  return { helpdesk, connection: { issuer, ca, connectTo: { host, port } } };
}

interface Call {
  readonly method?: string;
  readonly token?: string;
  readonly json?: unknown;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

async function call(connection: Connection, path: string, { method, token, json, body, headers }: Call = {}) {
  const answer = await send(connection, new URL(path, connection.issuer), {
    ...(method === undefined ? {} : { method }),
    body: body ?? (json === undefined ? '' : JSON.stringify(json)),
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(json === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
  });
  return { ...answer, json: () => JSON.parse(answer.body) as Record<string, unknown> };
}

async function signedIn(scope = bothScopes, person = alice, options: HelpdeskOptions = {}) {
  const { helpdesk, connection } = await start(options);
  const tokens = await obtainTokens(connection, helpdesk, person, { scope, redirectUri });
  return { helpdesk, connection, tokens, token: tokens.access_token };
}

const refresh = (connection: Connection, helpdesk: Helpdesk, tokens: TokenResponse): Promise<TokenResponse> =>
  requestTokens(connection, helpdesk, {
    grant_type: 'refresh_token',
    refresh_token: tokens.refresh_token ?? '',
  });

const ticketIds = (answer: { json: () => Record<string, unknown> }): number[] =>
  (answer.json()['tickets'] as { id: number }[]).map(({ id }) => id);

async function openPage(connection: Connection, url: URL): Promise<Answer & { cookie: string; at: URL }> {
  const jar = createCookieJar();
  const first = await send(connection, url);
  jar.store(first.headers['set-cookie']);
  const at = new URL(first.headers.location ?? '', url);
  const cookie = jar.headerFor(at.pathname);
  return { ...(await send(connection, at, { headers: { cookie } })), cookie, at };
}

const listeningSockets = (): number =>
  process.getActiveResourcesInfo().filter((kind) => kind === 'TCPServerWrap').length;

const expectInvalid = async (connection: Connection, token: string): Promise<void> => {
  const answer = await call(connection, '/tickets', { token });
  expect(answer.status).toBe(401);
  expect(answer.headers['www-authenticate']).toMatch(
    /^Bearer realm="Acme Helpdesk", error="invalid_token", /,
  );
  expect(answer.json()).toMatchObject({ error: 'invalid_token' });
};

async function finished(child: ChildProcess): Promise<{ out: string; err: string; exit: number | null }> {
  const [out, err] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
  return { out, err, exit: child.exitCode };
}

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'helpdesk-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return join(directory, 'data');
}

const mode = async (file: string): Promise<number> => (await stat(file)).mode & 0o777;

async function revoke(connection: Connection, helpdesk: Helpdesk, token: string): Promise<Answer> {
  const basic = Buffer.from(`${helpdesk.clientId}:${helpdesk.clientSecret}`).toString('base64');
  return send(connection, new URL('/revoke', connection.issuer), {
    method: 'POST',
    headers: { authorization: `Basic ${basic}`, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token }).toString(),
  });
}

const authorization = (connection: Connection, scope = readScope) =>
  authorizationRequest(connection.issuer, { clientId: 'sidekey', scope, redirectUri });

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('the sign-in at the helpdesk', () => {
  it('guides alice through sign-in and consent to working tokens', async () => {
    const { helpdesk, connection, tokens } = await signedIn('openid profile email read:tickets');
    expect(tokens).toMatchObject({
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'openid profile email read:tickets',
      refresh_token: expect.any(String),
    });
    expect(tokens.access_token, 'opaque, not a JWT').not.toContain('.');
    const userinfo = await call(connection, '/userinfo', { token: tokens.access_token });
    expect(userinfo.json()).toMatchObject({ sub: 'alice', name: 'Alice Adams', email: 'alice@acme.test' });
    expect(helpdesk.tokenRequestCount('authorization_code')).toBe(1);
  });

  it.each([
    ['alice', [1, 2, 4, 8]],
    ['bob', [3, 7, 10]],
    ['carol', [5, 9, 12]],
  ])('works for %s, who gets the tickets assigned to them', async (user, ids) => {
    const { connection, token } = await signedIn(readScope, { user, password: 'demo1234' });
    expect(ticketIds(await call(connection, '/tickets?assignee=me', { token }))).toEqual(ids);
  });

  it('requests consent in words for exactly the scopes that the client requests', async () => {
    const { connection } = await start();
    const jar = createCookieJar();
    const pages: string[] = [];
    const { url } = authorization(connection);
    const asked = { ...alice, decision: 'allow' as const };
    await consentAs(url, asked, connection, jar);
    // The same browser is signed in now, and is asked for consent at once.
    const again = await send(connection, url, { headers: { cookie: jar.headerFor('/authorize') } });
    jar.store(again.headers['set-cookie']);
    const at = new URL(again.headers.location ?? '', url);
    pages.push((await send(connection, at, { headers: { cookie: jar.headerFor(at.pathname) } })).body);
    expect(pages[0]).toContain('Allow Sidekey to use your Acme account?');
    expect(pages[0]).toContain('Alice Adams (alice@acme.test)');
    expect(pages[0]).toContain('<li>Read helpdesk tickets</li>');
    expect(pages[0]).not.toContain('Create and change');
    expect(pages[0]).toContain('127.0.0.1:49152');
  });

  it.each([
    ['a wrong password', { user: 'alice@acme.test', password: 'demo12345' }],
    ['an unknown user', { user: 'mallory@acme.test', password: 'demo1234' }],
    ['nothing', { user: '', password: '' }],
  ])('shows the page again with an error for %s', async (_what, person) => {
    const { connection } = await start();
    const page = await openPage(connection, authorization(connection).url);
    const answer = await send(connection, page.at, {
      method: 'POST',
      headers: { cookie: page.cookie, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ email: person.user, password: person.password }).toString(),
    });
    expect(answer.status).toBe(422);
    expect(answer.body).toContain('The email address or the password is wrong.');
    expect(answer.body).toContain('<h1>Sign in</h1>');
    expect(answer.body).not.toContain(`value="${person.password || 'none'}"`);
    await expect(consentAs(authorization(connection).url, person, connection)).rejects.toThrow(
      'The email address or the password is wrong.',
    );
  });

  it('returns a denial to the client as access_denied', async () => {
    const { helpdesk, connection } = await start();
    const request = authorization(connection);
    const redirect = await consentAs(request.url, { ...alice, decision: 'deny' }, connection);
    expect(redirect.origin + redirect.pathname).toBe(redirectUri);
    expect(Object.fromEntries(redirect.searchParams)).toMatchObject({
      error: 'access_denied',
      state: request.state,
      iss: helpdesk.issuer,
    });
    await expect(exchangeCode(connection, helpdesk, request, redirect)).rejects.toThrow('The person denied');
  });

  it('lets another person sign in on a browser that is already signed in', async () => {
    const { helpdesk, connection } = await start();
    const jar = createCookieJar();
    const first = authorization(connection);
    const firstRedirect = await consentAs(first.url, alice, connection, jar);
    const hers = await exchangeCode(connection, helpdesk, first, firstRedirect);

    const request = authorization(connection);
    request.url.searchParams.set('prompt', 'login consent');
    const redirect = await consentAs(request.url, { user: 'bob', password: 'demo1234' }, connection, jar);
    const tokens = await exchangeCode(connection, helpdesk, request, redirect);
    const userinfo = await call(connection, '/userinfo', { token: tokens.access_token });
    expect(userinfo.json()).toEqual({ sub: 'bob' });
    // Her session in that browser is over, her grant is not.
    expect(await call(connection, '/tickets', { token: hers.access_token })).toMatchObject({ status: 200 });
  });

  it('refuses an interaction that another browser started', async () => {
    const { connection } = await start();
    const page = await openPage(connection, authorization(connection).url);
    const stranger = await send(connection, page.at);
    expect(stranger.status).toBe(400);
    expect(stranger.body).toContain('it was started in another browser');
  });

  it('escapes all external text in its pages', async () => {
    const { connection } = await start();
    const { url } = authorization(connection);
    url.searchParams.set('login_hint', `"><script>alert('1')</script>&amp;`);
    const page = await openPage(connection, url);
    expect(page.body).toContain('value="&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;"');
    expect(page.body).not.toContain('<script');

    const wrongClient = new URL(url);
    wrongClient.searchParams.set('client_id', '<img src=x>');
    const error = await send(connection, wrongClient, { headers: { accept: 'text/html' } });
    expect(error.status).toBe(400);
    expect(error.body).not.toContain('<img');
  });

  it('shows pages that load nothing, run no scripts and cannot be framed', async () => {
    const { connection } = await start();
    const page = await openPage(connection, authorization(connection).url);
    const policy = page.headers['content-security-policy'] ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toContain("form-action 'self' http://127.0.0.1:49152;");
    expect(page.body).not.toMatch(/<(?:script|link|img|iframe)\b/);
    const style = /<style>(.*?)<\/style>/s.exec(page.body)?.[1] ?? '';
    expect(policy).toContain(`'sha256-${createHash('sha256').update(style).digest('base64')}'`);
    expect(page.headers['set-cookie'] ?? []).toEqual([]);
  });

  it('prints nothing to the terminal', async () => {
    const prints = [
      vi.spyOn(console, 'warn'),
      vi.spyOn(console, 'info'),
      vi.spyOn(console, 'error'),
      vi.spyOn(console, 'log'),
      vi.spyOn(process.stderr, 'write'),
      vi.spyOn(process.stdout, 'write'),
    ];
    const { helpdesk, connection, tokens } = await signedIn(
      'openid profile email read:tickets offline_access',
    );
    const next = await refresh(connection, helpdesk, tokens);
    await call(connection, '/userinfo', {
      token: next.access_token,
      headers: { origin: 'https://elsewhere.test' },
    });
    await call(connection, '/.well-known/openid-configuration', {
      headers: { origin: 'https://elsewhere.test' },
    });
    await call(connection, '/authorize?client_id=nobody');
    await revoke(connection, helpdesk, next.refresh_token ?? '');
    for (const print of prints) expect(print).not.toHaveBeenCalled();
  });
});

describe('the authorization server of the helpdesk', () => {
  it('publishes its metadata at the well-known address', async () => {
    const { helpdesk, connection } = await start();
    const { issuer } = helpdesk;
    expect(issuer).toBe(`https://helpdesk.acme.test:${helpdesk.port}`);
    expect((await call(connection, '/.well-known/openid-configuration')).json()).toMatchObject({
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      revocation_endpoint: `${issuer}/revoke`,
      userinfo_endpoint: `${issuer}/userinfo`,
      jwks_uri: `${issuer}/jwks`,
      code_challenge_methods_supported: ['S256'],
    });
    const [key] = (await call(connection, '/jwks')).json()['keys'] as Record<string, unknown>[];
    expect(key).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256' });
    expect(key).not.toHaveProperty('d');
  });

  it('requires PKCE with S256', async () => {
    const { connection } = await start();
    for (const change of [
      ({ searchParams }: URL) => {
        searchParams.delete('code_challenge');
        searchParams.delete('code_challenge_method');
      },
      ({ searchParams }: URL) => searchParams.set('code_challenge_method', 'plain'),
    ]) {
      const { url } = authorization(connection);
      change(url);
      const answer = await send(connection, url);
      expect(new URL(answer.headers.location ?? '').searchParams.get('error')).toBe('invalid_request');
    }
    const { helpdesk, connection: other } = await start();
    const request = authorization(other);
    const redirect = await consentAs(request.url, alice, other);
    const forged = { ...request, codeVerifier: 'x'.repeat(43) };
    await expect(exchangeCode(other, helpdesk, forged, redirect)).rejects.toMatchObject({
      code: 'invalid_grant',
    });
  });

  it('does not redirect to an unregistered address', async () => {
    const { connection } = await start({ redirectUris: ['https://sidekey.example/callback'] });
    const locationFor = async (uri: string): Promise<string | undefined> => {
      const { url } = authorizationRequest(connection.issuer, {
        clientId: 'sidekey',
        scope: readScope,
        redirectUri: uri,
      });
      return (await send(connection, url)).headers.location;
    };
    await expect(locationFor('https://sidekey.example/callback')).resolves.toMatch(/^\/interaction\//);
    await expect(locationFor('http://127.0.0.1:1/callback')).resolves.toMatch(/^\/interaction\//);
    await expect(locationFor('http://127.0.0.1:1/other')).resolves.toBeUndefined();
    await expect(locationFor('https://attacker.test/callback')).resolves.toBeUndefined();
  });

  it('refuses a client with a wrong secret, and accepts a client with a custom secret', async () => {
    const { helpdesk, connection } = await start({ clientSecret: 'a+b c%d' });
    const ask = (clientSecret: string): Promise<TokenResponse> =>
      requestTokens(connection, { clientId: 'sidekey', clientSecret }, { grant_type: 'client_credentials' });
    await expect(ask('acme-demo-secret')).rejects.toMatchObject({ status: 401, code: 'invalid_client' });
    await expect(ask(helpdesk.clientSecret)).resolves.toMatchObject({ token_type: 'Bearer' });
  });

  it('does not let a client revoke the tokens of another client', async () => {
    const other = { client_id: 'other', client_secret: 'other-secret', redirect_uris: [redirectUri] };
    const { helpdesk, connection, tokens } = await signedIn(readScope, alice, { clients: [other] });
    const stranger = { ...helpdesk, clientId: 'other', clientSecret: 'other-secret' };
    expect(await revoke(connection, stranger, tokens.access_token)).toMatchObject({ status: 400 });
    expect(await call(connection, '/tickets', { token: tokens.access_token })).toMatchObject({ status: 200 });
  });

  it('supports additional clients', async () => {
    const { connection } = await start({
      clients: [
        {
          client_id: 'robot',
          client_secret: 'robot-secret',
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        },
      ],
    });
    const robot = { clientId: 'robot', clientSecret: 'robot-secret' };
    const { access_token: token } = await requestTokens(connection, robot, {
      grant_type: 'client_credentials',
      scope: 'read:tickets write:tickets',
    });
    expect(ticketIds(await call(connection, '/tickets', { token }))).toHaveLength(12);
    const mine = await call(connection, '/tickets?assignee=me', { token });
    expect(mine).toMatchObject({ status: 400 });
    expect(mine.json()['message']).toBe('assignee: this token speaks for no person, so nobody is "me".');
    const made = await call(connection, '/tickets', {
      method: 'POST',
      token,
      json: { title: 'Disk full', team: 'it' },
    });
    expect(made.json()).toMatchObject({ reporter: 'robot' });
  });

  it('does not start with an invalid client or lifetime, and closes its listeners', async () => {
    const nonsense = { client_id: 'x', client_secret: 'y', redirect_uris: ['nonsense'] };
    await expect(startHelpdesk({ clients: [nonsense] })).rejects.toThrow('invalid_redirect_uri');
    await expect(startHelpdesk({ accessTokenTtl: 0.5 })).rejects.toThrow('whole number of seconds');
    await vi.waitFor(() => expect(listeningSockets()).toBe(0));
  });

  it('accepts an authorization code only once', async () => {
    const { helpdesk, connection } = await start();
    const request = authorization(connection);
    const redirect = await consentAs(request.url, alice, connection);
    const tokens = await exchangeCode(connection, helpdesk, request, redirect);
    await expect(exchangeCode(connection, helpdesk, request, redirect)).rejects.toMatchObject({
      code: 'invalid_grant',
    });
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({ code: 'invalid_grant' });
  });
});

describe('refresh token rotation at the helpdesk', () => {
  it('issues a new token at each use, and ends the grant if an old token is used again', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    const second = await refresh(connection, helpdesk, tokens);
    const third = await refresh(connection, helpdesk, second);
    const all = [tokens, second, third];
    expect(new Set(all.map((each) => each.refresh_token)).size).toBe(3);
    expect(new Set(all.map((each) => each.access_token)).size).toBe(3);
    expect(await call(connection, '/tickets', { token: third.access_token })).toMatchObject({ status: 200 });

    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({
      status: 400,
      code: 'invalid_grant',
    });
    await expect(refresh(connection, helpdesk, third)).rejects.toMatchObject({ code: 'invalid_grant' });
    expect(await call(connection, '/tickets', { token: third.access_token })).toMatchObject({ status: 401 });
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(4);
  });

  it('accepts at most one of many simultaneous uses, and ends the grant', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => refresh(connection, helpdesk, tokens)),
    );
    const won = results.filter((result) => result.status === 'fulfilled');
    expect(won.length).toBeLessThanOrEqual(1);
    for (const { value } of won) {
      await expect(refresh(connection, helpdesk, value)).rejects.toMatchObject({ code: 'invalid_grant' });
      expect(await call(connection, '/tickets', { token: value.access_token })).toMatchObject({
        status: 401,
      });
    }
  });

  it('accepts one of two uses if both were read before either was used up', async () => {
    const database = openDatabase();
    onTestFinished(() => database.close());
    const { adapter } = openOAuthState(database);
    const [grants, refreshTokens, accessTokens] = ['Grant', 'RefreshToken', 'AccessToken'].map(adapter);
    await grants!.upsert('g', {}, 60);
    await refreshTokens!.upsert('r', { grantId: 'g' }, 60);
    await accessTokens!.upsert('a', { grantId: 'g' }, 60);
    await expect(refreshTokens!.consume('r')).resolves.toBeUndefined();
    await expect(refreshTokens!.find('r')).resolves.toMatchObject({ consumed: expect.any(Number) });
    await expect(refreshTokens!.consume('r')).rejects.toThrow('invalid_grant');
    await expect(grants!.find('g')).resolves.toBeUndefined();
    await expect(refreshTokens!.find('r')).resolves.toBeUndefined();
    await expect(accessTokens!.find('a')).resolves.toBeUndefined();
  });

  it('refuses an access token whose grant has ended', async () => {
    const file = join(await temporaryDirectory(), '..', 'helpdesk.db');
    const { connection, token } = await signedIn(bothScopes, alice, { database: file });
    const database = openDatabase(file);
    onTestFinished(() => database.close());
    database.exec(`DELETE FROM oauth_state WHERE kind = 'Grant'`);
    expect(await call(connection, '/tickets', { token })).toMatchObject({ status: 401 });
  });

  it('ends one grant without affecting other grants of the same person', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    const other = await obtainTokens(connection, helpdesk, alice, { scope: readScope });
    expect(await revoke(connection, helpdesk, tokens.refresh_token ?? '')).toMatchObject({ status: 200 });
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({ code: 'invalid_grant' });
    expect(await call(connection, '/tickets', { token: tokens.access_token })).toMatchObject({ status: 401 });
    expect(await call(connection, '/tickets', { token: other.access_token })).toMatchObject({ status: 200 });
    await expect(refresh(connection, helpdesk, other)).resolves.toBeDefined();
  });

  it('never issues more scopes than the person allowed', async () => {
    const { helpdesk, connection, tokens } = await signedIn(readScope);
    const ask = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token ?? '' };
    await expect(requestTokens(connection, helpdesk, { ...ask, scope: bothScopes })).rejects.toMatchObject({
      code: 'invalid_scope',
    });
    await expect(
      requestTokens(connection, helpdesk, { ...ask, scope: 'read:tickets' }),
    ).resolves.toMatchObject({
      scope: 'read:tickets',
    });
  });
});

describe('access tokens of the helpdesk end', () => {
  it('when they expire', async () => {
    const begin = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: begin });
    const { helpdesk, connection, tokens, token } = await signedIn();
    vi.setSystemTime(begin + 299_000);
    expect(await call(connection, '/tickets', { token })).toMatchObject({ status: 200 });
    vi.setSystemTime(begin + 300_000);
    await expectInvalid(connection, token);
    await expect(refresh(connection, helpdesk, tokens)).resolves.toMatchObject({ expires_in: 300 });
  });

  it('all at once when a test expires them', async () => {
    const { helpdesk, connection, tokens, token } = await signedIn();
    expect(helpdesk.expireAllAccessTokens()).toBe(1);
    await expectInvalid(connection, token);
    const { access_token: next } = await refresh(connection, helpdesk, tokens);
    expect(await call(connection, '/tickets', { token: next })).toMatchObject({ status: 200 });
  });

  it('all at once, long before their expiry, when a test revokes them', async () => {
    const { helpdesk, connection, tokens, token } = await signedIn();
    expect(helpdesk.revokeAllAccessTokens()).toBe(1);
    await expectInvalid(connection, token);
    await expect(refresh(connection, helpdesk, tokens)).resolves.toBeDefined();
  });

  it('after a lifetime that a test can change at any time', async () => {
    const { helpdesk, connection, tokens } = await signedIn(bothScopes, alice, { accessTokenTtl: 17 });
    expect(tokens.expires_in).toBe(17);
    helpdesk.setAccessTokenTtl(3);
    await expect(refresh(connection, helpdesk, tokens)).resolves.toMatchObject({ expires_in: 3 });
    expect(() => helpdesk.setAccessTokenTtl(0)).toThrow(RangeError);
    expect(() => helpdesk.setAccessTokenTtl(1.5)).toThrow(RangeError);
  });
});

describe('the helpdesk token endpoint fails on demand', () => {
  it('with a response chosen by the test, which sees the request', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    const seen: unknown[] = [];
    helpdesk.failTokenEndpoint((next) => {
      seen.push(next);
      return next.count === 1 ? { status: 503, body: { error: 'temporarily_unavailable' } } : null;
    });
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({
      status: 503,
      code: 'temporarily_unavailable',
    });
    await expect(refresh(connection, helpdesk, tokens), 'nothing was used up').resolves.toBeDefined();
    expect(seen).toEqual([
      { grantType: 'refresh_token', count: 1 },
      { grantType: 'refresh_token', count: 2 },
    ]);
    helpdesk.failTokenEndpoint(() => ({ status: 502, body: '<h1>Bad gateway</h1>' }));
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({ status: 502, code: '' });
    expect(helpdesk.tokenRequestCount()).toBe(4);
  });

  it('with a connection reset before anything is processed', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    helpdesk.failTokenEndpoint(() => 'reset');
    // A connection that merely ends has no `syscall`.
    const reset = { code: 'ECONNRESET', syscall: 'read' };
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject(reset);
    helpdesk.failTokenEndpoint(null);
    await expect(refresh(connection, helpdesk, tokens)).resolves.toBeDefined();
  });

  it('with a response that is lost after the token was rotated', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    helpdesk.failTokenEndpoint(() => 'lose');
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({ code: 'ECONNRESET' });
    helpdesk.failTokenEndpoint(null);
    await expect(refresh(connection, helpdesk, tokens)).rejects.toMatchObject({ code: 'invalid_grant' });
  });

  it('with silence until the helpdesk is closed', async () => {
    const helpdesk = await startHelpdesk();
    const { issuer, caCertificate: ca, host, port } = helpdesk;
    const connection = { issuer, ca, connectTo: { host, port } };
    const reached = new Promise<void>((resolve) => {
      helpdesk.failTokenEndpoint(() => {
        resolve();
        return 'hang';
      });
    });
    const outcome = expect(
      requestTokens(connection, helpdesk, { grant_type: 'client_credentials' }),
    ).rejects.toMatchObject({ code: 'ECONNRESET' });
    await reached;
    await helpdesk.close();
    await outcome;
  });

  it('with a response delayed by the test', async () => {
    const { helpdesk, connection, tokens } = await signedIn();
    const gate = Promise.withResolvers<null>();
    helpdesk.failTokenEndpoint(() => gate.promise);
    const waiting = refresh(connection, helpdesk, tokens);
    gate.resolve(null);
    await expect(waiting).resolves.toBeDefined();
  });
});

describe('the helpdesk API', () => {
  it('reports its health without a token', async () => {
    const { connection } = await start();
    expect((await call(connection, '/health')).json()).toEqual({ status: 'ok', service: 'acme-helpdesk' });
  });

  it.each([
    ['no token', {}, 'missing_token', 'Bearer realm="Acme Helpdesk"'],
    ['an unknown token', { authorization: 'Bearer abc' }, 'invalid_token', 'error="invalid_token"'],
    ['a malformed token', { authorization: 'Bearer a b' }, 'invalid_token', 'error="invalid_token"'],
    ['another scheme', { authorization: 'Basic YTpi' }, 'invalid_token', 'error="invalid_token"'],
  ])('answers 401 to %s', async (_what, headers: Record<string, string>, error, challenge) => {
    const { connection } = await start();
    const answer = await call(connection, '/tickets', { headers });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toContain(challenge);
    expect(answer.json()).toMatchObject({ error, message: expect.any(String) });
  });

  it('does not accept a refresh token as an access token', async () => {
    const { connection, tokens } = await signedIn();
    expect(await call(connection, '/tickets', { token: tokens.refresh_token ?? '' })).toMatchObject({
      status: 401,
    });
  });

  it('answers 403 with the name of the missing scope', async () => {
    const { connection, token } = await signedIn('openid read:tickets');
    for (const [method, path] of [
      ['POST', '/tickets'],
      ['PATCH', '/tickets/1'],
    ] as const) {
      const answer = await call(connection, path, { method, token, json: { title: 'x', team: 'it' } });
      expect(answer.status).toBe(403);
      expect(answer.headers['www-authenticate']).toMatch(
        /error="insufficient_scope".*, scope="write:tickets"$/,
      );
      expect(answer.json()).toMatchObject({ error: 'insufficient_scope' });
    }
    const writer = await signedIn('write:tickets');
    const answer = await call(writer.connection, '/tickets', { token: writer.token });
    expect(answer.status).toBe(403);
    expect(answer.headers['www-authenticate']).toContain('scope="read:tickets"');
  });

  it.each([
    ['', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]],
    ['?assignee=bob', [3, 7, 10]],
    ['?assignee=bob@acme.test', [3, 7, 10]],
    ['?status=solved', [4, 9]],
    ['?team=facilities', [3, 6, 10]],
    ['?team=it&status=open&assignee=me', [1, 8]],
    ['?team=people&assignee=bob', []],
  ])('lists tickets for %j', async (query, ids) => {
    const { connection, token } = await signedIn();
    const answer = await call(connection, `/tickets${query}`, { token });
    expect(ticketIds(answer)).toEqual(ids);
    expect(answer.json()['total']).toBe(ids.length);
  });

  it('creates a ticket and changes the ticket', async () => {
    let clock = Date.UTC(2026, 10, 20, 9);
    const { connection, token } = await signedIn(bothScopes, alice, { now: () => clock });
    const json = { title: '  Screen flickers  ', team: 'it', assignee: 'me' };
    const made = await call(connection, '/tickets', { method: 'POST', token, json });
    expect(made.status).toBe(201);
    expect(made.headers.location).toBe('/tickets/13');
    expect(made.json()).toEqual({
      id: 13,
      title: 'Screen flickers',
      description: '',
      team: 'it',
      status: 'open',
      priority: 'normal',
      assignee: 'alice',
      reporter: 'alice',
      created_at: '2026-11-20T09:00:00.000Z',
      updated_at: '2026-11-20T09:00:00.000Z',
    });
    clock += 60_000;
    const patch = { status: 'solved', assignee: null };
    const changed = await call(connection, '/tickets/13', { method: 'PATCH', token, json: patch });
    expect(changed.status).toBe(200);
    expect(changed.json()).toEqual({ ...made.json(), ...patch, updated_at: '2026-11-20T09:01:00.000Z' });
    expect((await call(connection, '/tickets/13', { token })).json()).toEqual(changed.json());
  });

  it.each<[string, string, Call, string]>([
    ['GET', '/tickets?status=closed', {}, 'status: Invalid option'],
    ['GET', '/tickets?assignee=mallory', {}, 'assignee: must be me, or one of alice, bob, carol'],
    ['GET', '/tickets?color=red', {}, 'Unrecognized key: "color"'],
    ['GET', '/tickets?team=it&team=people', {}, 'team: is given more than once'],
    ['GET', '/tickets/abc', {}, 'whole number'],
    ['GET', '/tickets/0', {}, 'whole number'],
    ['GET', '/tickets/99999999999999999999', {}, 'whole number'],
    ['POST', '/tickets', { json: { team: 'it' } }, 'title: '],
    ['POST', '/tickets', { json: { title: '   ', team: 'it' } }, 'title: must not be empty'],
    ['POST', '/tickets', { json: { title: 'x', team: 'it', id: 5 } }, 'Unrecognized key: "id"'],
    ['POST', '/tickets', { json: { title: 'x'.repeat(201), team: 'it' } }, 'title: '],
    ['POST', '/tickets', { json: [] }, 'The ticket: '],
    ['POST', '/tickets', { json: null }, 'The ticket: '],
    [
      'POST',
      '/tickets',
      { body: '{"title":', headers: { 'content-type': 'application/json' } },
      'not valid JSON',
    ],
    ['PATCH', '/tickets/1', { json: {} }, 'The change: says nothing to change'],
    ['PATCH', '/tickets/1', { json: { status: 'lost' } }, 'status: '],
    ['PATCH', '/tickets/1', { json: { title: null } }, 'title: '],
    ['PATCH', '/tickets/1', { json: { reporter: 'bob' } }, 'Unrecognized key: "reporter"'],
  ])('answers 400 to a bad %s %s (%#)', async (method, path, request, message) => {
    const { connection, token } = await signedIn();
    const answer = await call(connection, path, { ...request, method, token });
    expect(answer.status).toBe(400);
    expect(answer.json()).toMatchObject({
      error: 'invalid_request',
      message: expect.stringContaining(message),
    });
    expect(ticketIds(await call(connection, '/tickets', { token }))).toHaveLength(12);
  });

  it('answers 404, 405, 415 and 421 for unknown paths, methods, types and hosts', async () => {
    const { connection, token } = await signedIn();
    const status = async (path: string, request: Call = {}): Promise<number> =>
      (await call(connection, path, { token, ...request })).status;
    await expect(status('/tickets/99')).resolves.toBe(404);
    await expect(status('/tickets/99', { method: 'PATCH', json: { status: 'open' } })).resolves.toBe(404);
    await expect(status('/tickets/1/comments')).resolves.toBe(404);
    await expect(status('/nothing')).resolves.toBe(404);
    const put = await call(connection, '/tickets/1', { method: 'PUT', token, json: {} });
    expect(put.status).toBe(405);
    expect(put.headers.allow).toBe('GET, HEAD, PATCH');
    await expect(status('/tickets', { method: 'DELETE' })).resolves.toBe(405);
    await expect(status('/token')).resolves.toBe(405);
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    await expect(status('/tickets', { method: 'POST', body: 'title=x', headers: form })).resolves.toBe(415);
    await expect(status('/tickets', { headers: { host: 'other.test' } })).resolves.toBe(421);
  });

  it('refuses a body above 64 KiB, and still answers', async () => {
    const { helpdesk, connection, token } = await signedIn();
    const json = { title: 'x', team: 'it', description: 'y'.repeat(2_000_000) };
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const oneSocket = { ...connection, agent };
    const answer = await call(oneSocket, '/tickets', { method: 'POST', token, json });
    expect(answer.status).toBe(413);
    expect(answer.json()).toMatchObject({ error: 'body_too_large' });
    await expect(call(oneSocket, '/health')).resolves.toMatchObject({ status: 200 });
    const padded = { grant_type: 'client_credentials', padding: 'z'.repeat(100_000) };
    await expect(requestTokens(connection, helpdesk, padded)).rejects.toMatchObject({ status: 413 });
  });

  it('answers HEAD like GET, but without the body', async () => {
    const { connection, token } = await signedIn();
    const get = await call(connection, '/tickets', { token });
    const head = await call(connection, '/tickets', { method: 'HEAD', token });
    expect(head).toMatchObject({ status: 200, body: '' });
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
  });

  it('shows the fields of received requests', async () => {
    const { helpdesk, connection } = await start();
    const seen: ReceivedRequest[] = [];
    helpdesk.requests.on('request', (request) => seen.push(request));
    await call(connection, '/tickets?status=open', { token: 'abc' });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({
      method: 'GET',
      url: '/tickets?status=open',
      httpVersion: '1.1',
      headers: { authorization: 'Bearer abc', host: new URL(helpdesk.issuer).host },
      rawHeaders: expect.arrayContaining(['Bearer abc']),
    });
  });
});

describe('TLS at the helpdesk', () => {
  it('uses a P-256 leaf only for its own name, issued by its own CA', async () => {
    const { helpdesk, connection } = await start({ issuerHost: 'desk.acme.test' });
    const root = new X509Certificate(helpdesk.caCertificate);
    expect(root.ca).toBe(true);
    expect(root.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
    expect(root.verify(root.publicKey)).toBe(true);
    await expect(call(connection, '/health')).resolves.toMatchObject({ status: 200 });

    const untrusting = { ...connection, ca: (await start()).helpdesk.caCertificate };
    await expect(call(untrusting, '/health')).rejects.toMatchObject({
      code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    });
    const misnaming = { ...connection, issuer: `https://other.test:${helpdesk.port}` };
    await expect(call(misnaming, '/health')).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });
});

describe('the helpdesk started by hand', () => {
  const program = fileURLToPath(new URL('../../../examples/helpdesk/main.ts', import.meta.url));

  function run(...args: string[]): ChildProcess {
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    onTestFinished(async () => {
      if (child.exitCode === null && child.kill()) await once(child, 'exit');
    });
    return child;
  }

  /** Starts it and waits for the end of its message. */
  async function serving(
    data: string,
    port = '0',
  ): Promise<{ child: ChildProcess; message: string; port: string }> {
    const child = run('--port', port, '--data', data);
    let message = '';
    for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
      message += String(chunk);
      if (message.includes('Without Sidekey')) break;
    }
    return { child, message, port: /acme\.test:(\d+)/.exec(message)?.[1] ?? '' };
  }

  it('prints the next steps and working tokens, and keeps CA, tickets and grants over a restart', async () => {
    const data = await temporaryDirectory();
    const first = await serving(data);
    const printed = await finished(run('token', 'bob', '--port', first.port, '--data', data));
    expect(printed).toMatchObject({ err: '', exit: 0 });
    const token = JSON.parse(printed.out) as Record<string, string>;
    expect(token).toEqual({
      type: 'oauth2',
      access_token: expect.any(String),
      refresh_token: expect.any(String),
      expires_at: expect.any(Number),
      scope: bothScopes,
      client_id: 'sidekey',
      client_secret: 'acme-demo-secret',
      token_endpoint: `https://helpdesk.acme.test:${first.port}/token`,
    });
    first.child.kill('SIGTERM');
    await expect(once(first.child, 'exit')).resolves.toEqual([0, null]);

    const { caFile, tls } = openDataDirectory(data, 'helpdesk.acme.test');
    const again = await serving(data, first.port);
    expect(openDataDirectory(data, 'helpdesk.acme.test').tls).toEqual(tls);
    expect(caFile).toBe(join(data, 'ca.crt'));
    const issuer = `https://helpdesk.acme.test:${again.port}`;
    const connection = { issuer, ca: tls.ca, connectTo: { host: '127.0.0.1', port: Number(again.port) } };
    const client = { clientId: 'sidekey', clientSecret: token['client_secret'] ?? '' };
    const tokens = await requestTokens(connection, client, {
      grant_type: 'refresh_token',
      refresh_token: token['refresh_token'] ?? '',
    });
    const mine = await call(connection, '/tickets?assignee=me', { token: tokens.access_token });
    expect(ticketIds(mine)).toEqual([3, 7, 10]);
  });

  it('creates a Sidekey folder in which connect works without an edit, and keeps the folder', async () => {
    const data = await temporaryDirectory();
    const { message, port } = await serving(data);
    const env = { SIDEKEY_HOME: /export SIDEKEY_HOME=(\S+)/.exec(message)?.[1] };
    expect(env.SIDEKEY_HOME).toBe(join(data, `sidekey-${port}`));
    const sidekey = (...args: string[]) => runProgram(args, data, { env });
    const { stdout: url } = await sidekey('connect', 'acme', '--print-url');
    const agreed = await finished(run('consent', 'alice', '--port', port, '--data', data, url.trim()));
    expect(await sidekey('connect', 'acme', '--finish', agreed.out.trim())).toMatchObject({ exit: 0 });
    const config = await readFile(join(data, `sidekey-${port}`, 'config', 'sidekey.yaml'), 'utf8');
    expect(config).toContain(`helpdesk.acme.test:${port}: { grant: acme }`);
    makeSidekeyHome(data, { issuer: `https://helpdesk.acme.test:${port}`, caFile: join(data, 'ca.crt') });
    expect(await readFile(join(data, `sidekey-${port}`, 'config', 'sidekey.yaml'), 'utf8')).toBe(config);
  });

  it('suggests a free port if its port is in use', async () => {
    const { helpdesk } = await start();
    const data = await temporaryDirectory();
    const { err, exit } = await finished(run('--port', String(helpdesk.port), '--data', data));
    expect([exit, err]).toEqual([1, expect.stringContaining('npm run helpdesk -- --port 0')]);
  });

  it.each([
    [['token'], 2, 'Whose token?'],
    [['token', 'mallory'], 2, 'alice, bob, carol'],
    [['consent', 'alice'], 2, 'the address of the consent page'],
    [['consent', 'alice', 'https://elsewhere.test/authorize'], 2, 'the address of the consent page'],
    [['frobnicate'], 2, 'There is no command frobnicate.'],
    [['--port', 'x'], 2, '--port takes a whole number'],
    [['--nonsense'], 2, '--nonsense'],
    [['token', 'alice', '--scope', 'root'], 2, 'There is no scope "root"'],
  ])('fails for the arguments %j with exit code %d and a reason', async (args, exit, reason) => {
    const result = await finished(run(...args));
    expect(result).toMatchObject({ out: '', exit });
    expect(result.err).toContain(reason);
  });

  it('reports that no server answers, or that no server was ever started', async () => {
    const data = await temporaryDirectory();
    const never = await finished(run('token', 'alice', '--data', data));
    expect(never.err).toContain('the helpdesk never ran here');
    openDataDirectory(data, 'helpdesk.acme.test');
    const { helpdesk } = await start();
    await helpdesk.close();
    const silent = await finished(run('token', 'alice', '--data', data, '--port', String(helpdesk.port)));
    expect(silent).toMatchObject({
      out: '',
      exit: 6,
      err: 'helpdesk: No helpdesk answers there. Start it with: npm run helpdesk\n',
    });
  });

  it('makes its keys readable only by the owner', async () => {
    const data = await temporaryDirectory();
    const { database } = openDataDirectory(data, 'helpdesk.acme.test');
    await start({ database });
    await expect(mode(data)).resolves.toBe(0o700);
    for (const file of ['ca.key', 'server.key', 'helpdesk.db', 'helpdesk.db-wal']) {
      await expect(mode(join(data, file)), file).resolves.toBe(0o600);
    }
  });

  it('renews the leaf before its expiry, and replaces the pair if a file is damaged or the host name changed', async () => {
    const data = await temporaryDirectory();
    const host = 'helpdesk.acme.test';
    const now = Date.now();
    const first = openDataDirectory(data, host, now).tls;
    expect(openDataDirectory(data, host, now + 30 * 86_400_000).tls).toEqual(first);
    const renewed = openDataDirectory(data, host, now + 39 * 86_400_000).tls;
    expect(renewed.cert).not.toBe(first.cert);
    expect(renewed.ca).toBe(first.ca);
    const renamed = openDataDirectory(data, 'desk.acme.test', now).tls;
    expect(new X509Certificate(renamed.cert).checkHost('desk.acme.test')).toBe('desk.acme.test');
    await writeFile(join(data, 'ca.key'), 'no key');
    const replaced = openDataDirectory(data, host, now).tls;
    expect(replaced.ca).not.toBe(first.ca);
    expect(new X509Certificate(replaced.cert).verify(new X509Certificate(replaced.ca).publicKey)).toBe(true);
  });
});
