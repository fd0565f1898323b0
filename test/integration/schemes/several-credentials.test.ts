/** Requests with the credentials of several grants: all of them, or none. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import type { Reach } from '../../../src/domain/approval.ts';
import type { Credential } from '../../../src/domain/credential.ts';
import { anyone, placeholderCodes, plainForm } from '../../../src/proxy/placeholders/codes.ts';
import { home } from '../../support/command-line.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { addAgent } from '../../support/rights.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const keyOfApp = 'key-of-the-app-9876543210';
const appKey: Credential = { type: 'api_key', value: keyOfApp };
const inHeader = [{ grant: 'app', as: { header: 'X-Api-Key' } }];

interface Options {
  readonly also?: readonly object[];
  readonly inject?: unknown;
  readonly credential?: Credential;
  readonly audience?: readonly string[];
  readonly user?: string;
  readonly domain?: object;
  /** Credential of the main grant. */
  readonly provider?: string;
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => void;
  /** False: there is no second grant. */
  readonly isThere?: boolean;
}

async function setUp(options: Options = {}) {
  const { also = inHeader, inject = 'bearer', credential = appKey, isThere = true, domain = {} } = options;
  const { answer = (_request, response) => response.end('ok') } = options;
  const seen: {
    readonly url: string;
    readonly headers: IncomingMessage['headers'];
    readonly body: string;
  }[] = [];
  const upstream = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      seen.push({ url: request.url ?? '', headers: request.headers, body });
      answer(request, response);
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', also, ...domain } },
    config: {
      providers: {
        acme: { audience: [upstream.authority], inject },
        app: {
          audience: [upstream.authority],
          token_endpoint: `${upstream.url}/token`,
          client_id: 'robot',
          expired: { status: 498 },
        },
      },
    },
  });
  const grant = await sidekey.grant([upstream.authority], { provider: options.provider ?? 'acme' });
  const { audience = [upstream.authority], user = 'default' } = options;
  const app = isThere
    ? await sidekey.grant(audience, { name: 'app', provider: 'app', credential, user })
    : null;
  const connect = async (as?: string) => {
    const proxy = as === undefined ? '' : `Proxy-Authorization: Basic ${Buffer.from(as).toString('base64')}`;
    return openTunnel(sidekey, upstream.authority, { fields: proxy === '' ? [] : [proxy] });
  };
  const ask = async (target = '/', fields: readonly string[] = [], body = '', as?: string) => {
    const client = await connect(as);
    const framing = body === '' ? [] : [`Content-Length: ${body.length}`, 'Content-Type: application/json'];
    const head = [`${body === '' ? 'GET' : 'POST'} ${target} HTTP/1.1`, `Host: ${upstream.authority}`];
    client.send(`${[...head, ...framing, ...fields].join('\r\n')}\r\n\r\n${body}`);
    return client.response();
  };
  return { sidekey, upstream, seen, grant, app, ask, connect };
}

describe('a request gets the credentials of two grants', () => {
  test('in one field each, in place of the fields of the client', async () => {
    const { ask, seen } = await setUp();
    expect((await ask('/', ['x-api-key: mine', 'Authorization: Bearer mine'])).status).toBe(200);
    expect(seen[0]?.headers).toMatchObject({ authorization: `Bearer ${bearerToken}`, 'x-api-key': keyOfApp });
  });

  test('with the second credential in the query', async () => {
    const { ask, seen } = await setUp({ also: [{ grant: 'app', as: { query: 'key' } }] });
    await ask('/a?x=1&key=mine');
    expect(seen[0]).toMatchObject({ url: `/a?x=1&key=${keyOfApp}` });
    expect(seen[0]?.headers.authorization).toBe(`Bearer ${bearerToken}`);
  });

  test('with the main credential in place of its placeholder', async () => {
    const { ask, seen, sidekey, grant } = await setUp({ inject: 'placeholder' });
    const it = placeholderCodes(sidekey.proxy.state.vault).make(plainForm, anyone, grant.id);
    await ask('/', [`Authorization: token ${it}`]);
    expect(seen[0]?.headers).toMatchObject({ authorization: `token ${bearerToken}`, 'x-api-key': keyOfApp });
  });

  test('with both fingerprints in the audit log before the request is sent', async () => {
    const { ask, sidekey, grant, app } = await setUp();
    await ask();
    const lines = await sidekey.audit();
    const events = lines.map(({ event }) => event);
    const added = lines.find(({ event }) => event === 'credential.added')!;
    const access = lines.find(({ event }) => event === 'access')!;
    expect(events.indexOf('credential.added')).toBe(events.indexOf('access') - 1);
    expect(added).toMatchObject({ grant: app!.id, provider: 'app', exchange: access.exchange });
    expect(access).toMatchObject({ grant: grant.id, provider: 'acme' });
    expect(added.credential).toMatch(/^[0-9a-f]{16}$/);
    expect(added.credential).not.toBe(access.credential);
    expect(JSON.stringify(lines)).not.toContain(keyOfApp);
  });

  test('and the response contains neither credential', async () => {
    const { ask, sidekey } = await setUp({
      domain: { leak_guard: 'redact' },
      answer: ({ headers }, response) =>
        response.end(`${headers.authorization} ${String(headers['x-api-key'])}.`),
    });
    expect((await ask()).body).toBe(
      `Bearer ${'*'.repeat(bearerToken.length)} ${'*'.repeat(keyOfApp.length)}.`,
    );
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ leaks: 2 });
  });

  test('and the placeholder of the second grant is replaced only in its field', async () => {
    const { ask, seen, sidekey, app } = await setUp();
    const it = placeholderCodes(sidekey.proxy.state.vault).make(plainForm, anyone, app!.id);
    expect((await ask('/', [`X-Api-Key: ${it}`])).status).toBe(200);
    expect(seen[0]?.headers['x-api-key']).toBe(keyOfApp);
    for (const answer of [await ask('/', [`X-Other: ${it}`]), await ask(`/?a=${it}`)])
      expect(answer).toMatchObject({ status: 403, reason: 'placeholder_misused' });
    expect(seen).toHaveLength(1);
  });

  test('a selector chooses the second grant of the same user', async () => {
    const { ask, sidekey, upstream, seen } = await setUp({ user: 'alice' });
    const bob: Credential = { type: 'api_key', value: 'key-of-bob-0123456789' };
    const options = { provider: 'app', name: 'app', user: 'bob', credential: bob };
    await sidekey.grant([upstream.authority], options);
    await sidekey.grant([upstream.authority], { user: 'bob' });
    expect(await ask()).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect((await ask('/', [], '', '+user=bob:')).status).toBe(200);
    expect(seen.map(({ headers }) => headers['x-api-key'])).toEqual([bob.value]);
  });
});

