import { writeFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openState } from '../../../src/app/state.ts';
import { refreshParts } from '../../../src/app/refresh-parts.ts';
import { disconnectAccount } from '../../../src/operations/auth0-login.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { type Auth0Options, type Auth0Server, startAuth0 } from '../../support/auth0-server.ts';
import { home, type Home, type Ran } from '../../support/command-line.ts';
import { begin, type Begun, visit } from '../../support/connect-home.ts';
import { curl, curlMissing } from '../../support/curl.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';
import { allGrants } from '../../support/all-grants.ts';

const silent = ['--no-browser', '--port', '0'];

const openid = ['openid', 'profile'];

const work = { id: 'cac_work', connection: 'google-oauth2', scopes: [...openid, 'email'], hint: 'work' };

interface Place extends Omit<Home, 'grant'> {
  readonly auth0: Auth0Server;
  readonly begin: (...args: readonly string[]) => Begun;
  /** Runs `connect`, with a person who says yes at each page. */
  readonly connect: (...args: readonly string[]) => Promise<Ran & { readonly page: string }>;
  /** A grant, as `grant show --json` has it. */
  readonly grant: (name: string) => Promise<Record<string, unknown>>;
}

/** A tenant, and a config that knows it; logged in there unless a test does that itself. */
async function place(
  options: Auth0Options = {},
  isLoggedIn = true,
  deskHosts: readonly string[] = ['desk.acme.test'],
): Promise<Place> {
  const auth0 = await startAuth0(options);
  const env = { AUTH0_SECRET: auth0.client.clientSecret };
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      auth0: {
        title: 'Auth0',
        authorization_endpoint: `${auth0.url}/authorize`,
        token_endpoint: auth0.tokenEndpoint,
        issuer: `${auth0.url}/`,
        client_id: auth0.client.clientId,
        client_secret: 'env:AUTH0_SECRET',
        client_auth: options.auth ?? 'post',
        flows: ['authorization_code', 'auth0_connection'],
        scopes: ['openid', 'offline_access'],
        audience: [auth0.authority],
      },
      desk: { title: 'Acme Desk', audience: deskHosts },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const start = (...args: readonly string[]) =>
    begin([...args, '--config', at.configFile], at.folder, { env });
  const connect: Place['connect'] = async (...args) => {
    const command = start('connect', ...args, '--no-verify', ...silent);
    const walk = async () => {
      const { location, page } = await auth0.browse(await command.consentUrl());
      if (location === null) throw new Error(page);
      return (await visit(location)).body;
    };
    // A command that asks nobody ends without an address.
    const page = await Promise.race([walk(), command.done.then(() => '')]);
    return { ...(await command.done), page };
  };
  const result: Place = {
    ...at,
    run: (args, more = {}) => at.run(args, { ...more, env: { ...env, ...more.env } }),
    auth0,
    begin: start,
    connect,
    grant: async (name) => (await at.json(['grant', 'show', name], { env })) as Record<string, unknown>,
  };
  if (isLoggedIn) {
    const { exit, stderr } = await connect('auth0', '--no-domains');
    if (exit !== 0) throw new Error(stderr);
    auth0.calls.length = 0;
  }
  return result;
}

describe('a login at Auth0', () => {
  test('opens a consent in the browser, and keeps the refresh token', async () => {
    const at = await place({}, false);
    const ran = await at.connect('auth0', '--no-domains');
    expect(ran).toMatchObject({ exit: 0, page: expect.stringContaining('Auth0 is connected') });
    expect(await at.grant('auth0')).toMatchObject({ provider: 'auth0', state: 'active', refreshable: true });
    expect(at.auth0.faults).toEqual([]);
  });
});

