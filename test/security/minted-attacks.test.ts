/**
 * Attacks on answers that hand out credentials: no way of asking, no form of an answer, and no moment gives
 * the credential to the client.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { fetchHome } from '../support/fetch-home.ts';
import { grantedRaw, grantedTo } from '../support/granted.ts';
import { answerOf, ask, openSession } from '../support/h2-client.ts';
import {
  expectNothingOf,
  mintedSecret as secret,
  type Minting,
  seenBy,
  startMinting,
} from '../support/minting.ts';
import { oauth2Credential } from '../support/oauth2-credential.ts';
import { openTunnel } from '../support/raw-client.ts';
import { requestBody } from '../support/request-body.ts';
import { runHome } from '../support/run-command.ts';
import { startService } from '../support/service.ts';
import { startSidekey } from '../support/sidekey.ts';
import { ask as askWorker, startTwoWorkers } from '../support/two-workers.ts';
import { startH2Upstream, startUpstream } from '../support/upstream.ts';
import { program } from '../support/command-line.ts';

const row = { name: 'session', path: '/token', member: 'token', keep: ['sku'] };
const answer = JSON.stringify({ token: secret, sku: 'free' });
const hand = (_: IncomingMessage, response: ServerResponse) => void response.end(answer);
const elsewhere = { ...row, goes_to: ['stream.acme.test'] };

/** Sends bytes through a tunnel. Resolves with all that comes back until the proxy closes the connection. */
async function through({ sidekey, api }: Minting, ...texts: string[]): Promise<string> {
  const client = await openTunnel(sidekey, api.authority);
  client.send(...texts.map((text) => text.replaceAll('HOST', api.authority)));
  return client.ended();
}

/** Ways to ask for the answer of a row. Each resolves with everything that its client received. */
const ways: Readonly<Record<string, (at: Minting) => Promise<string>>> = {
  'a base address': ({ sidekey, api }) =>
    fetch(`${sidekey.url}/+/${api.authority}/token`).then((response) => response.text()),
  HEAD: async ({ get }) => (await get('/token', { method: 'HEAD' })).all,
  'HEAD that a field turns into GET': async ({ get }) =>
    (await get('/token', { method: 'HEAD', headers: { 'x-http-method-override': 'GET' } })).all,
  'an unknown method': async ({ get }) => (await get('/token', { method: 'PURGE' })).all,
  'a body that waits for 100': async ({ get }) =>
    (await get('/token', { method: 'POST', headers: { expect: '100-continue' }, body: 'a=1' })).all,
  'a part of the answer': async ({ get }) =>
    (await get('/token', { headers: { range: 'bytes=0-20', 'if-range': '"a"' } })).all,
  'chunks with trailers': (at) =>
    through(
      at,
      'POST /token HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n',
      '3\r\na=1\r\n0\r\nX-Path: /other\r\n\r\n',
    ),
  'two requests in one piece': (at) =>
    through(
      at,
      'GET /token HTTP/1.1\r\nHost: HOST\r\n\r\nGET /token HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n',
    ),
  'HTTP/1.0': (at) => through(at, 'GET /token HTTP/1.0\r\nHost: HOST\r\n\r\n'),
  'an upgrade to HTTP/2': (at) =>
    through(
      at,
      'GET /token HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n',
    ),
  'HTTP/2': async ({ sidekey, api }) =>
    JSON.stringify(await ask(await openSession(sidekey, api.authority), { ':path': '/token' })),
};

describe('no way of asking shows the credential', () => {
  test.each(Object.entries(ways))('%s', async (_name, way) => {
    const at = await startMinting([row], hand);
    const all = await way(at);
    expect(all.length).toBeGreaterThan(0);
    expectNothingOf(all);
  });

  test('a WebSocket over HTTP/2', async () => {
    const upstream = await startH2Upstream((_, response) => response.end(answer), {
      enableConnectProtocol: true,
    });
    const { sidekey } = await grantedTo(upstream, {
      domains: { [upstream.authority]: { grant: 'acme', mints: [elsewhere] } },
    });
    const session = await openSession(sidekey, upstream.authority);
    const fields = { ':method': 'CONNECT', ':protocol': 'websocket', 'sec-websocket-version': '13' };
    const stream = session.request({ ...fields, ':path': '/token' }, { endStream: false });
    stream.on('error', () => {}).once('response', () => stream.end());
    const seen = await answerOf(stream);
    expect(seen).toMatchObject({ status: 403, body: expect.stringContaining('No protocol can be switched') });
    expectNothingOf(JSON.stringify(seen));
  });

  test('sidekey fetch', async () => {
    const { at, upstream } = await fetchHome(hand, { domain: { mints: [elsewhere] } });
    const ran = await at.run(['fetch', `${upstream.url}/token`, '-i']);
    expect(ran.stdout).toContain('"token":"sidekey');
    expectNothingOf(JSON.stringify(ran));
  });

  test('a tool of MCP', async () => {
    const place = await runHome(hand, ({ authority }) => ({
      domains: { [authority]: { grant: 'desk', mints: [elsewhere] } },
    }));
    const given = { url: `${place.upstream.url}/token`, reason: 'a test' };
    const call = { method: 'tools/call', params: { name: 'request', arguments: given } };
    const input = `${JSON.stringify({ jsonrpc: '2.0', id: 1, ...call })}\n`;
    const { stdout } = await place.run(['--quiet', '--', process.execPath, program, 'mcp'], { input });
    expect(stdout).toContain('sidekey');
    expectNothingOf(stdout);
  });

  test.each(['POST /v2/requests', 'POST /v2/relay'])('%s', async (route) => {
    const upstream = await startUpstream(hand);
    const { call, sidekey } = await startService({
      domains: { [upstream.authority]: { grant: 'acme', mints: [elsewhere] } },
    });
    await sidekey.grant([upstream.authority]);
    const wanted = { method: 'GET', url: `${upstream.url}/token` };
    const { status, body } = await (route.endsWith('relay')
      ? call(route, { headers: { 'sidekey-relay': JSON.stringify(wanted) } })
      : call(route, { body: { ...wanted, reason: 'a test' } }));
    expect(status).toBe(200);
    expect(JSON.stringify(body)).toContain('sidekey');
    expectNothingOf(JSON.stringify(body));
  });
});

