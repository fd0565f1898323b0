import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { createAdminServer } from '../../../src/api/server.ts';
import { createApprovalLinks } from '../../../src/agents/approvals/announce.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { systemTimers } from '../../../src/lib/timers.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { question } from '../../support/question.ts';
import { manualTime } from '../lib/manual-time.ts';
import { queueForTest, type QueueForTest } from '../agents/approvals/queue-for-test.ts';

const known = async () => ({ body: null, account: null, named: [] });
const proxyUrl = () => 'http://127.0.0.1:8177';
const links = createApprovalLinks(createVault(masterKey(randomBytes(32))));

type ServerParts = Parameters<typeof createAdminServer>[0];

async function serving(change: Partial<QueueForTest> = {}, parts: Partial<ServerParts> = {}) {
  const now = Date.now();
  const asked = question({ who: { grantId: 'g-1', agent: 'ci-bot' }, askedAt: now });
  const queue = { ...queueForTest(asked), ...change };
  const logged: string[] = [];
  const log = {
    warn: (fields: object, message: string) => logged.push(`${message} ${JSON.stringify(fields)}`),
  };
  const server = await createAdminServer({
    queue,
    links,
    known,
    now: () => now,
    log,
    timers: systemTimers,
    proxyUrl,
    ...parts,
  });
  onTestFinished(() => server.close());
  const { host, port } = await server.listen('127.0.0.1', 0);
  const base = `http://${host}:${port}`;
  const path = links.pathFor(asked);
  return { server, queue, logged, base, path, host, port, url: base + path };
}

const form = (answer: string) => ({ method: 'POST', body: new URLSearchParams({ answer }) });

test('shows a pending approval and accepts the answer', async () => {
  const { queue, url } = await serving();
  const shown = await fetch(url);
  expect([shown.status, shown.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  expect(await shown.text()).toContain('May ci-bot send this request?');
  const answered = await fetch(url, form('once'));
  expect(answered.status).toBe(200);
  expect(await answered.text()).toContain('This one request was let through.');
  expect(queue.said).toMatchObject([
    { outcome: 'allowed', by: expect.stringMatching(/^the link, from 127\.0\.0\.1:\d+$/) },
  ]);
});

test('CONNECT is refused with the address of the proxy', async () => {
  const { host, port } = await serving();
  const client = connect(port, host);
  client.write('CONNECT api.acme.test:443 HTTP/1.1\r\nHost: api.acme.test:443\r\n\r\n');
  const answer = await text(client);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('This port serves the dashboard and the API, and is not the proxy.');
  expect(answer).toContain('set HTTPS_PROXY to http://127.0.0.1:8177');
});

test('a connection that sends no request within 5 seconds is closed without an answer', async () => {
  const { host, port } = await serving();
  expect(await text(connect(port, host))).toBe('');
}, 15_000);

test('HEAD responds as GET, without a body', async () => {
  const { queue, url } = await serving();
  const shown = await fetch(url, { method: 'HEAD' });
  expect([shown.status, await shown.text()]).toEqual([200, '']);
  expect(Number(shown.headers.get('content-length'))).toBeGreaterThan(1_000);
  expect(queue.said).toEqual([]);
});

test('query parameters that other programs add to a link are ignored and not logged', async () => {
  const { queue, url } = await serving();
  expect((await fetch(`${url}?utm_source=chat&answer=once`)).status).toBe(200);
  expect(queue.said).toEqual([]);
});

test.each([
  ['GET', '/'],
  ['GET', '/approve'],
  ['GET', '/approve/k7w2m9qd'],
  ['GET', '/favicon.ico'],
  ['POST', '/'],
])('%s %s gets a problem document', async (method, path) => {
  const { base } = await serving();
  const answer = await fetch(base + path, { method });
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect([answer.status, await answer.json()]).toEqual([
    404,
    expect.objectContaining({ code: 'not_found', hint: expect.stringContaining('approve') }),
  ]);
});

test.each([
  ['/', 200, 'Approvals of Sidekey'],
  ['/nosuch', 404, 'Approvals of Sidekey'],
  ['/approve/k7w2m9qd', 404, 'This link is not valid'],
  ['/approve/k7w2m9qd/cut', 404, 'This link is not valid'],
])('a browser that opens %s gets a page that says what to do next', async (path, status, title) => {
  const { base } = await serving();
  const answer = await fetch(base + path, { headers: { accept: 'text/html,*/*;q=0.8' } });
  const page = await answer.text();
  expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'text/html; charset=utf-8']);
  expect(page).toContain(title);
  expect(page).toMatch(/sidekey(?:\.js)? approve/);
});