describe('an account that is connected through Auth0', () => {
  test('is connected in the browser, and becomes a grant of its own provider', async () => {
    const at = await place();
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'calendar');
    expect(ran).toMatchObject({ exit: 0, page: expect.stringContaining('Google is connected') });
    expect(at.auth0.faults).toEqual([]);
    expect(at.auth0.calls).toEqual([
      'account_token',
      'GET accounts',
      'POST connect',
      'POST complete',
      'exchange',
    ]);
    expect(await at.grant('google')).toMatchObject({
      provider: 'google',
      state: 'active',
      type: 'oauth2',
      refreshable: true,
      scopes: ['calendar', ...openid],
      audience: expect.not.arrayContaining([at.auth0.authority]),
    });
    const said = ran.stdout + ran.stderr + ran.page;
    for (const secret of ['my-account-', 'token-of-', 'auth0-refresh', at.auth0.client.clientSecret]) {
      expect(said).not.toContain(secret);
    }
  });

  test('of a service that is no provider yet becomes a grant of a new provider', async () => {
    const at = await place();
    const hosts = ['--allowed-domains', 'tickets.acme.test'];
    const connection = ['--via', 'auth0', '--connection', 'google-oauth2'];
    const ran = await at.connect('tickets', ...connection, ...hosts, '--scope', 'calendar');
    expect(ran).toMatchObject({ exit: 0, stderr: expect.stringContaining('Saved providers.tickets') });
    expect(await at.grant('tickets')).toMatchObject({
      provider: 'tickets',
      refreshable: true,
      audience: ['tickets.acme.test'],
    });
    const again = await at.run(['connect', 'tickets', ...connection, ...hosts, '--replace', ...silent]);
    expect(again).toMatchObject({ exit: 0, stderr: expect.not.stringContaining('Saved providers') });
  });

  test('is used unchanged if it already has the scopes', async () => {
    const at = await place({ accounts: [work] });
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'email');
    expect(ran).toMatchObject({ exit: 0, page: '' });
    expect(at.auth0.calls).toEqual(['account_token', 'GET accounts', 'exchange']);
    expect(at.auth0.faults).toEqual([]);
    expect(ran.stdout).toContain('cac_work');
  });

  test('is connected again if Auth0 has no token for the account', async () => {
    const at = await place({ accounts: [work] });
    const gone = { error: 'federated_connection_refresh_token_flow_failed' };
    at.auth0.refuse('exchange', { status: 401, body: gone });
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'email');
    expect(ran).toMatchObject({ exit: 0, page: expect.stringContaining('Google is connected') });
    expect(at.auth0.calls).toEqual([
      'account_token',
      'GET accounts',
      'exchange',
      'POST connect',
      'POST complete',
      'exchange',
    ]);
  });

  test('keeps its grant and its scopes when more scopes are requested', async () => {
    const at = await place({ accounts: [work] });
    await at.connect('google', '--via', 'auth0', '--scope', 'email');
    const before = await at.grant('google');
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'calendar');
    expect(ran.exit).toBe(0);
    const after = await at.grant('google');
    expect(after['id']).toBe(before['id']);
    expect(after['scopes']).toEqual(expect.arrayContaining(['calendar', 'email', ...openid]));
    // Scopes that only Auth0 has are requested too: named scopes replace the earlier ones.
    expect(at.auth0.accounts).toMatchObject([{ id: 'cac_work', scopes: expect.arrayContaining(['email']) }]);
    expect(at.auth0.faults).toEqual([]);
  });

  test('has the scopes that another program requested, after it is connected again', async () => {
    const at = await place({ accounts: [{ ...work, scopes: [...openid, 'drive'] }] });
    await at.connect('google', '--via', 'auth0', '--scope', 'calendar');
    expect(at.auth0.accounts[0]?.scopes.toSorted()).toEqual(['calendar', 'drive', ...openid].toSorted());
  });

  test('of a connection without scopes can be connected without scopes', async () => {
    const at = await place();
    const ran = await at.connect('github', '--via', 'auth0', '--scope', 'repo');
    expect(ran.exit).toBe(0);
    expect(at.auth0.bodies.find((body) => 'code_challenge' in body)).not.toHaveProperty('scopes');
    expect(ran.stderr).toContain('accepts no scopes');
    expect(at.auth0.faults).toEqual([]);
  });

  test('with fewer scopes than requested is reported', async () => {
    const at = await place();
    at.auth0.withhold('calendar');
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'calendar');
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toContain('Asked for calendar too');
  });

  test('of a connection with another name is reported with that name', async () => {
    const at = await place();
    const unnamed = await at.connect('desk', '--via', 'auth0', '--no-domains');
    expect(unnamed).toMatchObject({ exit: 2 });
    expect(unnamed.stderr).toContain('it has google-oauth2, github, acme-desk.');
    const named = await at.connect('desk', '--via', 'auth0', '--connection', 'acme-desk', '--no-domains');
    expect(named).toMatchObject({ exit: 0 });
    expect(at.auth0.accounts).toMatchObject([{ connection: 'acme-desk' }]);
    expect(at.auth0.faults).toEqual([]);
  });

  test('is selected from several by the login hint, now and at the next refresh', async () => {
    const at = await place({ accounts: [work, { ...work, id: 'cac_home', hint: 'home' }] });
    const any = await at.connect('google', '--via', 'auth0', '--scope', 'email');
    expect(any.stderr).toContain('--login-hint');
    const one = await at.connect('google', '--via', 'auth0', '--scope', 'email', '--login-hint', 'work');
    expect(one.exit).toBe(0);
    expect((await at.run(['grant', 'refresh', 'google', '--force'])).exit).toBe(0);
    expect(at.auth0.bodies.slice(-2)).toMatchObject([{ login_hint: 'work' }, { login_hint: 'work' }]);
    expect(at.auth0.faults).toEqual([]);
  });

  test('is connected in the browser if the named account lacks the scopes', async () => {
    const at = await place({ accounts: [work, { ...work, id: 'cac_home', scopes: openid, hint: 'home' }] });
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'email', '--login-hint', 'home');
    expect(ran.exit).toBe(0);
    expect(at.auth0.calls).toEqual([
      'account_token',
      'GET accounts',
      'exchange',
      'POST connect',
      'POST complete',
      'exchange',
    ]);
  });

  test('stays the same if its grant is reconnected with another name and hint', async () => {
    const desk = { id: 'cac_desk', connection: 'acme-desk', scopes: [], hint: 'me' };
    const at = await place({ accounts: [desk, { ...desk, id: 'cac_other', hint: 'other' }] });
    const first = [
      'desk',
      '--via',
      'auth0',
      '--connection',
      'acme-desk',
      '--login-hint',
      'me',
      '--no-domains',
    ];
    expect(await at.connect(...first)).toMatchObject({ exit: 0 });
    const { id: via } = await at.grant('auth0');
    const again = await at.connect('desk', '--via', String(via), '--no-domains', '--replace');
    expect(again).toMatchObject({ exit: 0, page: '' });
    const exchanges = at.auth0.bodies.filter((body) => 'subject_token' in body);
    expect(exchanges).toMatchObject([
      { connection: 'acme-desk', login_hint: 'me' },
      { connection: 'acme-desk', login_hint: 'me' },
    ]);
    // By another login it is another account, of whatever name.
    await at.connect('auth0', '--name', 'second', '--no-domains');
    const elsewhere = await at.connect('desk', '--via', 'second', '--no-domains', '--replace');
    expect(elsewhere).toMatchObject({ exit: 2, stderr: expect.stringContaining('--connection NAME') });
  });

  test('can be connected without a browser by pasting the callback, as a query or a fragment', async () => {
    const at = await place();
    for (const mark of ['?', '#']) {
      const command = at.begin(
        'connect',
        'google',
        '--via',
        'auth0',
        '--scope',
        `scope${mark}`,
        '--paste',
        '--no-verify',
      );
      const { location } = await at.auth0.browse(await command.consentUrl());
      command.stdin.end(`${location?.replace('?', mark) ?? ''}\n`);
      expect(await command.done).toMatchObject({ exit: 0 });
    }
    expect(at.auth0.faults).toEqual([]);
  });

  test('is refreshed by the same token exchange, and requires a new consent after it is disconnected', async () => {
    const at = await place({ accounts: [work] });
    await at.connect('google', '--via', 'auth0', '--scope', 'email');
    at.auth0.calls.length = 0;
    expect(await at.run(['grant', 'refresh', 'google', '--force'])).toMatchObject({ exit: 0 });
    expect(at.auth0.calls).toEqual(['exchange']);
    at.auth0.accounts.length = 0;
    expect(await at.run(['grant', 'refresh', 'google', '--force'])).toMatchObject({ exit: 4 });
    expect(await at.grant('google')).toMatchObject({ state: 'reauth_required' });
    expect(await at.grant('auth0')).toMatchObject({ state: 'active' });
    expect(await at.connect('google', '--via', 'auth0', '--scope', 'email')).toMatchObject({ exit: 0 });
    expect(await at.grant('google')).toMatchObject({ state: 'active' });
  });
});