const length = (body: string) => `Content-Length: ${Buffer.byteLength(body)}\r\n`;
const whole = `HTTP/1.1 200 OK\r\n${length(answer)}\r\n${answer}`;

/** Bytes of a service that a client could find the credential in. */
const bytes: Readonly<Record<string, string>> = {
  'an interim answer': `HTTP/1.1 103 ${secret}\r\nLink: <${secret}>\r\n\r\n${whole}`,
  'many interim answers': `${`HTTP/1.1 102 P\r\nX: ${secret}\r\n\r\n`.repeat(20)}${whole}`,
  'a switch that nobody asked for': `HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\nX: ${secret}\r\n\r\n${secret}`,
  'the status 204 with a body': `HTTP/1.1 204 No\r\nX: ${secret}\r\n${length(answer)}\r\n${answer}`,
  'the status 205 with a body': `HTTP/1.1 205 No\r\n${length(answer)}\r\n${answer}`,
  'the status 304 with a body': `HTTP/1.1 304 No\r\nETag: "${secret}"\r\n\r\n${answer}`,
  'the status 299': `HTTP/1.1 299 ${secret}\r\n${length(answer)}\r\n${answer}`,
  'the status 999': `HTTP/1.1 999 x\r\n${length(answer)}\r\n${answer}`,
  'HTTP/1.0 until the end of the connection': `HTTP/1.0 200 OK\r\n\r\n${answer}`,
  'a cut body': `HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n${answer}`,
  'chunk extensions': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${answer.length.toString(16)};x=${secret}\r\n${answer}\r\n0;${secret}\r\n\r\n`,
  trailers: `HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n${answer.length.toString(16)}\r\n${answer}\r\n0\r\nX: ${secret}\r\n\r\n`,
  'a second answer': `${whole}${whole}`,
  'bytes after the body': `${whole}${secret}`,
  'two lengths': `HTTP/1.1 200 OK\r\n${length(answer)}Content-Length: 3\r\n\r\n${answer}`,
  'a folded field': `HTTP/1.1 200 OK\r\nX: a\r\n ${secret}\r\n${length(answer)}\r\n${answer}`,
  'a name of a field': `HTTP/1.1 200 OK\r\nX-${secret}: a\r\nX-RateLimit-${secret}: 1\r\n${length(answer)}\r\n${answer}`,
  'a connection that ends in the head': `HTTP/1.1 200 ${secret}\r\nX: ${secret}\r\n`,
  'no HTTP': `${secret}\r\n\r\n`,
};

test.each(Object.entries(bytes))('%s of a service does not show the credential', async (_name, text) => {
  const { sidekey, upstream } = await grantedRaw((socket) => socket.on('data', () => void socket.end(text)));
  await sidekey.configure({
    domains: { [upstream.authority]: { grant: 'acme', mints: [elsewhere] } },
  });
  for (const method of ['GET', 'HEAD']) {
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`${method} /token HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    expectNothingOf(await client.ended());
  }
  expectNothingOf(JSON.stringify(await sidekey.audit()));
  expectNothingOf(sidekey.logged());
});

test('the answer after the renewal of the credential is written anew', async () => {
  const tokens: string[] = [];
  const login = await startUpstream((_, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end('{"access_token":"the-renewed-token","expires_in":3600}');
  });
  const api = await startUpstream((request, response) => {
    tokens.push(request.headers.authorization ?? '');
    const isRenewed = tokens.at(-1) === 'Bearer the-renewed-token';
    // A refusal may show a credential too.
    response.writeHead(isRenewed ? 200 : 401, { 'X-Token': secret }).end(answer);
  });
  const sidekey = await startSidekey({
    domains: { [api.authority]: { grant: 'acme', mints: [elsewhere] } },
    config: {
      providers: {
        acme: {
          token_endpoint: `${login.url}/login`,
          client_id: 'app',
          client_auth: 'none',
          audience: [api.authority],
        },
      },
    },
  });
  const credential = oauth2Credential({ accessToken: 'an-old-token', refreshToken: 'refresh' });
  await sidekey.grant([api.authority], { credential });
  const seen = await seenBy(sidekey.url, `${api.url}/token`);
  expect(tokens).toEqual(['Bearer an-old-token', 'Bearer the-renewed-token']);
  expect(JSON.parse(seen.body)).toEqual({ token: expect.stringMatching(/^sidekey/), sku: 'free' });
  expectNothingOf(seen.all);
});

