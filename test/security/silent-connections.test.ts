/**
 * Clients that do not authenticate keep nobody from a listener: their oldest connection is closed for a new
 * one.
 */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeTestAuthority } from '../support/certificates.ts';
import { granted } from '../support/granted.ts';
import { openClient, rawClient } from '../support/raw-client.ts';
import { startService } from '../support/service.ts';
import { tempFolder } from '../support/temp-folder.ts';

const authority = makeTestAuthority('admin');

/** Opens connections one after the other, and sends a text on each. */
async function flood(port: number, count: number, text: string): Promise<readonly Socket[]> {
  const sockets: Socket[] = [];
  onTestFinished(() => sockets.forEach((socket) => void socket.destroy()));
  for (let i = 0; i < count; i += 1) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    await once(socket, 'connect');
    if (text !== '') socket.write(text, 'latin1');
  }
  return sockets;
}

/** First bytes of clients that do not authenticate. */
const silences: readonly (readonly [what: string, text: string])[] = [
  ['nothing', ''],
  ['half a head', 'GET /v2/grants HTTP/1.1\r\nHost: x\r\nX-A'],
  ['a head without its body', 'POST /v2/grants HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n'],
  ['a whole request without a key', 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['half a handshake', '\x16\x03\x01\x02\x00\x01'],
];

/** More than the connections that the admin listener accepts. */
const count = 270;

describe('270 connections to the admin listener', () => {
  test.each(silences)('that send %s do not block the operator', async (_what, text) => {
    const { call, url } = await startService();
    await flood(Number(new URL(url).port), count, text);
    expect((await call('GET /v2/grants')).status).toBe(200);
  });

  test.each(silences)('that send %s over TLS do not block the operator', async (_what, text) => {
    const { key, sidekey, port } = await withTls();
    await flood(port, count, text);
    const operator = await key();
    const asked = request({
      port,
      ca: authority.cert,
      path: '/v2/grants',
      headers: { 'x-api-key': operator },
    });
    const [answer] = (await once(asked.end(), 'response')) as [{ statusCode: number; resume(): void }];
    answer.resume();
    expect([answer.statusCode, sidekey.logged()]).toEqual([200, expect.not.stringContaining(operator)]);
  });

  test.each([false, true])('do not close a connection of an operator; over TLS: %s', async (isTls) => {
    const { key, port } = isTls ? await withTls() : await withoutTls();
    const socket = isTls
      ? connectTls({ port, ca: authority.cert, servername: 'localhost' })
      : connect(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    await once(socket, isTls ? 'secureConnect' : 'connect');
    const client = rawClient(socket);
    // A stream that has no end.
    client.send(
      `GET /v2/audit/stream HTTP/1.1\r\nHost: localhost:${port}\r\nX-API-Key: ${await key()}\r\n\r\n`,
    );
    await client.until('200 OK');
    let isClosed = false;
    socket.once('close', () => (isClosed = true));
    const silent = await flood(port, count, '');
    while (!silent[0]?.readableEnded && !silent[0]?.destroyed) {
      silent[0]?.resume();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(isClosed).toBe(false);
  });
});

async function withoutTls() {
  const service = await startService();
  return { ...service, port: Number(new URL(service.url).port) };
}

async function withTls() {
  const folder = await tempFolder();
  const tls = { cert: join(folder, 'admin.pem'), key: join(folder, 'admin.key') };
  const issued = authority.issue(['localhost']);
  await Promise.all([writeFile(tls.cert, issued.cert), writeFile(tls.key, issued.key)]);
  const service = await startService({ config: { admin: { listen: '127.0.0.1:0', tls } } });
  return { ...service, port: Number(new URL(service.url).port) };
}

describe('more connections than limits.client_connections to the proxy', () => {
  test.each([
    ['nothing', ''],
    ['half a head', 'GET http://x/ HTTP/1.1\r\nHost: x\r\nX-A'],
    ['requests that are refused', 'GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n'],
    ['half a SOCKS request', '\x05\x01'],
  ])('that send %s do not block known callers', async (_what, text) => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { limits: { client_connections: 10 } },
      peerOwner: async ({ remotePort }) => (owned.has(remotePort) ? 'own' : 'other'),
    });
    const owned = new Set<number | undefined>();
    const openOwned = async () => {
      const client = await openClient(sidekey);
      owned.add(client.socket.localPort);
      return client;
    };
    const get = `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`;
    const first = await openOwned();
    first.send(get);
    expect(await first.response()).toMatchObject({ status: 200 });
    await flood(sidekey.port, 30, text);
    const second = await openOwned();
    second.send(get);
    expect(await second.response()).toMatchObject({ status: 200 });
    first.send(get);
    expect(await first.response()).toMatchObject({ status: 200 });
    for (const { socket } of [first, second]) socket.destroy();
  });
});