describe('the proxy', () => {
  test.skipIf(curlMissing)(
    'gets the token of the account from Auth0 when a refresh is due, and adds the token to requests (curl)',
    async () => {
      const received: (string | undefined)[] = [];
      const api = await startUpstream((request, response) => {
        received.push(request.headers.authorization);
        response.end('tickets');
      });
      const desk = { id: 'cac_desk', connection: 'acme-desk', scopes: [], hint: 'me' };
      const at = await place({ accounts: [desk], lifetimeS: 1 }, true, [api.authority]);
      const ran = await at.connect('desk', '--via', 'auth0', '--connection', 'acme-desk');
      expect(ran).toMatchObject({ exit: 0 });
      at.auth0.calls.length = 0;
      const { expires_at: endsAt } = (await at.grant('desk')) as { readonly expires_at: string };
      await setTimeout(Math.max(0, Date.parse(endsAt) - Date.now()));
      const { url, caFile } = await at.start({ env: { AUTH0_SECRET: at.auth0.client.clientSecret } });
      const answer = await curl('-x', url, '--cacert', caFile, `${api.url}/`);
      expect(answer).toMatchObject({ status: 200, body: 'tickets' });
      expect(received).toEqual(['Bearer token-of-cac_desk']);
      expect(new Set(at.auth0.calls)).toEqual(new Set(['exchange']));
      expect(at.auth0.faults).toEqual([]);
    },
  );
});