/** A proxy whose client leaves while its credential is stored; `go` lets the store continue. */
async function left() {
  const at = await startMinting([row], hand);
  const { grants } = at.sidekey.proxy.state;
  const addAll = grants.addAll.bind(grants);
  const [storing, going] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  vi.spyOn(grants, 'addAll').mockImplementation(async (...them) => {
    storing.resolve();
    await going.promise;
    return addAll(...them);
  });
  const client = await openTunnel(at.sidekey, at.api.authority);
  client.send(`GET /token HTTP/1.1\r\nHost: ${at.api.authority}\r\n\r\n`);
  await storing.promise;
  client.socket.destroy();
  await at.sidekey.audited(({ event, outcome }) => event === 'outcome' && outcome === 'aborted');
  return { ...at, go: () => going.resolve() };
}

test('a credential whose client leaves while it is stored is removed', async () => {
  const { sidekey, go } = await left();
  go();
  expect(await sidekey.audited(({ event }) => event === 'grant.removed')).toMatchObject({
    reason: 'its answer was not sent',
  });
  expect(await sidekey.proxy.state.store.grants.minted({ limit: 9 })).toEqual([]);
});

test('a proxy that stops removes the credential of a client that left', async () => {
  const { sidekey, go } = await left();
  const closed = sidekey.proxy.close();
  // A proxy that does not wait has stopped by then.
  await Promise.race([closed, delay(500)]);
  go();
  await closed;
  const events = (await sidekey.audit()).map(({ event }) => event).slice(-2);
  expect(events).toEqual(['grant.removed', 'proxy.stopped']);
});

/** Places and spellings of a placeholder in a request. A service that repeats the request gets no other. */
const spelled: Readonly<Record<string, (placeholder: string) => Parameters<Minting['get']>>> = {
  'as a bearer token': (text) => ['/echo', { headers: { authorization: `Bearer ${text}` } }],
  'as a password': (text) => [
    '/echo',
    { headers: { authorization: `Basic ${Buffer.from(`x:${text}`).toString('base64')}` } },
  ],
  'in the query': (text) => [`/echo?t=${text}`],
  'percent-encoded in the query': (text) => [`/echo?t=${percent(text)}`],
  'percent-encoded in the path': (text) => [`/echo/${percent(text)}`],
  'percent-encoded twice': (text) => [`/echo?t=${percent(percent(text))}`],
  'percent-encoded in a field': (text) => ['/echo', { headers: { 'x-token': percent(text) } }],
  'in a cookie': (text) => ['/echo', { headers: { cookie: `t=${text}` } }],
  'in a form': (text) => [
    '/echo',
    {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: `t=${percent(text)}`,
    },
  ],
  'in JSON': (text) => [
    '/echo',
    { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ t: text }) },
  ],
};

const percent = (text: string) => text.replaceAll(/./g, (c) => `%${c.charCodeAt(0).toString(16)}`);

test.each(Object.entries(spelled))(
  'a placeholder %s shows no credential in an echo',
  async (_name, spell) => {
    const { get } = await startMinting([row], (request, response) => {
      if (request.url === '/token') return hand(request, response);
      void requestBody(request).then((body) =>
        response.end(JSON.stringify([request.url, request.headers, body])),
      );
      return undefined;
    });
    const { token } = JSON.parse((await get('/token')).body) as { token: string };
    const seen = await get(...spell(token));
    expect(seen.all.length).toBeGreaterThan(0);
    expectNothingOf(seen.all);
  },
);

test('the placeholder of one worker is replaced by another', { timeout: 60_000 }, async () => {
  const used: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    if (request.url === '/token') return hand(request, response);
    if (request.url === '/use') used.push(request.headers.authorization);
    return void response.end('ok');
  });
  const mints = [{ ...row, goes_to: [upstream.authority] }];
  const workers = await startTwoWorkers({ upstream, domain: { mints } });
  const tunnels = await workers.spread();
  const [one, other] = [...new Map(tunnels.map((each) => [each.node, each.client])).values()];
  const minted = await askWorker(one!, upstream, '/token');
  expectNothingOf(minted.body);
  const { token } = JSON.parse(minted.body) as { token: string };
  other!.send(`GET /use HTTP/1.1\r\nHost: ${upstream.authority}\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  expect(await other!.response()).toMatchObject({ status: 200, body: 'ok' });
  expect(used).toEqual([`Bearer ${secret}`]);
});
