/**
 * A sample of the ways to step around a rule, against a running proxy and an upstream that records what it
 * ran.
 */
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream, upstreamHost } from '../support/upstream.ts';

async function ruled(domain: object, provider: object = {}) {
  const ran: string[] = [];
  const upstream = await startUpstream((request, response) => {
    request.resume().on('end', () => {
      ran.push(`${request.method} ${request.url}`, ...Object.keys(request.trailers));
      response.end('ok');
    });
  });
  const sockets = new WebSocketServer({ server: upstream.server });
  onTestFinished(() => sockets.close());
  sockets.on('connection', (_socket, request) => ran.push(`WebSocket ${request.url}`));
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', ...domain } },
    config: { providers: { acme: { audience: [upstreamHost], ...provider } } },
  });
  await sidekey.grant([upstream.authority]);
  const send = async (request: string, fields: readonly string[] = [], body = '') => {
    const client = await openTunnel(sidekey, upstream.authority);
    const length =
      body === '' || fields.some((field) => field.startsWith('Transfer-'))
        ? []
        : [`Content-Length: ${body.length}`];
    const lines = [`${request} HTTP/1.1`, `Host: ${upstream.authority}`, ...fields, ...length];
    client.send(`${lines.join('\r\n')}\r\n\r\n${body}`);
    const { status, headers } = await client.response();
    client.socket.destroy();
    return [status, headers['sidekey-error']];
  };
  return { ran, send };
}

const violation = [403, 'policy_violation'];
const denied = [403, 'rule_denied'];

test('no parameter selects an upstream method that a rule denies', async () => {
  const { ran, send } = await ruled({ default: 'allow', rules: [{ methods: ['DELETE'], outcome: 'deny' }] });
  for (const query of [
    '_method=DELETE',
    '%5fmethod=delete',
    '$httpMethod=DELETE',
    '%24httpMethod=DELETE',
    '_HttpMethod=DELETE',
    'x-http-method-override=DELETE',
    'a;_method=DELETE',
    '_method[]=DELETE',
  ]) {
    expect([query, await send(`GET /x?${query}`)]).toEqual([query, violation]);
  }
  for (const query of [
    'method=DELETE',
    'Method=delete',
    '%6dethod=delete',
    'method=get&method=delete',
    // PHP writes `_` for a bracket that is not closed.
    'http[method=DELETE',
    'http%5Bmethod=delete',
  ]) {
    expect([query, await send(`GET /x?${query}`)]).toEqual([query, denied]);
  }
  expect(ran).toEqual([]);
  expect(await send('GET /x?method=a.delete')).toEqual([200, undefined]);
  expect(ran).toEqual(['GET /x?method=a.delete']);
});

test('no parameter that the provider definition names selects a method that a rule denies', async () => {
  const rules = [{ methods: ['DELETE'], outcome: 'deny' }];
  const { ran, send } = await ruled({ default: 'allow', rules }, { method_override_parameters: ['verb'] });
  for (const query of ['verb=DELETE', 'VERB=delete', '%76erb=delete']) {
    const [status] = await send(`GET /x?${query}`);
    expect([query, status]).toEqual([query, 403]);
  }
  expect(ran).toEqual([]);
  expect(await send('GET /x?adverb=DELETE')).toEqual([200, undefined]);
});

const bodyWith = (trailer: string) => `1\r\nx\r\n0\r\n${trailer}: DELETE\r\n\r\n`;

test('no trailer selects an upstream method or path', async () => {
  const { ran, send } = await ruled({
    default: 'allow',
    rules: [{ methods: ['DELETE'], paths: ['/admin'], outcome: 'deny' }],
  });
  const chunked = 'Transfer-Encoding: chunked';
  for (const name of ['X-HTTP-Method-Override', 'X-Method-Override', 'X-Original-URL']) {
    expect(await send('POST /x', [chunked, `Trailer: a, ${name}`], bodyWith(name))).toEqual(violation);
    expect(ran).toEqual([]);
    expect(await send('POST /x', [chunked], bodyWith(name))).toEqual([200, undefined]);
    expect(ran.splice(0)).toEqual(['POST /x']);
  }
  await send('POST /x', [chunked], bodyWith('X-Checksum'));
  expect(ran).toEqual(['POST /x', 'x-checksum']);
});

