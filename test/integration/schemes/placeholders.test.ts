/** Placeholders in any part of a request: the credential replaces them only for hosts of its grant. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Credential } from '../../../src/domain/credential.ts';
import { ask, openSession } from '../../support/h2-client.ts';
import { startPlaceholderProxy, robot, type PlaceholderProxy } from '../../support/placeholder-proxy.ts';
import { openClient, openTunnel, problemOf, type RawResponse } from '../../support/raw-client.ts';
import { bearerToken } from '../../support/sidekey.ts';

const basic = (text: string) => Buffer.from(text).toString('base64');
const json = 'Content-Type: application/json';
const form = 'Content-Type: application/x-www-form-urlencoded';

interface Sent {
  readonly to?: 'api' | 'other';
  readonly target?: string;
  readonly fields?: readonly string[];
  readonly body?: string | readonly string[];
  readonly as?: string;
}

async function send(
  setup: PlaceholderProxy,
  { to = 'api', target = '/', fields = [], body, as }: Sent,
): Promise<RawResponse> {
  const { authority } = setup[to];
  const proxy = as === undefined ? [] : [`Proxy-Authorization: Basic ${basic(as)}`];
  const client = await openTunnel(setup.sidekey, authority, { fields: proxy });
  const framed =
    body === undefined
      ? []
      : [
          typeof body === 'string'
            ? `Content-Length: ${Buffer.byteLength(body)}`
            : 'Transfer-Encoding: chunked',
        ];
  const head = [
    `${body === undefined ? 'GET' : 'POST'} ${target} HTTP/1.1`,
    `Host: ${authority}`,
    ...framed,
    ...fields,
  ];
  client.send(`${head.join('\r\n')}\r\n\r\n`);
  if (typeof body === 'string') client.send(body);
  else {
    for (const piece of body ?? []) client.send(`${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`);
    if (body !== undefined) client.send('0\r\n\r\n');
  }
  const answer = await client.response();
  client.socket.destroy();
  return answer;
}

const object = (token: string) => JSON.stringify({ token, again: token });

describe('a placeholder becomes the credential', () => {
  test('at the place of the provider, without a setting', async () => {
    const setup = await startPlaceholderProxy();
    for (const value of [
      `Bearer ${setup.placeholder}`,
      `token ${setup.placeholder}`,
      `Basic ${basic(`x:${setup.placeholder}`)}`,
    ])
      expect((await send(setup, { fields: [`Authorization: ${value}`] })).status).toBe(200);
    expect(setup.asked.map(({ headers }) => headers['authorization'])).toEqual(
      Array(3).fill(`Bearer ${bearerToken}`),
    );
  });

  test('in any header, in the pair of Basic, in the path and in the query', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    const { placeholder: it, make } = setup;
    await send(setup, { fields: [`Authorization: Basic ${basic(`git:${it}`)}`, `X-Key: <${it}>`] });
    await send(setup, { target: `/bot${it}/me?a=${it}&b=1&c=${make('api')}` });
    expect(setup.asked[0]?.headers).toMatchObject({
      authorization: `Basic ${basic(`git:${bearerToken}`)}`,
      'x-key': `<${bearerToken}>`,
    });
    expect(setup.asked[1]?.target).toBe(`/bot${bearerToken}/me?a=${bearerToken}&b=1&c=${bearerToken}`);
  });

  test('in the encoding of each part of a request', async () => {
    const value = 'a"b\\c d&e=f/g?+%';
    const setup = await startPlaceholderProxy({ inject: 'placeholder' }, { value });
    const { placeholder: it } = setup;
    await send(setup, { target: `/x/${it}?k=${it}`, fields: [`X-Key: ${it}`] });
    await send(setup, { fields: [json], body: JSON.stringify({ token: it, n: 1 }) });
    await send(setup, { fields: [form], body: `token=${it}&n=1` });
    const [head, object, pairs] = setup.asked;
    expect(head?.target).toBe(`/x/${encodeURIComponent(value)}?k=${encodeURIComponent(value)}`);
    expect(head?.headers['x-key']).toBe(value);
    expect(JSON.parse(object?.body ?? '')).toEqual({ token: value, n: 1 });
    expect([...new URLSearchParams(pairs?.body)]).toEqual([
      ['token', value],
      ['n', '1'],
    ]);
  });

  test('in a body, whose framing is then adjusted', async () => {
    const setup = await startPlaceholderProxy({ placeholders: ['body'] });
    const { placeholder: it } = setup;
    await send(setup, { fields: [json], body: object(it) });
    await send(setup, {
      fields: ['Content-Type: multipart/form-data; boundary=x'],
      body: `--x\r\n\r\n${it}\r\n--x--`,
    });
    await send(setup, {
      fields: [json],
      body: ['{"token":"', it.slice(0, 9), it.slice(9), '","again":"', it, '"}'],
    });
    const [whole, parts, chunks] = setup.asked;
    expect(whole?.body).toBe(object(bearerToken));
    expect(whole?.headers['content-length']).toBe(String(object(bearerToken).length));
    expect(parts?.body).toBe(`--x\r\n\r\n${bearerToken}\r\n--x--`);
    expect(chunks?.body).toBe(object(bearerToken));
    expect(chunks?.headers).toMatchObject({
      'transfer-encoding': 'chunked',
      authorization: `Bearer ${bearerToken}`,
    });
  });

  test('in a large body, which is streamed', async () => {
    const setup = await startPlaceholderProxy(
      { placeholders: ['body'] },
      { limits: { placeholder_body_bytes: '4KiB' } },
    );
    const { placeholder: it } = setup;
    const filler = 'x'.repeat(300_000);
    await send(setup, { fields: [json], body: JSON.stringify({ first: it, filler, last: it }) });
    expect(JSON.parse(setup.asked[0]?.body ?? '')).toEqual({ first: bearerToken, filler, last: bearerToken });
    expect(setup.asked[0]?.headers['content-length']).toBeUndefined();
    // Nothing is known of one that comes behind what was read ahead.
    const late = await send(setup, { fields: [json], body: JSON.stringify({ filler, last: it }) });
    expect(late.headers['sidekey-error']).toBe('placeholder_misused');
    expect(problemOf(late).hint).toContain('limits.placeholder_body_bytes');
  });

  test('over HTTP/2', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    const { placeholder: it } = setup;
    const session = await openSession(setup.sidekey, setup.api.authority);
    const headers = {
      ':method': 'POST',
      ':path': `/p?k=${it}`,
      'x-key': it,
      'content-type': 'application/json',
    };
    expect(await ask(session, headers, `{"t":"${it}"}`)).toMatchObject({ status: 200 });
    expect(
      await ask(session, { ...headers, 'content-length': it.length + 8 }, `{"t":"${it}"}`),
    ).toMatchObject({ status: 200 });
    for (const asked of setup.asked) {
      expect(asked).toMatchObject({ target: `/p?k=${bearerToken}`, body: `{"t":"${bearerToken}"}` });
      expect(asked.headers['x-key']).toBe(bearerToken);
    }
    expect(setup.asked[1]?.headers['content-length']).toBe(String(bearerToken.length + 8));
  });

  test('for a holder of a lease, and for its agent', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    const lease = await setup.lease('secret');
    for (const holder of [lease, robot])
      expect(
        (await send(setup, { as: 'robot:secret', fields: [`X-Key: ${setup.make('api', holder)}`] })).status,
      ).toBe(200);
    expect(setup.asked.map(({ headers }) => headers['x-key'])).toEqual([bearerToken, bearerToken]);
  });

  test('and selects a grant among the grants of a domain', async () => {
    const setup = await startPlaceholderProxy();
    const { sidekey, api } = setup;
    const { vault } = sidekey.proxy.state;
    const second = await sidekey.grant([api.authority], {
      user: 'bob',
      credential: { type: 'api_key', value: 'of-bob-0123456789' },
    });
    // A request that names no user gets the grant without an owner.
    await send(setup, {});
    const { placeholderCodes, plainForm } = await import('../../../src/proxy/placeholders/codes.ts');
    const bobs = placeholderCodes(vault).make(plainForm, 'anyone', second.id);
    await send(setup, { fields: [`Authorization: Bearer ${bobs}`] });
    await send(setup, { fields: [`Authorization: Bearer ${setup.placeholder}`] });
    expect(setup.asked.map(({ headers }) => headers['authorization'])).toEqual([
      `Bearer ${bearerToken}`,
      'Bearer of-bob-0123456789',
      `Bearer ${bearerToken}`,
    ]);
  });
});

describe('a body without a placeholder', () => {
  test('is forwarded byte for byte, with its framing', async () => {
    const setup = await startPlaceholderProxy(
      { placeholders: ['body'] },
      { limits: { placeholder_body_bytes: '2KiB' } },
    );
    const long = JSON.stringify({ a: 'sidekey sidekeyPlaceholder000000 '.repeat(200) });
    await send(setup, { fields: [json], body: '{"a":1}' });
    await send(setup, { fields: [json], body: long });
    await send(setup, { fields: ['Content-Type: application/octet-stream'], body: setup.placeholder });
    await send(setup, { fields: [json, 'Content-Encoding: gzip'], body: setup.placeholder });
    expect(setup.asked.map(({ body }) => body)).toEqual([
      '{"a":1}',
      long,
      setup.placeholder,
      setup.placeholder,
    ]);
    expect(setup.asked.map(({ headers }) => Number(headers['content-length']))).toEqual([
      7,
      long.length,
      39,
      39,
    ]);
  });
});

describe('responses that contain the credential', () => {
  test('have the placeholder instead, in an address that repeats the credential', async () => {
    const setup = await startPlaceholderProxy({ placeholders: ['query'] });
    setup.api.server.removeAllListeners('request');
    setup.api.server.on('request', ({ url }: IncomingMessage, response: ServerResponse) =>
      response.writeHead(302, { Location: `${url}&page=2` }).end(),
    );
    const target = `/?key=${setup.placeholder}`;
    expect((await send(setup, { target })).headers['location']).toBe(`${target}&page=2`);
  });

  test('have the credential removed from a repeated header', async () => {
    const setup = await startPlaceholderProxy({ placeholders: ['header'] });
    setup.api.server.removeAllListeners('request');
    setup.api.server.on('request', ({ headers }: IncomingMessage, response: ServerResponse) => {
      response.setHeader('X-Request-Id', headers['x-request-id'] ?? '');
      response.end(`request ${String(headers['x-request-id'])}`);
    });
    const answer = await send(setup, { fields: [`X-Request-Id: ${setup.placeholder}`] });
    const masked = '*'.repeat(bearerToken.length);
    expect([answer.headers['x-request-id'], answer.body]).toEqual([masked, `request ${masked}`]);
  });
});

async function chat(placeholders: readonly string[], credential?: Credential) {
  const setup = await startPlaceholderProxy({ placeholders });
  if (credential !== undefined)
    await setup.sidekey.grant([setup.api.authority], { name: 'second', provider: 'acme', credential });
  const server = new WebSocketServer({ server: setup.api.server, perMessageDeflate: true });
  const got: { text: string; isBinary: boolean }[] = [];
  const extensions: string[] = [];
  server.on('connection', (socket, request) => {
    extensions.push(request.headers['sec-websocket-extensions'] ?? '');
    socket.on('message', (data: Buffer, isBinary) => {
      got.push({ text: data.toString(), isBinary });
      socket.send(`you said ${data.toString()}`);
    });
  });
  const tunnel = await openTunnel(setup.sidekey, setup.api.authority);
  tunnel.socket.removeAllListeners('data');
  const agent = new Agent();
  Object.assign(agent, { createConnection: () => tunnel.socket });
  const chosen = credential === undefined ? {} : { 'Sidekey-Grant': 'second' };
  const socket = new WebSocket(`wss://${setup.api.authority}/`, { agent, headers: chosen });
  await once(socket, 'open');
  const said = async (data: string | Buffer) => {
    const answer = once(socket, 'message');
    socket.send(data);
    return String((await answer)[0]);
  };
  return { setup, got, extensions, socket, said, server };
}

/** A server that says these bytes as soon as the handshake is done, and what a client hears of them. */
async function heard(...said: readonly Buffer[]) {
  const setup = await startPlaceholderProxy({ placeholders: ['websocket'] });
  const { authority, server } = setup.api;
  server.on('upgrade', ({ headers }: IncomingMessage, socket: Duplex) => {
    const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.on('error', () => {});
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    for (const bytes of said) socket.write(bytes);
  });
  const client = await openTunnel(setup.sidekey, authority);
  client.send(
    `GET / HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  return { setup, client };
}

const frameOf = (first: number, payload: string) =>
  Buffer.from([first, payload.length, ...Buffer.from(payload, 'latin1')]);

describe('messages of a WebSocket', () => {
  test('of a server have the credential removed across fragments, and in a close message', async () => {
    const [start, end] = [bearerToken.slice(0, 9), bearerToken.slice(9)];
    const { setup, client } = await heard(
      Buffer.concat([frameOf(0x01, start), frameOf(0x89, 'ping'), frameOf(0x80, end)]),
      Buffer.concat([frameOf(0x88, `\x03\xe8${bearerToken}`), frameOf(0x81, 'last')]),
    );
    const got = await client.until('last');
    expect(got).toContain(
      Buffer.concat([
        frameOf(0x01, '*'.repeat(start.length)),
        frameOf(0x89, 'ping'),
        frameOf(0x80, '*'.repeat(end.length)),
      ]).toString('latin1'),
    );
    expect(got).not.toContain(end);
    client.socket.destroy();
    expect(await setup.sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ leaks: 2 });
  });

  test('of a server are not delayed if they end like the beginning of the credential', async () => {
    const beginning = bearerToken.slice(0, 6);
    const { client } = await heard(frameOf(0x81, beginning));
    expect(await client.until(beginning)).toContain(beginning);
  });

  test('that cannot be decoded end the connection', async () => {
    const { setup, client } = await heard(frameOf(0xc1, 'compressed'));
    expect(await client.ended()).not.toContain('compressed');
    expect(await setup.sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      code: 'upstream_protocol',
    });
  });

  test('are forwarded unchanged if the credential is not a single value', async () => {
    const headers = [
      ['X-One', 'one-of-two-0123456789'],
      ['X-Two', 'two-of-two-0123456789'],
    ] as const;
    const { said, socket, server } = await chat(['websocket'], { type: 'headers', headers });
    expect(await said('hello')).toBe('you said hello');
    socket.close();
    server.close();
  });

  test('get the credential in text messages, and replies have it removed', async () => {
    const { setup, got, extensions, socket, said, server } = await chat(['websocket']);
    const { placeholder: it } = setup;
    const answer = await said(JSON.stringify({ op: 2, token: it }));
    expect(got).toEqual([{ text: JSON.stringify({ op: 2, token: bearerToken }), isBinary: false }]);
    expect(answer).toBe(`you said {"op":2,"token":"${'*'.repeat(bearerToken.length)}"}`);
    await said(Buffer.from(it));
    expect(got[1]).toEqual({ text: it, isBinary: true });
    const large = 'x'.repeat(200_000);
    await said(`${large}${it}${large}`);
    expect(got[2]?.text).toBe(`${large}${bearerToken}${large}`);
    // Compressed frames could not be read.
    expect(extensions).toEqual(['']);
    socket.close();
    server.close();
    expect(await setup.sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ leaks: 2 });
  });

  test('are forwarded unchanged unless the provider allows it', async () => {
    const { setup, got, extensions, said, socket, server } = await chat([]);
    await said(setup.placeholder);
    expect(got).toEqual([{ text: setup.placeholder, isBinary: false }]);
    expect(extensions[0]).toContain('permessage-deflate');
    socket.close();
    server.close();
  });
});

const refused = async (setup: PlaceholderProxy, sent: Sent) => {
  const answer = await send(setup, sent);
  expect([answer.status, answer.headers['sidekey-error']]).toEqual([403, 'placeholder_misused']);
  return problemOf(answer);
};

describe('a placeholder is refused', () => {
  test.each([
    ['a header', { fields: ['X-Key: IT'] }, 'the header X-Key', 'header'],
    ['the path', { target: '/files/IT' }, 'the path', 'path'],
    ['the query', { target: '/?q=IT' }, 'the query', 'query'],
    ['a JSON body', { fields: [json], body: '{"content":"IT"}' }, 'the body', 'body'],
    ['a form', { fields: [form], body: 'content=IT' }, 'the body', 'body'],
    ['chunks', { fields: [json], body: ['{"content":"', 'IT', '"}'] }, 'the body', 'body'],
  ])('in %s if its provider does not name that place', async (_where, sent: Sent, where, place) => {
    const setup = await startPlaceholderProxy();
    const filled = JSON.parse(JSON.stringify(sent).replaceAll('IT', setup.placeholder)) as Sent;
    const { detail, hint } = await refused(setup, filled);
    expect(detail).toContain(where);
    const isBody = place === 'body';
    expect(hint).toContain(isBody ? 'unexpected_placeholders: pass' : `placeholders: [${place}]`);
    if (isBody) expect(hint).not.toContain('placeholders: [');
    expect(setup.asked).toEqual([]);
    const { event } = await setup.sidekey.audited(({ code }) => code === 'placeholder_misused');
    expect(event).toBe(place === 'body' ? 'outcome' : 'denied');
  });

  test('on another host, with its audit record', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    const it = setup.placeholder;
    for (const sent of [
      { fields: [`Authorization: Bearer ${it}`] },
      { fields: [`Authorization: Basic ${basic(`x:${it}`)}`] },
      { fields: [`X-Key: ${it}`] },
      { target: `/?k=${it}` },
      { fields: [json], body: `{"k":"${it}"}` },
    ])
      await refused(setup, { to: 'other', ...sent });
    expect(setup.asked).toEqual([]);
    await setup.sidekey.audited(({ event, code }) => event === 'outcome' && code === 'placeholder_misused');
    const misused = (await setup.sidekey.audit()).filter(({ code }) => code === 'placeholder_misused');
    expect(misused.map(({ host, provider }) => `${host} ${provider}`)).toEqual(
      Array(5).fill(`${setup.other.authority.split(':')[0]} other`),
    );
    expect(JSON.stringify(misused)).not.toContain(bearerToken);
  });

  test('on a host that is not in the map', async () => {
    const setup = await startPlaceholderProxy();
    const client = await openClient(setup.sidekey);
    const { authority } = setup.stranger;
    client.send(`GET http://${authority}/?k=${setup.placeholder} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer.headers['sidekey-error']).toBe('placeholder_misused');
    expect(problemOf(answer).hint).toContain('sidekey domain allow');
  });

  test('if it belongs to another lease, agent or grant', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    const [mine, theirs] = [await setup.lease('secret'), await setup.lease('theirs')];
    for (const holder of [theirs, 'anyone'] as const)
      await refused(setup, { as: 'robot:secret', fields: [`X-Key: ${setup.make('api', holder)}`] });
    await refused(setup, { as: 'robot:own', fields: [`X-Key: ${setup.make('api', mine)}`] });
    await refused(setup, { fields: [`X-Key: ${setup.make('other')}`] });
    await refused(setup, { fields: [`X-Key: ${setup.make('api')} ${setup.make('other')}`] });
    await refused(setup, { fields: [json], body: JSON.stringify([setup.make('api'), setup.make('other')]) });
    expect(setup.asked).toEqual([]);
  });

  test('before any other error of the request', async () => {
    const setup = await startPlaceholderProxy({ inject: { json: 'token' } });
    await refused(setup, { fields: [`X-Key: ${setup.make('other')}`] });
  });

  test('if it was modified', async () => {
    const setup = await startPlaceholderProxy({ inject: 'placeholder' });
    // The code is whole, and what stands around it is not.
    await refused(setup, {
      fields: [`X-Key: ${setup.placeholder.slice('acme_'.length, 'acme_sidekey'.length + 12)}`],
    });
    expect(setup.asked).toEqual([]);
  });
});

describe('a placeholder in a body that is not replaced there', () => {
  test('is forwarded to a conversation service, and recorded', async () => {
    const setup = await startPlaceholderProxy(
      { placeholders: [] },
      { stray: 'pass', limits: { placeholder_body_bytes: '4KiB' } },
    );
    const said = JSON.stringify({ messages: [setup.make('other'), setup.placeholder, 'x'.repeat(100_000)] });
    expect((await send(setup, { fields: [json], body: said })).status).toBe(200);
    expect((await send(setup, { fields: [json], body: [said] })).status).toBe(200);
    expect(setup.asked.map(({ body }) => body)).toEqual([said, said]);
    expect(setup.asked[0]?.headers['content-length']).toBe(String(said.length));
    const passed = await setup.sidekey.audited(({ event }) => event === 'placeholder.passed');
    expect(passed).toMatchObject({ provider: 'acme', method: 'POST', outcome: 'allow' });
    expect(JSON.stringify(await setup.sidekey.audit())).not.toContain(setup.placeholder);
    // A head is no conversation.
    await refused(setup, { fields: [`X-Key: ${setup.make('other')}`] });
  });
});