async function waiting() {
  const it = await setUp({ domain: { rules: [{ outcome: 'approve' }] } });
  const { store } = it.sidekey.proxy.state;
  const ask = async () => {
    const answer = it.ask();
    const asked = await it.sidekey.audited(({ event }) => event === 'approval.asked');
    return { answer, question: (await store.approvals.get(asked.approval!))! };
  };
  const allow = async (id: string, reach: Reach = { kind: 'once' }) =>
    store.approvals.answer(id, { outcome: 'allowed', at: Date.now(), by: 'alice in a terminal', reach });
  return { ...it, waiting: ask, allow };
}

describe('a person who is asked to approve', () => {
  test('sees both grants, and allows both', async () => {
    const { waiting: wait, allow, seen } = await waiting();
    const { answer, question } = await wait();
    expect(question.grantName).toBe('acme and app');
    await allow(question.id);
    expect((await answer).status).toBe(200);
    expect(seen[0]?.headers).toMatchObject({ authorization: `Bearer ${bearerToken}`, 'x-api-key': keyOfApp });
  });

  test('has not approved a different second grant that is configured while the request waits', async () => {
    const { waiting: wait, allow, seen, sidekey, app, upstream } = await waiting();
    const { answer, question } = await wait();
    await sidekey.proxy.state.grants.remove(app!.id);
    const credential: Credential = { type: 'api_key', value: 'another-key-0123456789' };
    await sidekey.grant([upstream.authority], { name: 'app', provider: 'app', credential });
    await allow(question.id);
    expect(await answer).toMatchObject({ status: 403, reason: 'rule_denied' });
    expect(seen).toEqual([]);
  });

  test('approves these two grants for some time, and no other pair', async () => {
    const { waiting: wait, allow, seen, sidekey, app, upstream, ask } = await waiting();
    const { answer, question } = await wait();
    await allow(question.id, { kind: 'until', at: Date.now() + 600_000 });
    expect((await answer).status).toBe(200);
    expect((await ask()).status).toBe(200);
    expect(seen).toHaveLength(2);
    await sidekey.proxy.state.grants.remove(app!.id);
    const credential: Credential = { type: 'api_key', value: 'another-key-0123456789' };
    await sidekey.grant([upstream.authority], { name: 'app', provider: 'app', credential });
    const other = ask();
    const asked = await sidekey.audited(
      ({ event, approval }) => event === 'approval.asked' && approval !== question.id,
    );
    const said = { outcome: 'denied', at: Date.now(), by: 'alice in a terminal' } as const;
    await sidekey.proxy.state.store.approvals.answer(asked.approval!, said);
    expect(await other).toMatchObject({ status: 403, reason: 'approval_denied' });
    expect(seen).toHaveLength(2);
  });
});