test.each(['PUT', 'DELETE', 'OPTIONS', 'PATCH'])('%s of a link gets a problem document', async (method) => {
  const { queue, url } = await serving();
  const answer = await fetch(url, { method });
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect([answer.status, await answer.json()]).toEqual([
    404,
    expect.objectContaining({ code: 'not_found', hint: expect.stringContaining('approve') }),
  ]);
  expect(queue.said).toEqual([]);
});

test('a form over the size limit is refused before its end', async () => {
  const { queue, url } = await serving();
  const answer = await fetch(url, { method: 'POST', body: `answer=once&x=${'y'.repeat(2_000)}` });
  expect([answer.status, answer.headers.get('connection')]).toEqual([413, 'close']);
  expect(queue.said).toEqual([]);
});

test('a request head over the size limit is refused', async () => {
  const { url } = await serving();
  const answer = await fetch(url, { headers: { x: 'y'.repeat(1_048_577) } });
  expect([answer.status, await answer.json()]).toEqual([
    400,
    expect.objectContaining({ code: 'bad_request', detail: expect.stringContaining('larger than 1 MiB') }),
  ]);
});

test('a store failure is reported without the link', async () => {
  const { url, path, logged } = await serving({
    get: () => Promise.reject(new SidekeyError('store_unavailable', 'The store cannot be read.')),
  });
  const answer = await fetch(url);
  expect(answer.status).toBe(503);
  expect(await answer.text()).toContain('Sidekey cannot answer now');
  expect(logged).toHaveLength(1);
  expect(logged.join()).not.toContain(path.slice(-43));
});

test('a client that disconnects while it sends the form does not answer, and does not delay the close', async () => {
  const { server, queue, logged, host, port, path } = await serving();
  const socket = connect(port, host);
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n`);
  await once(socket, 'data');
  socket.write('answer=once');
  socket.destroy();
  await once(socket, 'close');
  await server.close();
  expect(queue.said).toEqual([]);
  expect(logged).toEqual([]);
});

test.each([
  ['is cut off after 10 s', 'read', false],
  ['has no time limit if the route streams it', 'streamed', true],
])('a body that comes slowly %s', async (_result, event, isWhole) => {
  const time = manualTime(0);
  const arrived = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<boolean>();
  const service: ServerParts['service'] = async (request, response) => {
    request.emit(event);
    request.on('error', () => {}).once('close', () => ended.resolve(request.complete));
    request.once('data', () => arrived.resolve()).once('end', () => response.end('whole'));
  };
  const { host, port } = await serving({}, { service, timers: time.timers });
  const socket = connect(port, host);
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\na');
  await arrived.promise;
  await time.advance(10_000);
  socket.write('b');
  expect(await ended.promise).toBe(isWhole);
  expect((await text(socket)).includes('whole')).toBe(isWhole);
});

test('a connection ends 10 s after the head of an answered request whose body does not end', async () => {
  const time = manualTime(0);
  const answered = Promise.withResolvers<IncomingMessage>();
  const service: ServerParts['service'] = async (request, response) => {
    response.once('close', () => answered.resolve(request)).end('early');
  };
  const { host, port } = await serving({}, { service, timers: time.timers });
  const socket = connect(port, host);
  onTestFinished(() => void socket.destroy());
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na');
  const request = await answered.promise;
  await time.advance(9_999);
  expect(request.socket.destroyed).toBe(false);
  await time.advance(1);
  expect(request.socket.destroyed).toBe(true);
});

test('a request whose body ended leaves no timer', async () => {
  const time = manualTime(0);
  const { base } = await serving(
    {},
    { service: async (_request, response) => void response.end('ok'), timers: time.timers },
  );
  for (const init of [{}, { method: 'POST', body: 'unread' }])
    expect(await (await fetch(base, init)).text()).toBe('ok');
  await expect.poll(() => time.waiting()).toBe(0);
});

test('Upgrade is ignored and CONNECT is refused', async () => {
  const { queue, host, port, path } = await serving();
  const ask = async (head: string) => {
    const socket = connect(port, host);
    socket.end(`${head}\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n`);
    return (await text(socket)).split('\r\n', 1)[0];
  };
  expect(await ask(`GET ${path} HTTP/1.1`)).toBe('HTTP/1.1 200 OK');
  expect(await ask('CONNECT x:443 HTTP/1.1')).toBe('HTTP/1.1 400 bad_request');
  expect(queue.said).toEqual([]);
});

test('a port in use is reported with the setting to change', async () => {
  const { host, port } = await serving();
  const other = await createAdminServer({
    queue: queueForTest(),
    links,
    known,
    now: Date.now,
    log: { warn: () => undefined },
    timers: systemTimers,
    proxyUrl,
  });
  await expect(other.listen(host, port)).rejects.toMatchObject({
    code: 'port_in_use',
    hint: 'stop it, or set admin.listen to another port',
  });
  await other.close();
});