describe('a failed consent at Auth0 connects nothing', () => {
  test('if the person refuses', async () => {
    const at = await place();
    at.auth0.deny();
    const ran = await at.connect('google', '--via', 'auth0');
    expect(ran).toMatchObject({ exit: 5, page: expect.stringContaining('said no') });
    expect(ran.stderr).toContain('access_denied');
    expect(at.auth0.calls).not.toContain('POST complete');
    expect(await at.run(['grant', 'show', 'google'])).toMatchObject({ exit: 4 });
  });

  test.each([
    ['connect', { status: 404, body: { title: 'x', detail: 'The connection does not exist.' } }, 5],
    ['complete', { status: 400, body: { title: 'x', detail: 'The session has expired.' } }, 5],
    ['accounts', { status: 500, body: '' }, 6],
    ['account_token', { status: 403, body: { error: 'access_denied', error_description: 'not yours' } }, 5],
    ['exchange', { status: 403, body: { error: 'mfa_required' } }, 5],
    ['exchange', { status: 503, body: '' }, 6],
  ] as const)('when %s is answered with %j', async (step, refusal, exit) => {
    const at = await place();
    at.auth0.refuse(step, refusal);
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'calendar');
    expect(ran.exit).toBe(exit);
    expect(ran.stderr).toMatch(/\n {2}→ /);
    expect(await at.run(['grant', 'show', 'google'])).toMatchObject({ exit: 4 });
  });

  test('without a login grant', async () => {
    const at = await place({}, false);
    const none = await at.connect('google', '--via', 'auth0');
    expect(none).toMatchObject({ exit: 4 });
    expect(none.stderr).toContain('→ log in first: sidekey connect auth0');
    await at.run(['grant', 'import', 'other', '--provider', 'desk'], { input: '{"access_token":"x"}' });
    const other = await at.connect('google', '--via', 'other');
    expect(other).toMatchObject({ exit: 2 });
    expect(other.stderr).toContain('other is not a login at Auth0');
    expect(at.auth0.calls).toEqual([]);
  });

  test('with only the login of another user', async () => {
    const at = await place({ accounts: [work] });
    const ran = await at.connect('google', '--via', 'auth0', '--user', 'alice');
    expect(ran).toMatchObject({ exit: 4 });
    expect(ran.stderr).toContain('sidekey connect auth0 --user alice');
    expect(at.auth0.calls).toEqual([]);
  });

  test('with --print-url', async () => {
    const at = await place();
    const ran = await at.run(['connect', 'google', '--via', 'auth0', '--print-url']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('--via and --print-url') });
    expect(at.auth0.calls).toEqual([]);
  });

  test('after the login expired, and the login grant shows the expiry', async () => {
    const at = await place();
    at.auth0.endLogin();
    const ran = await at.connect('google', '--via', 'auth0');
    expect(ran).toMatchObject({ exit: 4 });
    expect(ran.stderr).toContain('→ sidekey connect auth0');
    expect(await at.grant('auth0')).toMatchObject({ state: 'reauth_required' });
  });
});

