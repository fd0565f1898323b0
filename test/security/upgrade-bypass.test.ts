import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect as connectTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startPlainUpstream, upstreamHost } from '../support/upstream.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Fields that make h2c an offer, which a server may ignore (RFC 7540 §3.2.1). */
const settings = 'Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';

describe('a protocol that rules cannot inspect', () => {
  test.each([
    ['h2c', 'GET', `Upgrade: h2c\r\n${settings}`],
    ['TLS', 'OPTIONS', 'Upgrade: TLS/1.3\r\nConnection: Upgrade\r\n'],
    ['several', 'GET', `Upgrade: websocket, h2c\r\n${settings}`],
    ['one of two', 'GET', `Upgrade: websocket\r\nUpgrade: h2c\r\n${settings}`],
    ['a WebSocket that Connection does not name', 'GET', 'Upgrade: websocket\r\n'],
    ['a WebSocket by POST', 'POST', 'Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n'],
    ['a WebSocket of HTTP/1.0', 'GET', 'Upgrade: websocket\r\nConnection: Upgrade, keep-alive\r\n', '1.0'],
    ['a WebSocket with a body', 'GET', 'Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n'],
  ])(
    'is not switched to: %s is forwarded as a plain request',
    async (_name, method, fields, version = '1.1') => {
      const heads: string[] = [];
      const { upstream, sidekey } = await grantedRaw((socket) =>
        onHeads(socket, (head) => {
          heads.push(head);
          socket.write(ok);
        }),
      );
      const client = await openTunnel(sidekey, upstream.authority);
      const body = fields.includes('Length: 2') ? 'xx' : '';
      client.send(`${method} / HTTP/${version}\r\nHost: ${upstream.authority}\r\n${fields}\r\n${body}`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
      expect(heads[0]?.toLowerCase()).not.toMatch(/upgrade|http2-settings/);
      // The next bytes on the connection are an ordinary request, which policy judges.
      client.send(`GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 421 });
    },
  );

  test.each(['h2c', 'websocket, h2c', 'h2c, websocket', 'tcp, TLS/1.3'])(
    'is refused if no rule lists it: %s',
    async (upgrade) => {
      const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(
        `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`,
      );
      expect(await client.response()).toMatchObject({ status: 403, reason: 'upgrade_denied' });
      expect(upstream.connections()).toBe(0);
    },
  );

  test('is not started by the preface of HTTP/2 with prior knowledge', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    for (const client of [await openClient(sidekey), await openTunnel(sidekey, upstream.authority)]) {
      client.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      expect(await client.response()).toMatchObject({ status: 400 });
    }
    expect(upstream.connections()).toBe(0);
  });

  test('is not negotiated in the handshake: only HTTP/1.1 is offered', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const outer = await openClient(sidekey);
    outer.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await outer.response('CONNECT');
    outer.socket.removeAllListeners('data');
    const inner = connectTls({
      socket: outer.socket,
      servername: upstreamHost,
      ca: sidekey.caPem,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    await once(inner, 'secureConnect');
    expect(inner.alpnProtocol).toBe('http/1.1');
    inner.destroy();
  });
});

describe('a CONNECT', () => {
  test('inside a CONNECT is refused and recorded', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(await client.ended()).toBe('');
    await sidekey.audited((line) => line.event === 'denied');
    expect(upstream.connections()).toBe(0);
  });

  test('after an unanswered request opens no tunnel', async () => {
    const asked = Promise.withResolvers<void>();
    const upstream = await startPlainUpstream(() => asked.resolve());
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    const host = `Host: ${upstream.authority}\r\n\r\n`;
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\n${host}CONNECT ${upstream.authority} HTTP/1.1\r\n${host}`);
    expect(await client.ended()).toBe('');
    await upstream.allClosed();
  });
});

const offer: RequestListener = (_request, response) =>
  void response.writeHead(200, { 'alt-svc': 'h3=":443"; ma=86400' }).end();

describe('Alt-Svc', () => {
  test('that points around the proxy is removed on a domain with a grant', async () => {
    const { upstream, sidekey } = await granted(offer);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer.status).toBe(200);
    expect(answer.headers['alt-svc']).toBeUndefined();
  });

  test('is forwarded if no credential is involved', async () => {
    const upstream = await startPlainUpstream(offer);
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect((await client.response()).headers['alt-svc']).toBe('h3=":443"; ma=86400');
  });
});