test('no suffix and no header gives access to a denied path', async () => {
  const { ran, send } = await ruled({ default: 'allow', rules: [{ paths: ['/admin'], outcome: 'deny' }] });
  for (const path of [
    '/admin.json',
    '/admin::$DATA',
    '/ADMIN',
    '/admin.',
    '/admin%20',
    '/admin/',
    '/admin()',
    '/index.php/admin',
  ]) {
    expect([path, await send(`GET ${path}`)]).toEqual([path, denied]);
  }
  for (const path of ['/admin;x', '/admin%3bx', '/x/../admin', '//admin']) {
    expect([path, await send(`GET ${path}`)]).toEqual([path, violation]);
  }
  for (const field of [
    'X-Original-URL',
    'x-rewrite-url',
    'X-Forwarded-Prefix',
    'X-Original-URI',
    'X-Envoy-Original-Path',
  ]) {
    expect([field, await send('GET /x', [`${field}: /admin`])]).toEqual([field, violation]);
  }
  expect(ran).toEqual([]);
  expect(await send('GET /administrators.json')).toEqual([200, undefined]);
});

test('no WebSocket and no media type can contain a denied mutation', async () => {
  const { ran, send } = await ruled({
    default: 'allow',
    rules: [{ paths: ['/graphql'], graphql: { types: ['mutation'] }, outcome: 'deny' }],
  });
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ];
  expect(await send('GET /graphql', upgrade)).toEqual(denied);
  const type = ['Content-Type: application/graphql'];
  expect(await send('POST /graphql', type, '{"query":"mutation{x}"}')).toEqual(denied);
  expect(
    await send('POST /graphql', ['Content-Type: application/json'], '{"query":"{a}","operationId":"x"}'),
  ).toEqual(denied);
  expect(await send('GET /graphql?sha256Hash=abc')).toEqual(denied);
  expect(ran).toEqual([]);
  expect(await send('POST /graphql', type, '{a}')).toEqual([200, undefined]);
  expect((await send('GET /events', upgrade))[0]).toBe(101);
});

const small = { paths: ['/pay'], json: { '$.amount': { max: 100 } } };
const json = 'Content-Type: application/json';
const form = 'Content-Type: application/x-www-form-urlencoded';
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;

test('no unread body can contain an amount beyond the limit of a rule', async () => {
  const { ran, send } = await ruled({ rules: [small] });
  const body = '{"amount":5}';
  const chunked = [json, 'Transfer-Encoding: chunked'];
  for (const [fields, sent] of [
    [[json], '{"amount":101}'],
    [chunked, chunk('{"amount":101}')],
    [[json], '{"amount":1,"amount":101}'],
    [[json, 'Content-Encoding: gzip'], body],
    [[json, 'Content-Encoding: x-unknown'], body],
    [[json, 'Content-Type: text/plain'], body],
    [['Content-Type: text/plain'], body],
    [[], body],
    [[json], `{"amount":5,"pad":"${'x'.repeat(65_536)}"}`],
    [[form], 'amount=5'],
    [[json], ''],
  ] as const) {
    const [status] = await send('POST /pay', fields, sent);
    expect([fields, sent.slice(0, 30), status]).toEqual([fields, sent.slice(0, 30), 403]);
  }
  expect(await send('POST /pay?amount=101', [json], body)).toEqual(denied);
  expect(ran).toEqual([]);
  expect(await send('POST /pay', [json], body)).toEqual([200, undefined]);
  expect(await send('POST /pay', chunked, chunk(body))).toEqual([200, undefined]);
  expect(ran).toEqual(['POST /pay', 'POST /pay']);
});

test('no form encoding can contain an amount that a rule denies', async () => {
  const { ran, send } = await ruled({
    default: 'allow',
    rules: [{ paths: ['/pay'], form: { amount: { min: 101 } }, outcome: 'deny' }],
  });
  for (const body of [
    'amount=101',
    'Amount=101',
    'amount[]=101',
    '%61mount=101',
    'amount=1e3',
    'x=1;amount=101',
  ]) {
    expect([body, await send('POST /pay', [form], body)]).toEqual([body, denied]);
  }
  const part = '--x\r\nContent-Disposition: form-data; name=amount\r\n\r\n101\r\n--x--\r\n';
  expect(await send('POST /pay', ['Content-Type: multipart/form-data; boundary=x'], part)).toEqual(denied);
  expect(ran).toEqual([]);
  expect(await send('POST /pay', [form], 'amount=100')).toEqual([200, undefined]);
});