describe('a single-use refresh token of the login', () => {
  test('is stored before the call of the My Account API', async () => {
    const at = await place({ rotates: true });
    for (const scope of ['a', 'b', 'c']) {
      expect(await at.connect('google', '--via', 'auth0', '--scope', scope)).toMatchObject({ exit: 0 });
    }
    expect(at.auth0.refreshToken()).toBe('auth0-refresh-4');
    expect(await at.run(['grant', 'refresh', 'auth0', '--force'])).toMatchObject({ exit: 0 });
    expect(at.auth0.faults).toEqual([]);
  });

  test('is not lost if the application may not use the My Account API', async () => {
    const at = await place({ rotates: true, allowed: ['openid'] });
    const ran = await at.connect('google', '--via', 'auth0');
    expect(ran).toMatchObject({ exit: 5 });
    expect(ran.stderr).toContain('without create:me:connected_accounts');
    expect(ran.stderr).toContain('docs/auth0-token-vault.md');
    expect(await at.run(['grant', 'refresh', 'auth0', '--force'])).toMatchObject({ exit: 0 });
    expect(at.auth0.faults).toEqual([]);
  });
});

async function disconnect(at: Place, name: string) {
  const env = { AUTH0_SECRET: at.auth0.client.clientSecret };
  const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
  const state = await openState(await loadConfig(at.configFile, { env }), { log, now: Date.now });
  try {
    const grant = (await allGrants(state.store)).find((each) => each.name === name);
    const opened = await state.grants.read(grant?.id ?? '');
    if (opened === null) throw new Error(`no grant ${name}`);
    const { config } = state;
    const { fetch } = testUpstreamClient();
    const parts = refreshParts(state, { config: () => config, fetch: () => fetch, now: Date.now, env });
    return await disconnectAccount(opened, { ...parts, fetch }, new AbortController().signal);
  } finally {
    await state.close();
  }
}

describe('disconnecting an account at Auth0', () => {
  test('is left to the person if several accounts match', async () => {
    const at = await place({ accounts: [work, { ...work, id: 'cac_home', hint: 'home' }] });
    const ran = await at.connect('google', '--via', 'auth0', '--scope', 'email', '--login-hint', 'home');
    expect(ran.exit).toBe(0);
    await expect(disconnect(at, 'google')).rejects.toMatchObject({ code: 'input_invalid' });
    await at.connect('google', '--via', 'auth0', '--scope', 'calendar', '--name', 'other');
    await expect(disconnect(at, 'other')).rejects.toMatchObject({ code: 'input_invalid' });
    expect(at.auth0.accounts).toHaveLength(2);
  });

  test('removes the tokens of the account at Auth0, and no other tokens', async () => {
    const other = { ...work, id: 'cac_other', connection: 'github', scopes: [] };
    const at = await place({ accounts: [work, other] });
    await at.connect('google', '--via', 'auth0', '--scope', 'email');
    expect(await disconnect(at, 'google')).toEqual({ kind: 'disconnected' });
    expect(at.auth0.accounts.map(({ id }) => id)).toEqual(['cac_other']);
    expect(await disconnect(at, 'google')).toEqual({ kind: 'gone' });
    expect(at.auth0.faults).toEqual([]);
  });

  test('does not affect another grant or another account of the connection', async () => {
    const at = await place({ accounts: [work] });
    await at.connect('google', '--via', 'auth0', '--scope', 'email');
    at.auth0.accounts.splice(0, 1, { ...work, id: 'cac_newer' });
    expect(await disconnect(at, 'google')).toEqual({ kind: 'gone' });
    expect(at.auth0.accounts).toHaveLength(1);
    await expect(disconnect(at, 'auth0')).rejects.toMatchObject({ code: 'input_invalid' });
  });
});
