import { once } from 'node:events';
import { constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { Duplex, Writable } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as ws from 'ws';
import { grantedTo } from '../../support/granted.ts';
import { answerOf, ask, openSession } from '../../support/h2-client.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { startH2Upstream, startUpstream } from '../../support/upstream.ts';

/** Exports of the package that its types omit. They read and write frames over any stream. */
interface WebSocketFrames {
  readonly Receiver: new (options: { isServer: boolean }) => Writable;
  readonly Sender: new (stream: Duplex) => {
    send(data: Buffer | string, options: object, done: () => void): void;
    close(code: number, reason: string, mask: boolean, done: () => void): void;
  };
}
const { Receiver, Sender } = ws as unknown as WebSocketFrames;
const { WebSocketServer } = ws;

async function echoing() {
  const seen: IncomingHttpHeaders[] = [];
  const upstream = await startH2Upstream(
    (asked, response) => response.writeHead(asked.url === '/plain' ? 200 : 404).end('no such thing'),
    { enableConnectProtocol: true },
  );
  const server = new WebSocketServer({ server: upstream.server as unknown as Server, path: '/chat' });
  onTestFinished(() => server.close());
  server.on('connection', (socket, asked) => {
    seen.push(asked.headers);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const { sidekey } = await grantedTo(upstream);
  return { upstream, sidekey, server, seen };
}

/** An extended CONNECT (RFC 8441). */
function connectTo(session: ClientHttp2Session, path: string, more: object = {}): ClientHttp2Stream {
  const stream = session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': path,
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'v1.chat, v2.chat',
      ...more,
    },
    { endStream: false },
  );
  stream.on('error', () => {});
  return stream;
}

/** Frames of WebSocket over a stream. */
function speak(stream: ClientHttp2Stream) {
  const receiver = new Receiver({ isServer: false });
  stream.pipe(receiver);
  const sender = new Sender(stream);
  return {
    send: (data: Buffer | string) =>
      sender.send(
        data,
        { binary: typeof data !== 'string', mask: true, compress: false, fin: true },
        () => {},
      ),
    close: (code: number) => sender.close(code, '', true, () => {}),
    message: async () => ((await once(receiver, 'message')) as [Buffer])[0],
    concluded: async () => ((await once(receiver, 'conclude')) as [number])[0],
  };
}

describe('a WebSocket over HTTP/2', () => {
  test('gets the credential in its handshake, and carries frames in both directions', async () => {
    const { upstream, sidekey, seen } = await echoing();
    const session = await openSession(sidekey, upstream.authority);
    expect(session.remoteSettings.enableConnectProtocol).toBe(true);
    const stream = connectTo(session, '/chat', {
      authorization: 'Bearer placeholder',
    });
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    expect(headers).toMatchObject({ ':status': 200, 'sec-websocket-protocol': 'v1.chat' });
    expect(headers['sec-websocket-accept']).toBeUndefined();
    expect(seen[0]).toMatchObject({ authorization: `Bearer ${bearerToken}`, upgrade: 'websocket' });
    const line = speak(stream);
    const text = line.message();
    line.send('hello');
    expect((await text).toString()).toBe('hello');
    const large = Buffer.alloc(5_000_000, 7);
    const echoed = line.message();
    line.send(large);
    expect((await echoed).equals(large)).toBe(true);
    // Others of the session go on meanwhile.
    expect(await ask(session, { ':path': '/plain' })).toMatchObject({ status: 200 });
    const concluded = line.concluded();
    line.close(4001);
    expect(await concluded).toBe(4001);
    stream.end();
    await new Promise<void>((resolve) => stream.once('close', resolve));
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    await expect(
      sidekey.audited((it) => it.event === 'outcome' && it.path === '/chat'),
    ).resolves.toMatchObject({ method: 'GET', status: 101, outcome: 'ok' });
  });

  test('answers the key of a client that sends a key, and sends another key to the upstream', async () => {
    const { upstream, sidekey, seen } = await echoing();
    const session = await openSession(sidekey, upstream.authority);
    // The key and the proof of RFC 6455 §1.3.
    const stream = connectTo(session, '/chat', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' });
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    expect(headers['sec-websocket-accept']).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    expect(seen[0]?.['sec-websocket-key']).not.toBe('dGhlIHNhbXBsZSBub25jZQ==');
    stream.close();
  });

  test.each([
    ['speaks only HTTP/1.1', () => startUpstream((_asked, response) => response.end())],
    ['speaks HTTP/2 without it', () => startH2Upstream((_asked, response) => response.end())],
  ])('is not offered where the upstream %s', async (_what, start) => {
    const { sidekey, upstream } = await grantedTo(await start());
    const session = await openSession(sidekey, upstream.authority);
    expect(session.remoteSettings.enableConnectProtocol).toBe(false);
  });

  test('that the upstream refuses gets the response of the upstream', async () => {
    const { upstream, sidekey } = await echoing();
    const session = await openSession(sidekey, upstream.authority);
    const stream = connectTo(session, '/elsewhere');
    expect(await answerOf(stream)).toMatchObject({ status: 400, whole: true });
  });

  test('gets the same decision as any other request', async () => {
    const { upstream, sidekey, seen } = await echoing();
    const session = await openSession(sidekey, upstream.authority);
    const refused = await answerOf(connectTo(session, '/chat', { 'sidekey-grant': 'none-such' }));
    expect(refused).toMatchObject({ status: 403, whole: true });
    expect(refused.headers['sidekey-error']).toBe('grant_missing');
    expect(seen).toEqual([]);
  });

  test('is refused if the upstream does not prove the handshake', async () => {
    const upstream = await startH2Upstream(() => {}, { enableConnectProtocol: true });
    upstream.server.on('upgrade', (_asked: unknown, socket: Duplex) =>
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
          'Sec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n',
      ),
    );
    const { sidekey } = await grantedTo(upstream);
    const session = await openSession(sidekey, upstream.authority);
    const refused = await answerOf(connectTo(session, '/chat'));
    expect(refused).toMatchObject({ status: 502, whole: true });
    expect(refused.headers['sidekey-error']).toBe('upstream_protocol');
  });

  test('ends when its client resets the stream or its permission ends, without affecting the session', async () => {
    const { upstream, sidekey, server } = await echoing();
    const second = await sidekey.grant([upstream.authority], { name: 'second' });
    const session = await openSession(sidekey, upstream.authority);
    const [reset, cut] = ['acme', 'second'].map((grant) =>
      connectTo(session, '/chat', { 'sidekey-grant': grant }),
    );
    await Promise.all([once(reset!, 'response'), once(cut!, 'response')]);
    expect(server.clients.size).toBe(2);
    const [first] = server.clients;
    const left = once(first!, 'close');
    reset!.close(constants.NGHTTP2_CANCEL);
    await left;
    const closed = new Promise<void>((resolve) => cut!.once('close', resolve));
    await sidekey.proxy.state.grants.setState(second, 'revoked', 'A test took it away.');
    await closed;
    expect(cut!.rstCode).toBe(constants.NGHTTP2_CANCEL);
    expect(await ask(session, { ':path': '/plain' })).toMatchObject({ status: 200 });
  });
});

describe('a CONNECT over HTTP/2 inside a tunnel', () => {
  test.each([
    ['to another host', { ':authority': 'other.example:443' }],
    ['with another protocol', { ':protocol': 'connect-udp', ':path': '/', ':scheme': 'https' }],
  ])('%s is refused', async (_what, headers) => {
    const { upstream, sidekey } = await grantedTo(
      await startH2Upstream((_asked, response) => response.end('ok'), { enableConnectProtocol: true }),
    );
    const session = await openSession(sidekey, upstream.authority);
    const stream = session.request(
      { ':method': 'CONNECT', ':authority': upstream.authority, ...headers },
      { endStream: false },
    );
    const answer = await answerOf(stream.on('error', () => {}));
    expect(answer).toMatchObject({ status: 400, whole: true });
    expect(answer.headers['sidekey-error']).toBe('bad_request');
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({ status: 400 });
    // The one connection detected the protocol of the upstream.
    expect(upstream.connections()).toBe(1);
  });
});

test('a WebSocket over HTTP/2 is refused at a path whose GraphQL mutations are denied', async () => {
  const upstream = await startH2Upstream((_asked, response) => response.end('ok'), {
    enableConnectProtocol: true,
  });
  const handshakes: unknown[] = [];
  upstream.server.on('upgrade', (asked) => handshakes.push(asked.url));
  const rule = { paths: ['/graphql'], graphql: { types: ['mutation'] }, outcome: 'deny' };
  const domain = { grant: 'acme', default: 'allow', rules: [rule] };
  const { sidekey } = await grantedTo(upstream, { domains: { [upstream.authority]: domain } });
  const session = await openSession(sidekey, upstream.authority);
  const refused = await answerOf(connectTo(session, '/graphql'));
  expect([refused.status, refused.headers['sidekey-error']]).toEqual([403, 'rule_denied']);
  expect(handshakes).toEqual([]);
});
