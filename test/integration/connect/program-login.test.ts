/** A program in the agent logs in by itself: the tokens become a grant, and it gets placeholders. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { SealedCredential } from '../../../src/domain/credential.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import {
  clientId,
  codeRequest,
  type LoginServer,
  signedJwt,
  startLoginServer,
} from '../../support/login-server.ts';
import { answerOf, openSession, request } from '../../support/h2-client.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { createDatabase, postgresMissing } from '../../support/postgres.ts';
import { problemOf } from '../../support/raw-client.ts';
import { allGrants } from '../../support/all-grants.ts';

type Tokens = Readonly<Record<string, string>>;

async function loggedIn(setup: LoginServer, as?: string): Promise<Tokens> {
  const answer = await setup.token(codeRequest, as);
  expect(answer.status).toBe(200);
  return JSON.parse(answer.body) as Tokens;
}

async function sealedOf({ sidekey }: LoginServer, name = 'program'): Promise<SealedCredential> {
  const [grant] = (await allGrants(sidekey.proxy.state.store)).filter((it) => it.name === name);
  return (await sidekey.proxy.state.grants.read(grant!.id))!.sealed;
}

const claimsOf = (token = '') =>
  JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as unknown;
const call = (token: string) => `GET /me HTTP/1.1\r\nAuthorization: Bearer ${token}`;

describe('a program that logs in with a code', () => {
  test('gets placeholders that work at the API, and no real tokens', async () => {
    const setup = await startLoginServer();
    const answer = await setup.token(codeRequest);
    expect(setup.received).toMatchObject([{ parameters: codeRequest }]);
    for (const token of setup.issued) {
      expect(answer.body).not.toContain(token);
      expect(answer.body).not.toContain(token.split('.').at(-1));
    }
    expect(answer.body).not.toContain('not to be passed on');
    const tokens = JSON.parse(answer.body) as Tokens;
    expect(tokens).toMatchObject({ token_type: 'Bearer', expires_in: 3_600, account: { uuid: 'a1' } });
    expect(claimsOf(tokens['id_token'])).toEqual({ email: 'dana@acme.test', sub: 'u1', plan: 'pro' });
    expect(claimsOf(tokens['access_token'])).toEqual(claimsOf(setup.issued[0]));
    expect(answer.headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/json' });

    expect(await setup.send(call(tokens['access_token']!))).toMatchObject({ status: 200, body: 'the API' });
    expect(setup.api).toEqual([`Bearer ${setup.issued[0]}`]);
  });

  test('creates a grant of the provider, its user and its client, with an audit record', async () => {
    const setup = await startLoginServer();
    await loggedIn(setup);
    const [access, refresh] = setup.issued;
    expect(await allGrants(setup.sidekey.proxy.state.store)).toMatchObject([
      { name: 'program', user: 'default', provider: 'program', type: 'oauth2', state: 'active' },
    ]);
    expect(await sealedOf(setup)).toMatchObject({
      credential: { accessToken: access, refreshToken: refresh, clientId, clientSecret: null },
      audience: [setup.upstream.authority],
      details: { email: 'dana@acme.test' },
    });
    const connected = await setup.sidekey.audited(({ event }) => event === 'grant.connected');
    expect(connected).toMatchObject({
      reason: 'login of Program; account dana@acme.test',
      provider: 'program',
      user: 'default',
    });
    expect(await setup.sidekey.audited(({ path }) => path === '/oauth/token')).toMatchObject({
      exchange: connected.exchange,
    });
    const record = JSON.stringify(await setup.sidekey.audit()) + setup.sidekey.logged();
    for (const secret of [...setup.issued, codeRequest.code, codeRequest.code_verifier])
      expect(record).not.toContain(secret);
  });

  test('can refresh with its placeholder, which is never sent upstream', async () => {
    const setup = await startLoginServer();
    const first = await loggedIn(setup);
    const answer = await setup.send(
      'POST /oauth/token HTTP/1.1\r\nContent-Type: application/json',
      JSON.stringify({
        grant_type: 'refresh_token',
        refresh_token: first['refresh_token'],
        client_id: clientId,
      }),
    );
    expect(JSON.parse(answer.body)).toMatchObject({
      access_token: first['access_token'],
      refresh_token: first['refresh_token'],
    });
    expect(setup.received).toHaveLength(1);
  });

  test('gets the claims of the newest token after a refresh by Sidekey', async () => {
    const setup = await startLoginServer();
    setup.answer(() => ({
      body: JSON.stringify({
        access_token: signedJwt({ n: 'old' }),
        refresh_token: 'rt_old',
        expires_in: 60,
      }),
    }));
    const first = await loggedIn(setup);
    setup.answer(null);
    setup.later(61_000);
    const answer = await setup.token({
      grant_type: 'refresh_token',
      refresh_token: first['refresh_token']!,
      client_id: clientId,
    });
    const { access_token: token = '' } = JSON.parse(answer.body) as Tokens;
    expect((await sealedOf(setup)).credential).toMatchObject({ expiresAt: 4_000_000_000_000 });
    expect(setup.received.at(-1)).toMatchObject({
      parameters: { grant_type: 'refresh_token', refresh_token: 'rt_old', client_id: clientId },
    });
    expect(claimsOf(token)).toEqual(claimsOf(setup.issued[0]));
    expect(answer.body).not.toContain(setup.issued[0]!.split('.')[2]);
  });

  test('with a refresh token from before Sidekey moves the new tokens into a grant', async () => {
    const setup = await startLoginServer();
    setup.answer(() => ({ body: JSON.stringify({ access_token: 'at-new', expires_in: 3_600 }) }));
    const answer = await setup.token({
      grant_type: 'refresh_token',
      refresh_token: 'rt_of_before',
      client_id: clientId,
      client_secret: 'of-the-program',
    });
    expect(answer.status).toBe(200);
    expect(answer.body).not.toContain('at-new');
    expect(await sealedOf(setup)).toMatchObject({
      credential: { accessToken: 'at-new', refreshToken: 'rt_of_before', clientSecret: 'of-the-program' },
    });
  });

  test('keeps the successor of its own refresh token if the access token is unusable', async () => {
    const setup = await startLoginServer();
    const body = { access_token: 'at-mac', refresh_token: 'rt_2', token_type: 'mac' };
    setup.answer(() => ({ body: JSON.stringify(body) }));
    const answer = await setup.token({
      grant_type: 'refresh_token',
      refresh_token: 'rt_1',
      client_id: clientId,
    });
    expect(JSON.parse(answer.body)).toEqual({
      error: 'unsupported_token_type',
      error_description: expect.stringMatching(
        /type mac.*; its refresh token was stored as the grant program$/,
      ),
    });
    expect(answer.body + setup.sidekey.logged()).not.toMatch(/at-mac|rt_2/);
    const { credential } = await sealedOf(setup);
    expect(credential).toMatchObject({ accessToken: null, refreshToken: 'rt_2', clientId });

    setup.answer(null);
    expect(await setup.send('GET /me HTTP/1.1')).toMatchObject({ status: 200, body: 'the API' });
    expect(setup.received.at(-1)).toMatchObject({ parameters: { refresh_token: 'rt_2' } });
    expect(await sealedOf(setup)).toMatchObject({ credential: { accessToken: setup.issued[0] } });
  });

  test('stores nothing if the answer is unusable and has no new refresh token', async () => {
    const setup = await startLoginServer();
    const body = { access_token: 'at-mac', refresh_token: 'rt_1', token_type: 'mac' };
    setup.answer(() => ({ body: JSON.stringify(body) }));
    await setup.token({ grant_type: 'refresh_token', refresh_token: 'rt_1', client_id: clientId });
    expect(await allGrants(setup.sidekey.proxy.state.store)).toEqual([]);
  });

  test('gets placeholders in the formats of its provider definition', async () => {
    const setup = await startLoginServer({
      logins: [
        {
          program: 'Program',
          client_id: clientId,
          access_token: 'sk-ant-oat01-sidekeyPlaceholder0000000000',
          refresh_token: 'sk-ant-ort01-sidekeyPlaceholder0000000000',
        },
      ],
    });
    const tokens = await loggedIn(setup);
    expect(tokens['access_token']).toMatch(/^sk-ant-oat01-sidekey\w+$/);
    expect(tokens['refresh_token']).toMatch(/^sk-ant-ort01-sidekey\w+$/);
    const answer = await setup.token({
      grant_type: 'refresh_token',
      refresh_token: tokens['refresh_token']!,
      client_id: clientId,
    });
    expect(JSON.parse(answer.body)).toMatchObject({
      access_token: tokens['access_token'],
      refresh_token: tokens['refresh_token'],
    });
    expect(await setup.send(call(tokens['access_token']!))).toMatchObject({ status: 200 });
  });
});

async function anotherAnswers(setup: LoginServer) {
  const tokens = await loggedIn(setup);
  const other = await setup.another();
  expect(await other(call(tokens['access_token']!))).toMatchObject({ status: 200 });
  expect(setup.api).toEqual([`Bearer ${setup.issued[0]}`]);
  const form = {
    grant_type: 'refresh_token',
    refresh_token: tokens['refresh_token']!,
    client_id: clientId,
  };
  const answer = await other(
    'POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded',
    new URLSearchParams(form).toString(),
  );
  expect(JSON.parse(answer.body)).toMatchObject({ access_token: tokens['access_token'] });
  expect(setup.received).toHaveLength(1);
}

describe('the placeholders of a login', () => {
  test('work over HTTP/2, where a login is captured too', async () => {
    const setup = await startLoginServer();
    const session = await openSession(setup.sidekey, setup.upstream.authority);
    const exchange = request(
      session,
      { ':method': 'POST', ':path': '/oauth/token', 'content-type': 'application/x-www-form-urlencoded' },
      { endStream: false },
    );
    exchange.end(new URLSearchParams(codeRequest).toString());
    const answer = await answerOf(exchange);
    expect(answer).toMatchObject({ status: 200, whole: true, headers: { 'cache-control': 'no-store' } });
    for (const token of setup.issued) expect(answer.body).not.toContain(token);
    const { access_token: token = '' } = JSON.parse(answer.body) as Tokens;
    const called = request(session, { ':path': '/me', authorization: `Bearer ${token}` });
    expect(await answerOf(called)).toMatchObject({ status: 200, body: 'the API' });
    expect(setup.api).toEqual([`Bearer ${setup.issued[0]}`]);
  });

  test('work at another process with the same store, which also refreshes', async () =>
    anotherAnswers(await startLoginServer()));

  test.skipIf(postgresMissing !== null)(
    `work at another process with the same PostgreSQL${postgresMissing ?? ''}`,
    async () => {
      const { address, drop } = await createDatabase();
      onTestFinished(drop);
      const store = `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}`;
      await anotherAnswers(await startLoginServer({}, [], { store }));
    },
  );
});

describe('a program that logs in with a device code', () => {
  const poll = {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: 'the-device-code',
    client_id: clientId,
  };

  test('can request the code before a grant exists, and gets the pending response of the provider', async () => {
    const setup = await startLoginServer();
    expect(await setup.send('POST /oauth/device/code HTTP/1.1', 'client_id=x')).toMatchObject({
      status: 200,
    });
    setup.answer(() => ({ type: 'application/x-www-form-urlencoded', body: 'error=slow_down&interval=10' }));
    expect(await setup.token(poll)).toMatchObject({ status: 200, body: 'error=slow_down&interval=10' });
    expect(await allGrants(setup.sidekey.proxy.state.store)).toEqual([]);
  });

  test('requests no code if a rule requires approval first', async () => {
    const setup = await startLoginServer({}, [{ outcome: 'approve' }]);
    expect(await setup.send('POST /oauth/device/code HTTP/1.1', 'client_id=x')).toMatchObject({
      status: 403,
      reason: 'grant_missing',
    });
    expect(setup.api).toEqual([]);
  });

  test('cannot reach anything else on the host without a grant', async () => {
    const setup = await startLoginServer();
    expect(await setup.send('GET /me HTTP/1.1')).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect(await setup.send('GET /oauth/token?code=x HTTP/1.1')).toMatchObject({ reason: 'bad_request' });
    expect(setup.api).toEqual([]);
  });

  test('gets a form-encoded response if the provider sends one', async () => {
    const setup = await startLoginServer();
    setup.answer(() => ({
      type: 'application/x-www-form-urlencoded',
      body: 'access_token=gho_real&scope=repo&token_type=bearer',
    }));
    const answer = new URLSearchParams((await setup.token(poll)).body);
    expect(answer.get('access_token')).toMatch(/^sidekey/);
    expect(answer.get('scope')).toBe('repo');
    expect(await sealedOf(setup)).toMatchObject({ credential: { accessToken: 'gho_real' } });
  });
});

describe('a second login', () => {
  test('replaces the credential of the same grant, and the audit log records the replacement', async () => {
    const setup = await startLoginServer();
    const first = await loggedIn(setup);
    const [before] = await allGrants(setup.sidekey.proxy.state.store);
    const second = await loggedIn(setup);
    expect(second['refresh_token']).toBe(first['refresh_token']);
    expect(await allGrants(setup.sidekey.proxy.state.store)).toMatchObject([{ id: before!.id }]);
    expect(await sealedOf(setup)).toMatchObject({ credential: { accessToken: setup.issued[3] } });
    expect(
      await setup.sidekey.audited(({ reason }) => reason?.startsWith('replaced') === true),
    ).toMatchObject({
      event: 'grant.connected',
      grant: before!.id,
      reason: 'replaced; login of Program; account dana@acme.test',
    });
  });

  test('never replaces a grant that a person connected, and sends no code', async () => {
    const setup = await startLoginServer();
    await setup.sidekey.grant([setup.upstream.authority], { name: 'program', provider: 'program' });
    expect(await setup.token(codeRequest)).toMatchObject({ status: 409, reason: 'already_exists' });
    expect(setup.received).toEqual([]);
  });

  test('never replaces imported tokens of the same client', async () => {
    const setup = await startLoginServer();
    await setup.sidekey.grant([setup.upstream.authority], {
      name: 'program',
      provider: 'program',
      credential: oauth2Credential({ clientId }),
    });
    expect(await setup.token(codeRequest)).toMatchObject({ status: 409, reason: 'already_exists' });
    expect(setup.received).toEqual([]);
  });

  test('by another program never replaces the first login', async () => {
    const logins = ['one', 'two'].map((id) => ({ program: id, client_id: id }));
    const setup = await startLoginServer({ logins });
    await setup.token({ ...codeRequest, client_id: 'one' });
    expect(await setup.token({ ...codeRequest, client_id: 'two' })).toMatchObject({
      status: 409,
      reason: 'already_exists',
    });
    expect(setup.received).toHaveLength(1);
  });

  test('under another name creates another grant', async () => {
    const setup = await startLoginServer();
    await loggedIn(setup);
    const form = new URLSearchParams(codeRequest).toString();
    const answer = await setup.send(
      'POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nSidekey-Grant: work',
      form,
    );
    expect(answer.status).toBe(200);
    expect((await allGrants(setup.sidekey.proxy.state.store)).map(({ name }) => name)).toEqual([
      'program',
      'work',
    ]);
  });

  test('does not replace a grant that was created during the token request', async () => {
    const setup = await startLoginServer();
    setup.answer(async () => {
      await setup.sidekey.grant([setup.upstream.authority], { name: 'program', provider: 'program' });
      return { body: JSON.stringify({ access_token: 'at-late', refresh_token: 'rt-late' }) };
    });
    const answer = await setup.token(codeRequest);
    expect(answer).toMatchObject({ status: 409, reason: 'already_exists' });
    expect(answer.body).not.toMatch(/at-late|rt-late/);
    expect((await sealedOf(setup)).credential.type).toBe('api_key');
  });
});

describe('an agent that logs in', () => {
  test.each(['secret', 'leased'])(
    'with its %s token creates a grant for its user, bound to the agent',
    async (token) => {
      const setup = await startLoginServer();
      await setup.agent('robot', { user: 'alice', bindings: [{ kind: 'provider', value: 'program' }] });
      const tokens = await loggedIn(setup, `robot:${token}`);
      expect(await allGrants(setup.sidekey.proxy.state.store)).toMatchObject([
        { name: 'program', user: 'alice' },
      ]);
      expect(await setup.sidekey.audited(({ event }) => event === 'grant.connected')).toMatchObject({
        agent: 'robot',
        user: 'alice',
      });
      // A later lease of the agent still has the same placeholder.
      for (const as of ['robot:secret', 'robot:leased'])
        expect(await setup.send(call(tokens['access_token']!), '', as)).toMatchObject({ status: 200 });
      expect(await setup.send(call(tokens['access_token']!))).toMatchObject({
        reason: 'grant_missing',
      });
    },
  );

  test('with a lease for other grants creates no grant, and sends no code', async () => {
    const setup = await startLoginServer();
    await setup.agent('robot', {}, []);
    expect(await setup.token(codeRequest, 'robot:leased')).toMatchObject({ reason: 'grant_missing' });
    expect(setup.received).toEqual([]);
  });

  test('cannot send the placeholder of another caller to the provider', async () => {
    const setup = await startLoginServer();
    const { refresh_token: foreign = '' } = await loggedIn(setup);
    await setup.agent('robot', { user: 'alice' });
    expect(await setup.token({ ...codeRequest, code: foreign }, 'robot:secret')).toMatchObject({
      status: 403,
      reason: 'placeholder_misused',
    });
    expect(setup.received).toHaveLength(1);
  });

  test.each([
    [
      'without a binding to such a grant',
      { bindings: [{ kind: 'provider', value: 'acme' } as const] },
      'robot',
    ],
    ['for another user than its own', { user: 'alice' }, 'robot+user=bob'],
  ])('%s creates no grant, and sends no code', async (_, fields, name) => {
    const setup = await startLoginServer();
    await setup.agent('robot', fields);
    expect(await setup.token(codeRequest, `${name}:secret`)).toMatchObject({
      status: 403,
      reason: 'grant_missing',
    });
    expect(setup.received).toEqual([]);
    expect(await allGrants(setup.sidekey.proxy.state.store)).toEqual([]);
  });

  test('for a grant of another user that is bound to it gets no tokens', async () => {
    const setup = await startLoginServer();
    await loggedIn(setup);
    const [{ id } = { id: '' }] = await allGrants(setup.sidekey.proxy.state.store);
    await setup.agent('robot', { user: 'alice', bindings: [{ kind: 'grant', value: id }] });
    expect(await setup.token(codeRequest, 'robot:secret')).toMatchObject({
      status: 403,
      reason: 'policy_violation',
    });
    expect(await setup.send('GET /oauth/token?code=x HTTP/1.1', '', 'robot:secret')).toMatchObject({
      status: 403,
    });
    expect(setup.received).toHaveLength(1);
  });

  test('does not change the grant of another user', async () => {
    const setup = await startLoginServer();
    await setup.agent('robot', { user: 'alice' });
    await loggedIn(setup);
    await loggedIn(setup, 'robot:secret');
    expect((await allGrants(setup.sidekey.proxy.state.store)).map(({ user }) => user)).toEqual([
      'alice',
      'default',
    ]);
    expect(setup.received).toHaveLength(2);
  });
});

describe('an unsupported response of the token endpoint', () => {
  test.each([
    ['no JSON', { body: '<html>at-real</html>' }],
    ['without an access token', { body: '{"refresh_token":"rt-real","token":"at-real"}' }],
    ['of another token type', { body: '{"access_token":"at-real","token_type":"mac"}' }],
    ['a token with a line break', { body: '{"access_token":"at-real\\nrt-real"}' }],
    ['larger than 1 MiB', { body: JSON.stringify({ access_token: 'at-real', pad: 'x'.repeat(1_050_000) }) }],
    ['a failure', { status: 500, body: '{"access_token":"at-real"}' }],
    ['a redirect', { status: 302, body: '{"access_token":"at-real"}' }],
    ['an error with a token', { status: 400, body: '{"error":"x","refresh_token":"rt-real"}' }],
  ])('(%s) is not forwarded, and creates no grant', async (_, answer) => {
    const setup = await startLoginServer();
    setup.answer(() => answer);
    const got = await setup.token(codeRequest);
    expect(got.body).not.toMatch(/at-real|rt-real/);
    expect(JSON.stringify(got.headers)).not.toMatch(/at-real|rt-real/);
    expect(got.body).toMatch(/provider_refused|"error"/);
    expect(await allGrants(setup.sidekey.proxy.state.store)).toEqual([]);
  });
});

test('a redirect that quotes the refresh token is described without it', async () => {
  const setup = await startLoginServer();
  const secret = 'rt_of_before_0123456789';
  setup.answer(() => ({ status: 302, location: `https://acme.test/${secret}`, body: '' }));
  const request = { grant_type: 'refresh_token', refresh_token: secret, client_id: clientId };
  const got = await setup.token(request);
  expect(got.body).toContain('answered with a redirect');
  expect(JSON.stringify(await setup.sidekey.audit()) + setup.sidekey.logged() + got.body).not.toContain(
    secret,
  );
});

describe('a response with the token in another member', () => {
  test('is forwarded without that member', async () => {
    const setup = await startLoginServer();
    setup.answer(() => ({
      body: JSON.stringify({ access_token: 'at-real-0123', account: { debug: 'Bearer at-real-0123' } }),
    }));
    const answer = await setup.token(codeRequest);
    expect(answer.status).toBe(200);
    expect(answer.body).not.toContain('at-real-0123');
  });
});

describe('a login whose audit record fails', () => {
  const full = new SidekeyError('audit_unavailable', 'The disk is full.', { hint: 'free space' });

  test('is not sent to the provider', async () => {
    const setup = await startLoginServer();
    vi.spyOn(setup.sidekey.proxy.state.audit, 'append').mockRejectedValueOnce(full);
    expect(await setup.token(codeRequest)).toMatchObject({ status: 503, reason: 'audit_unavailable' });
    expect(setup.received).toEqual([]);
  });

  test('returns no token to the program if the grant cannot be recorded', async () => {
    const setup = await startLoginServer();
    const { audit } = setup.sidekey.proxy.state;
    setup.answer(() => {
      vi.spyOn(audit, 'append').mockRejectedValueOnce(full);
      return { body: JSON.stringify({ access_token: 'at-real', refresh_token: 'rt-real' }) };
    });
    const answer = await setup.token(codeRequest);
    expect(answer).toMatchObject({ status: 503, reason: 'audit_unavailable' });
    expect(answer.body).not.toMatch(/at-real|rt-real/);
    expect(await allGrants(setup.sidekey.proxy.state.store)).toEqual([]);
  });
});

describe('a token request that is not a login', () => {
  test.each([
    ['of another client', { ...codeRequest, client_id: 'other' }, 'policy_violation'],
    ['with a password', { ...codeRequest, grant_type: 'password' }, 'policy_violation'],
    ['of the client itself', { ...codeRequest, grant_type: 'client_credentials' }, 'policy_violation'],
  ])('(%s) is refused, and nothing is sent to the provider', async (_, parameters, code) => {
    const setup = await startLoginServer();
    expect(await setup.token(parameters)).toMatchObject({ status: 403, reason: code });
    expect(setup.received).toEqual([]);
  });

  test('never exchanges a placeholder for a token of another kind', async () => {
    const setup = await startLoginServer();
    const tokens = await loggedIn(setup);
    const answer = await setup.token({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      requested_token: 'openai-api-key',
      subject_token: tokens['id_token']!,
      client_id: clientId,
    });
    expect(answer).toMatchObject({ status: 403, reason: 'placeholder_misused' });
    expect(setup.received).toHaveLength(1);
  });

  test('cannot be disguised by a different spelling of the path', async () => {
    const setup = await startLoginServer();
    const answer = await setup.send(
      'POST //oauth/Token/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded',
      new URLSearchParams(codeRequest).toString(),
    );
    for (const token of setup.issued) expect(answer.body).not.toContain(token);
    expect(answer.status).toBe(200);
  });
});

describe('a login that must not be captured', () => {
  test('is refused without a grant, like any other request', async () => {
    const setup = await startLoginServer({ capture_logins: false });
    expect(await setup.token(codeRequest)).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect(setup.received).toEqual([]);
  });

  test('is refused if a rule of its domain denies the request', async () => {
    const setup = await startLoginServer({}, [{ methods: ['GET'] }]);
    const answer = await setup.token(codeRequest);
    expect(answer).toMatchObject({ status: 403, reason: 'rule_denied' });
    expect(problemOf(answer).code).toBe('rule_denied');
    expect(setup.received).toEqual([]);
  });

  test('is refused until a person approves the request', async () => {
    const setup = await startLoginServer({}, [{ outcome: 'approve' }]);
    expect(await setup.token(codeRequest)).toMatchObject({ status: 403, reason: 'approval_missing' });
    expect(setup.received).toEqual([]);
  });
});