describe('a request is refused, and nothing is sent,', () => {
  test.each<readonly [string, Options, string]>([
    ['there is no second grant', { isThere: false }, 'grant_missing'],
    [
      'the host is outside the audience of the second grant',
      { audience: ['other.acme.test'] },
      'policy_violation',
    ],
    [
      'the second grant has expired',
      { credential: oauth2Credential({ accessToken: 'a', expiresAt: Date.now() - 60_000 }) },
      'grant_expired',
    ],
    [
      'the second credential has the place of the main one',
      { inject: { header: 'x-api-key' } },
      'policy_violation',
    ],
    [
      'both stand in one parameter',
      { inject: { query: 'key' }, also: [{ grant: 'app', as: { query: 'KEY' } }] },
      'policy_violation',
    ],
  ])('if %s', async (_, options, reason) => {
    const { ask, seen, sidekey } = await setUp(options);
    expect(await ask()).toMatchObject({ status: 403, reason });
    expect(seen).toEqual([]);
    expect((await sidekey.audit()).map(({ event }) => event)).not.toContain('access');
  });

  test('if the agent or its lease has only the main grant', async () => {
    const { ask, seen, sidekey, grant } = await setUp();
    const { store } = sidekey.proxy.state;
    await addAgent(store, 'robot', 'secret', { bindings: [{ kind: 'grant', value: grant.id }] });
    const answer = await ask('/', [], '', 'robot:secret');
    expect(answer).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect(problemOf(answer).detail).toContain('no grant app');
    expect(seen).toEqual([]);
  });

  test('if the second grant was revoked, even within an open tunnel', async () => {
    const { connect, upstream, sidekey, app } = await setUp();
    const client = await connect();
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200 });
    await sidekey.proxy.state.grants.setState(app!, 'revoked', 'a person said so');
    expect(await ask()).toMatchObject({ status: 403, reason: 'grant_revoked' });
  });
});

test('a streaming response is cut when the second grant is revoked', async () => {
  const { connect, upstream, sidekey, app } = await setUp({
    answer: (_request, response) => void response.write('first '),
  });
  const client = await connect();
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  await once(client.socket, 'readable');
  await sidekey.proxy.state.grants.setState(app!, 'revoked', 'a person said so');
  await client.ended();
  const end = await sidekey.audited(({ event }) => event === 'outcome');
  expect(end).toMatchObject({ code: 'grant_revoked' });
});

test.each([401, 498])(
  'a token of the second grant that the upstream refuses by %i is refreshed, and the request is sent again',
  async (refusal) => {
    let tokens = 0;
    const { ask, seen, sidekey } = await setUp({
      credential: oauth2Credential({
        accessToken: 'stale',
        refreshToken: 'refresh',
        expiresAt: Date.now() + 3_600_000,
      }),
      answer: (request, response) => {
        if (request.url === '/token') {
          tokens += 1;
          response.setHeader('content-type', 'application/json');
          response.end(JSON.stringify({ access_token: 'fresh', token_type: 'bearer', expires_in: 3600 }));
        } else response.writeHead(request.headers['x-api-key'] === 'fresh' ? 200 : refusal).end();
      },
    });
    expect((await ask()).status).toBe(200);
    expect(tokens).toBe(1);
    expect(seen.filter(({ url }) => url === '/').map(({ headers }) => headers['x-api-key'])).toEqual([
      'stale',
      'fresh',
    ]);
    const prints = (await sidekey.audit()).flatMap((line) =>
      line.event === 'credential.added' ? [line.credential] : [],
    );
    expect(new Set(prints).size).toBe(2);
  },
);

test('a second grant added to an entry while a connection is open applies to the next request', async () => {
  const { connect, upstream, sidekey, seen } = await setUp({
    domain: { also: undefined },
    // Without a definition, its placement is the same object for each config.
    provider: 'gone',
  });
  const client = await connect();
  const ask = async () => {
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return client.response();
  };
  for (let time = 0; time < 2; time += 1) expect(await ask()).toMatchObject({ status: 200 });
  await sidekey.configure({ domains: { [upstream.authority]: { grant: 'acme', also: inHeader } } });
  expect(await ask()).toMatchObject({ status: 200 });
  expect(seen.map(({ headers }) => headers['x-api-key'])).toEqual([undefined, undefined, keyOfApp]);
});

test('explain names both grants, and domain list shows them', async () => {
  const at = await home({
    domains: { 'api.stripe.com': { grant: 'stripe', also: [{ grant: 'app', as: { header: 'X-Api-Key' } }] } },
  });
  const key = { type: 'api_key', value: 'explained-secret-0123456789' };
  await at.grant('stripe', key, ['--provider', 'stripe']);
  const ask = async () => (await at.run(['explain', 'https://api.stripe.com/'])).stdout;
  expect(await ask()).toContain('Refused with 403 grant_missing: There is no grant app');
  await at.grant('app', key, ['--provider', 'acme', '--audience', 'api.stripe.com']);
  const said = await ask();
  expect(said).toContain('X-Api-Key: … (the grant app)');
  expect(said).toContain('Allowed: with the credential of stripe and app.');
  expect((await at.run(['domain', 'list'])).stdout).toContain('grant stripe and app');
});
