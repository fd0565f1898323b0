import { once } from 'node:events';
import { connect, createSecureContext, type ConnectionOptions } from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { intercept, type Inside, type Interception } from '../../../src/proxy/intercept.ts';
import { http1, type NegotiatedProtocol } from '../../../src/proxy/upstream/h2-session.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { authorityOf } from './policy/policy-for-test.ts';
import { closed, gone, socketPair } from './socket-pair.ts';

const ca = makeTestAuthority('Proxy CA');
const leaf = createSecureContext(ca.issue(['api.example', '127.0.0.1']));
const leafFor = () => leaf;
const h2: NegotiatedProtocol = { protocol: 'h2', extendedConnect: true };
const target = authorityOf('api.example');
const how = (more: Partial<Interception> = {}): Interception => ({
  leafFor,
  spoken: () => http1,
  timeoutMs: 60_000,
  ...more,
});
/** A client, whose connection may end before its handshake. */
const connectTls = (options: ConnectionOptions) => connect(options).on('error', () => {});

describe('an intercepted CONNECT', () => {
  it('answers a TLS handshake with a leaf for the tunnel’s host, and reports the client’s SNI', async () => {
    using pair = await socketPair();
    const asked = vi.fn(leafFor);
    const tls = connectTls({
      socket: pair.far,
      servername: 'api.example',
      ca: ca.cert,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    const inside = (await intercept(pair.near, target, how({ leafFor: asked }))) as Inside & {
      scheme: 'https';
    };
    expect(inside).toMatchObject({ scheme: 'https', serverName: 'api.example' });
    expect(asked).toHaveBeenCalledExactlyOnceWith('api.example');
    tls.write('GET / HTTP/1.1\r\n');
    const [chunk] = (await once(inside.stream, 'data')) as [Buffer];
    expect(chunk.toString()).toBe('GET / HTTP/1.1\r\n');
    expect(tls.authorized).toBe(true);
  });

  it.each([
    [['http/1.0'], 'http/1.0'],
    [['http/1.1', 'http/1.0'], 'http/1.1'],
    [['http/1.0', 'http/1.1'], 'http/1.1'],
    [[], false],
  ])('negotiates a supported protocol of %j, and serves HTTP/1.1', async (offered, chosen) => {
    using pair = await socketPair();
    const tls = connectTls({
      socket: pair.far,
      servername: 'api.example',
      ca: ca.cert,
      ...(offered.length === 0 ? {} : { ALPNProtocols: offered }),
    });
    const inside = intercept(pair.near, target, how());
    await once(tls, 'secureConnect');
    expect(tls.alpnProtocol).toBe(chosen);
    expect(await inside).toMatchObject({ protocol: 'http/1.1' });
  });

  it('fails the handshake if no offered protocol is supported (RFC 7301 §3.2)', async () => {
    using pair = await socketPair();
    const tls = connectTls({ socket: pair.far, ca: ca.cert, ALPNProtocols: ['irc'] });
    const failed = once(tls, 'error');
    expect(await intercept(pair.near, target, how())).toBeNull();
    expect((await failed)[0]).toMatchObject({ code: expect.stringContaining('NO_APPLICATION_PROTOCOL') });
  });

  it('requests the leaf of the tunnel’s host, whatever the SNI', async () => {
    using pair = await socketPair();
    const asked = vi.fn(leafFor);
    connectTls({ socket: pair.far, servername: 'other.example', rejectUnauthorized: false });
    expect(await intercept(pair.near, target, how({ leafFor: asked }))).toMatchObject({
      serverName: 'other.example',
    });
    expect(asked).toHaveBeenCalledExactlyOnceWith('api.example');
  });

  it('reports no server name if the client sent none', async () => {
    using pair = await socketPair();
    connectTls({ socket: pair.far, host: '127.0.0.1', ca: ca.cert });
    const inside = await intercept(pair.near, authorityOf('127.0.0.1'), how());
    expect(inside).toMatchObject({ scheme: 'https', serverName: null });
  });

  it('treats bytes other than a TLS handshake as plain HTTP, without loss', async () => {
    using pair = await socketPair();
    pair.far.write('GET / HTTP/1.1\r\n\r\n');
    const inside = await intercept(pair.near, target, how());
    expect(inside).toMatchObject({ scheme: 'http', serverName: null });
    const [chunk] = (await once(inside!.stream.resume(), 'data')) as [Buffer];
    expect(chunk.toString()).toBe('GET / HTTP/1.1\r\n\r\n');
  });

  it('reads bytes that arrived with the CONNECT', async () => {
    using pair = await socketPair();
    pair.near.unshift(Buffer.from('GET /early HTTP/1.1\r\n\r\n'));
    expect(await intercept(pair.near, target, how())).toMatchObject({ scheme: 'http' });
  });

  it.each([
    ['leaves before the first byte', (pair: Pair) => pair.far.end()],
    ['is cut before the first byte', (pair: Pair) => pair.far.resetAndDestroy()],
    [
      'is cut in the handshake',
      (pair: Pair) => pair.far.write(Buffer.from([0x16, 3, 1, 2, 0, 1]), () => pair.far.resetAndDestroy()),
    ],
    [
      'ends its side in the handshake',
      (pair: Pair) => {
        const tls = connectTls({ socket: pair.far, servername: 'api.example' });
        // Behind the ClientHello, and before the Finished of the client.
        tls.once('keylog', () => pair.far.end());
      },
    ],
    ['breaks the handshake', (pair: Pair) => pair.far.write(Buffer.alloc(64, 0x16))],
  ])('ends without a session if the client %s', async (_how, act) => {
    using pair = await socketPair();
    const inside = intercept(pair.near, target, how());
    act(pair);
    expect(await inside).toBeNull();
  });

  it('ends without a session if the client half-closes during the upstream negotiation', async () => {
    using pair = await socketPair();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<NegotiatedProtocol>();
    const spoken = () => (asked.resolve(), answer.promise);
    connectTls({ socket: pair.far, servername: 'api.example', ALPNProtocols: ['h2', 'http/1.1'] });
    const inside = intercept(pair.near, target, how({ spoken }));
    await asked.promise;
    const sent = new Promise((resolve) => void pair.far.once('finish', resolve));
    pair.far.end();
    await sent;
    answer.resolve(h2);
    expect(await inside).toBeNull();
  });

  it('ends without a session if the client offers only another protocol', async () => {
    using pair = await socketPair();
    connectTls({ socket: pair.far, servername: 'api.example', ALPNProtocols: ['h3'] });
    expect(await intercept(pair.near, target, how())).toBeNull();
  });

  it.each([
    [['h2', 'http/1.1'], 'h2', 'h2', 1],
    [['http/1.1', 'h2'], 'h2', 'h2', 1],
    [['h2', 'http/1.1'], 'http/1.1', 'http/1.1', 1],
    [['http/1.1'], 'h2', 'http/1.1', 0],
    [[], 'h2', 'http/1.1', 0],
    // The client may use HTTP/2 with any upstream. Only support for WebSockets is looked up.
    [['h2'], 'http/1.1', 'h2', 1],
    [['h2'], 'h2', 'h2', 1],
  ] as const)('with a client that offers %j and an upstream of %s uses %s', async (...row) => {
    const [offered, upstream, chosen, times] = row;
    using pair = await socketPair();
    const spoken = vi.fn(() => Promise.resolve(upstream === 'h2' ? h2 : http1));
    const tls = connectTls({
      socket: pair.far,
      servername: 'api.example',
      ca: ca.cert,
      ALPNProtocols: [...offered],
    });
    const secure = once(tls, 'secureConnect');
    const inside = await intercept(pair.near, target, how({ spoken }));
    expect(inside).toMatchObject({ protocol: chosen, extendedConnect: times === 1 && upstream === 'h2' });
    expect(spoken).toHaveBeenCalledTimes(times);
    await secure;
    expect(tls.alpnProtocol).toBe(offered.length === 0 ? false : chosen);
  });

  it('excludes the upstream negotiation from the client’s handshake time-out', async () => {
    using pair = await socketPair();
    const tls = connectTls({
      socket: pair.far,
      servername: 'api.example',
      ca: ca.cert,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const secure = once(tls, 'secureConnect');
      expect(await intercept(pair.near, target, how({ spoken: slowly }))).toMatchObject({ protocol: 'h2' });
      await secure;
    } finally {
      vi.useRealTimers();
    }
  });

  it('ends without a session if the client disconnected before it started', async () => {
    using pair = await socketPair();
    await gone(pair.near);
    expect(await intercept(pair.near, target, how())).toBeNull();
  });

  it('ends without a session if the client half-closed before it started', async () => {
    using pair = await socketPair();
    pair.far.end();
    await once(pair.near.resume(), 'end');
    expect(await intercept(pair.near, target, how())).toBeNull();
  });

  it.each([
    ['sends nothing', Buffer.alloc(0)],
    ['stops in the handshake', Buffer.from([0x16, 3, 1, 2, 0, 1])],
  ])('is cut if the client %s for too long', async (_what, bytes) => {
    using pair = await socketPair();
    pair.far.write(bytes);
    expect(await intercept(pair.near, target, how({ timeoutMs: 20 }))).toBeNull();
    await closed(pair.near);
  });
});

function slowly(): NegotiatedProtocol {
  vi.advanceTimersByTime(60_001);
  return h2;
}

type Pair = Awaited<ReturnType<typeof socketPair>>;
