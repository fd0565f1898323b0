/**
 * A budget of bytes that counted only exchanges with a good end: whoever saw to it that theirs failed, or
 * never ended, moved as much as they liked. Here bytes count as they go through, whatever the end is.
 */
import { EventEmitter, once } from 'node:events';
import type { RequestListener, ServerResponse } from 'node:http';
import { Agent } from 'node:https';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { openTunnel, type RawClient } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const kib = 1_024;
const step = kib * kib;

/** A domain whose one rule leaves so many bytes a day. */
async function budgeted(
  listener: RequestListener,
  bytesPerDay: number,
  more: { rule?: object; limits?: object } = {},
) {
  const upstream = await startUpstream(listener);
  const rule = { methods: ['GET', 'POST'], limits: [{ bytes_per_day: bytesPerDay }], ...more.rule };
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', rules: [rule] } },
    config: { limits: more.limits ?? {} },
  });
  await sidekey.grant([upstream.authority]);
  const open = () => openTunnel(sidekey, upstream.authority);
  const begin = (client: RawClient, request: string, fields = '') =>
    client.send(`${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}\r\n`);
  /** The code with which the next request is refused. */
  const next = async () => {
    const client = await open();
    begin(client, 'GET /next');
    return (await client.response()).headers['sidekey-error'];
  };
  return { upstream, sidekey, open, begin, next };
}

/** Takes bodies, and tells how much of them has come. */
function listening(answer: (response: ServerResponse) => void) {
  const pieces = new EventEmitter();
  let came = 0;
  const listener: RequestListener = (request, response) => {
    request.on('error', () => {});
    request.on('data', (piece: Buffer) => {
      came += piece.length;
      pieces.emit('piece');
    });
    request.on('end', () => answer(response));
  };
  const heard = async (bytes: number): Promise<void> => {
    if (came >= bytes) return;
    await once(pieces, 'piece');
    await heard(bytes);
  };
  return { listener, heard };
}

const chunk = `2710\r\n${'x'.repeat(10_000)}\r\n`;

describe('the bytes of an upload count', () => {
  test('if it exceeds body_bytes', async () => {
    const { listener, heard } = listening((response) => response.end());
    const { open, begin, next } = await budgeted(listener, 1_000, { limits: { body_bytes: '15kB' } });
    const client = await open();
    begin(client, 'POST /x', 'Transfer-Encoding: chunked\r\n');
    client.send(chunk);
    await heard(10_000);
    client.send(chunk);
    expect((await client.response()).headers['sidekey-error']).toBe('body_too_large');
    expect(await next()).toBe('rate_limited');
  });

  test('if its response exceeds max_response', async () => {
    const { listener } = listening((response) =>
      response.setHeader('content-length', 20).end('x'.repeat(20)),
    );
    const { open, begin, next } = await budgeted(listener, 1_000, { rule: { max_response: 10 } });
    const client = await open();
    begin(client, 'POST /x', 'Content-Length: 50000\r\n');
    client.send('x'.repeat(50_000));
    expect((await client.response()).headers['sidekey-error']).toBe('rule_denied');
    expect(await next()).toBe('rate_limited');
  });

  test('if the upstream never responds, and are recorded', async () => {
    const { listener } = listening((response) => response.destroy());
    const { open, begin, next, sidekey } = await budgeted(listener, 1_000);
    const client = await open();
    begin(client, 'POST /x', 'Content-Length: 50000\r\n');
    client.send('x'.repeat(50_000));
    expect((await client.response()).status).toBe(502);
    expect(await next()).toBe('rate_limited');
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'failed',
      code: 'upstream_unreachable',
      bytes_in: 50_000,
      bytes_out: 0,
    });
  });

  test('if its client disconnects before the end', async () => {
    const { listener, heard } = listening((response) => response.end());
    const { open, begin, next, sidekey } = await budgeted(listener, 1_000);
    const client = await open();
    begin(client, 'POST /x', 'Transfer-Encoding: chunked\r\n');
    client.send(chunk);
    await heard(10_000);
    client.socket.destroy();
    await sidekey.audited(({ event }) => event === 'outcome');
    expect(await next()).toBe('rate_limited');
  });
});

describe('an exchange that exceeds its budget', () => {
  test('as an upload is refused, with the time when the next budget starts', async () => {
    const { listener } = listening((response) => response.end());
    const { open, begin, sidekey } = await budgeted(listener, 1_000);
    const client = await open();
    begin(client, 'POST /x', 'Transfer-Encoding: chunked\r\n');
    client.send(chunk.repeat(200));
    const answer = await client.response();
    expect([answer.status, answer.headers['sidekey-error']]).toEqual([429, 'rate_limited']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    const { bytes_in: bytes = 0 } = await sidekey.audited(({ event }) => event === 'outcome');
    expect(bytes).toBeGreaterThanOrEqual(step);
    expect(bytes).toBeLessThan(step + 64 * kib);
  });

  test('as a response is cut, and the audit log has the reason', async () => {
    const { open, begin, next, sidekey } = await budgeted((_request, response) => {
      response.write('x'.repeat(2 * step));
    }, 1_000);
    const client = await open();
    begin(client, 'GET /stream');
    expect((await client.ended()).length).toBeLessThan(step + 4 * kib);
    const outcome = await sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ outcome: 'aborted', code: 'rate_limited', status: 200 });
    expect(await next()).toBe('rate_limited');
  });

  test('as a slow response is cut by the next check', async () => {
    const { open, begin, sidekey } = await budgeted((_request, response) => {
      response.write('x'.repeat(2_000));
    }, 1_000);
    const client = await open();
    begin(client, 'GET /stream');
    await client.ended();
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ code: 'rate_limited' });
  });

  test.each([
    ['at once where it sends much', 3 * step, step],
    ['by the next look where it sends little', 1_000, 300],
  ])('as a WebSocket is cut %s', async (_how, budget, size) => {
    const { upstream, sidekey, open, next } = await budgeted((_request, response) => response.end(), budget);
    const server = new WebSocketServer({ server: upstream.server });
    onTestFinished(() => server.close());
    server.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const tunnel = await open();
    tunnel.socket.removeAllListeners('data');
    const agent = Object.assign(new Agent(), { createConnection: () => tunnel.socket });
    const socket = new WebSocket(`wss://${upstream.authority}/chat`, { agent, perMessageDeflate: false });
    socket.on('error', () => {});
    await once(socket, 'open');
    const echoed = once(socket, 'message');
    socket.send(Buffer.alloc(size));
    await echoed;
    socket.send(Buffer.alloc(size));
    await once(socket, 'close');
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'aborted',
      code: 'rate_limited',
      status: 101,
    });
    expect(await next()).toBe('rate_limited');
  });

  test('is forwarded up to the last byte of the budget', async () => {
    const { open, begin, next, sidekey } = await budgeted((_request, response) => {
      response.setHeader('content-length', 2 * step).end(Buffer.alloc(2 * step));
    }, 2 * step);
    const client = await open();
    begin(client, 'GET /all');
    expect((await client.response()).body).toHaveLength(2 * step);
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ outcome: 'ok' });
    expect(await next()).toBe('rate_limited');
  });
});
