import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import { parseCidr } from '../../../../src/proxy/policy/authority.ts';
import type { ParentProxy } from '../../../../src/proxy/upstream/parent-proxy.ts';
import { createConnections } from '../../../../src/proxy/upstream/h1-pool.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { startCompanyProxy, type TestCompanyProxy } from '../../../support/company-proxy.ts';
import { authorityOf, patternOf } from '../policy/policy-for-test.ts';
import { recordingUser } from './connection-user.ts';
import { manualClock } from '../../lib/manual-clock.ts';
import { dialerForTest, tlsUpstream, upstream, type DialerForTest } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
const good = company.issue(['api.example']);
const pinned = { 'api.example': '127.0.0.1' };

function through(
  { port }: Pick<TestCompanyProxy, 'port'>,
  options: DialerForTest & { readonly way?: Partial<ParentProxy> } = {},
) {
  const { way, ...rest } = options;
  const proxy = {
    authority: authorityOf(`proxy.example:${port}`, 'http'),
    credentials: null,
    remoteDns: false,
  };
  return dialerForTest({ pinned, ca: company.cert, ...rest, proxy: { ...proxy, ...way } });
}

const hello = (socket: Socket) =>
  void socket.on('data', (piece) => socket.write(`you said ${String(piece)}`));

/** Name services. */
const two = () => Promise.resolve(['127.0.0.2', '127.0.0.1'].map((address) => ({ address, family: 4 })));
const metadata = () => Promise.resolve([{ address: '169.254.169.254', family: 4 }]);
const unknown = () => Promise.reject(new Error('no such name'));

describe('a connection through the parent proxy', () => {
  it('is a tunnel to the checked address, with a verified upstream', async () => {
    await using server = await tlsUpstream({ ...good, ALPNProtocols: ['h2', 'http/1.1'] }, hello);
    const proxy = await startCompanyProxy();
    const socket = (await through(proxy).connect(authorityOf(`api.example:${server.port}`))) as TLSSocket;
    expect(proxy.heads).toEqual([
      `CONNECT 127.0.0.1:${server.port} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}`,
    ]);
    expect([socket.authorized, socket.alpnProtocol]).toEqual([true, 'http/1.1']);
    socket.write('hello');
    expect(String((await once(socket, 'data'))[0])).toBe('you said hello');
    socket.destroy();
  });

  it.each([
    ['over TLS', 'https'],
    ['that is plain', 'http'],
  ] as const)('%s can be kept and reused', async (_what, scheme) => {
    const start = scheme === 'https' ? tlsUpstream.bind(null, good) : upstream;
    await using server = await start(hello);
    const proxy = await startCompanyProxy();
    const connections = createConnections({ dialer: through(proxy), limits: defaultLimits });
    const target = authorityOf(`api.example:${server.port}`, scheme);
    for (const word of ['one', 'two']) {
      const user = recordingUser();
      connections.request(target, user);
      const connection = await user.connection;
      connection.write(Buffer.from(word));
      await user.until(`you said ${word}`);
      connection.release(null);
    }
    expect(proxy.heads).toHaveLength(1);
    await connections.close();
  });

  it('closes if it receives data while idle', async () => {
    const heard: Socket[] = [];
    await using server = await tlsUpstream(good, (socket) => {
      heard.push(socket);
      hello(socket);
    });
    const proxy = await startCompanyProxy();
    const connections = createConnections({ dialer: through(proxy), limits: defaultLimits });
    const user = recordingUser();
    connections.request(authorityOf(`api.example:${server.port}`), user);
    const connection = await user.connection;
    connection.write(Buffer.from('a'));
    await user.until('you said a');
    connection.release(null);
    const cut = once(heard[0]!, 'close');
    heard[0]!.write('and another thing');
    await cut;
    await connections.close();
  });

  it('delivers paused data completely', async () => {
    const much = 'x'.repeat(3_000_000);
    await using server = await tlsUpstream(
      good,
      (socket) => void socket.once('data', () => socket.write(much)),
    );
    const connections = createConnections({
      dialer: through(await startCompanyProxy()),
      limits: defaultLimits,
    });
    const whole = Promise.withResolvers<void>();
    let size = 0;
    connections.request(authorityOf(`api.example:${server.port}`), {
      ...recordingUser(),
      connected(connection) {
        it.connection = connection;
        connection.write(Buffer.from('go'));
      },
      received(_bytes, end) {
        size += end;
        it.connection!.pause();
        setImmediate(() => it.connection!.resume());
        if (size === much.length) whole.resolve();
      },
    });
    const it: { connection?: { pause(): void; resume(): void; destroy(): void } } = {};
    await whole.promise;
    it.connection!.destroy();
    await connections.close();
  });

  it('is half-open for a blind tunnel', async () => {
    const heard = Promise.withResolvers<string>();
    await using server = await upstream((socket) => {
      socket.end('done');
      socket.once('data', (chunk) => heard.resolve(chunk.toString()));
    });
    const socket = await through(await startCompanyProxy()).connectBlind(
      authorityOf(`api.example:${server.port}`),
    );
    socket.resume();
    await once(socket, 'end');
    socket.write('and I am not');
    expect(await heard.promise).toBe('and I am not');
    socket.destroy();
  });

  it('delivers bytes that came with the CONNECT response', async () => {
    await using server = await upstream();
    const proxy = await startCompanyProxy({ early: '220 ready' });
    const socket = await through(proxy).connectBlind(authorityOf(`api.example:${server.port}`));
    expect(String((await once(socket, 'data'))[0])).toBe('220 ready');
    socket.destroy();
  });

  it('can use TLS to the proxy, whose certificate is verified', async () => {
    await using server = await tlsUpstream(good, hello);
    const proxy = await startCompanyProxy({ tls: company.issue(['proxy.example']) });
    const authority = authorityOf(`proxy.example:${proxy.port}`);
    const dialer = through(proxy, { way: { authority } });
    const socket = await dialer.connect(authorityOf(`api.example:${server.port}`));
    socket.write('hello');
    expect(String((await once(socket, 'data'))[0])).toBe('you said hello');
    socket.destroy();

    const other = await startCompanyProxy({ tls: company.issue(['other.example']) });
    const wrong = through(other, { way: { authority: authorityOf(`proxy.example:${other.port}`) } });
    await expect(wrong.connect(authorityOf(`api.example:${server.port}`))).rejects.toMatchObject({
      code: 'upstream_tls',
      message: `The proxy of upstream.proxy cannot be used: The TLS handshake with proxy.example:${other.port} failed: its certificate is for other.example (ERR_TLS_CERT_ALTNAME_INVALID).`,
    });
    expect(other.heads).toEqual([]);
  });

  it('fails with an error that names the proxy, if the proxy cannot be reached', async () => {
    const closed = await upstream();
    await closed[Symbol.asyncDispose]();
    const target = authorityOf('api.example');
    await expect(through(closed).connect(target)).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: `The proxy of upstream.proxy cannot be used: proxy.example:${closed.port} cannot be reached (ECONNREFUSED).`,
      hint: 'check upstream.proxy, or what upstream.no_proxy leaves to it',
    });
  });

  it('sends credentials to the proxy, and not through the tunnel', async () => {
    const heard = Promise.withResolvers<string>();
    await using server = await upstream(
      (socket) => void socket.once('data', (it) => heard.resolve(String(it))),
    );
    const proxy = await startCompanyProxy();
    const credentials = { user: 'älice', password: 'pass:wörd' };
    const dialer = through(proxy, { way: { credentials } });
    const socket = await dialer.connect(authorityOf(`api.example:${server.port}`, 'http'));
    socket.write('GET / HTTP/1.1\r\n\r\n');
    expect(await heard.promise).toBe('GET / HTTP/1.1\r\n\r\n');
    const basic = Buffer.from('älice:pass:wörd').toString('base64');
    expect(proxy.heads[0]?.split('\r\n')[2]).toBe(`Proxy-Authorization: Basic ${basic}`);
    socket.destroy();
  });
});

describe('the address guard', () => {
  it('applies before the proxy', async () => {
    const proxy = await startCompanyProxy();
    for (const remoteDns of [false, true]) {
      const dialer = through(proxy, { permitted: [], lookup: metadata, pinned: {}, way: { remoteDns } });
      const host = remoteDns ? '169.254.169.254' : 'api.example';
      await expect(dialer.connect(authorityOf(host))).rejects.toMatchObject({ code: 'address_blocked' });
    }
    expect(proxy.heads).toEqual([]);
  });

  it('requires a name that resolves here, unless the proxy resolves names', async () => {
    const proxy = await startCompanyProxy({ answer: () => 'HTTP/1.1 502 x\r\n\r\n' });
    const strict = through(proxy, { lookup: unknown, pinned: {} });
    await expect(strict.connect(authorityOf('api.example'))).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: 'The name api.example cannot be resolved.',
    });
    expect(proxy.targets()).toEqual([]);
    const trusting = through(proxy, {
      lookup: unknown,
      way: { remoteDns: true },
      pinned: { 'pinned.example': '127.0.0.1' },
    });
    for (const host of ['api.example', 'pinned.example', '[::1]:8443'])
      await expect(trusting.connect(authorityOf(host))).rejects.toMatchObject({
        code: 'upstream_unreachable',
      });
    expect(proxy.targets()).toEqual(['api.example:443', '127.0.0.1:443', '[::1]:8443']);
  });
});

describe('an entry of upstream.no_proxy', () => {
  it.each([
    ['a host', { hosts: [patternOf('api.example')], blocks: [] }],
    ['a suffix', { hosts: [patternOf('*.acme.example')], blocks: [] }],
    ['a block of addresses', { hosts: [], blocks: [parseCidr('127.0.0.0/8')!] }],
  ])('connects directly: %s', async (_what, exceptions) => {
    await using server = await upstream();
    const proxy = await startCompanyProxy();
    const pins = { 'api.example': '127.0.0.1', 'www.acme.example': '127.0.0.1' };
    const dialer = through(proxy, { exceptions, pinned: pins });
    const host = exceptions.hosts[0]?.wildcard === true ? 'www.acme.example' : 'api.example';
    (await dialer.connectBlind(authorityOf(`${host}:${server.port}`))).destroy();
    expect(proxy.heads).toEqual([]);
  });

  it('with a port applies only to that port, even for a private address', async () => {
    await using server = await upstream();
    const proxy = await startCompanyProxy();
    const exceptions = { hosts: [patternOf('api.example:1'), patternOf('*.api.example')], blocks: [] };
    const dialer = through(proxy, { exceptions });
    (await dialer.connectBlind(authorityOf(`api.example:${server.port}`))).destroy();
    expect(proxy.targets()).toEqual([`127.0.0.1:${server.port}`]);
  });
});

describe('a proxy that opens no tunnel', () => {
  const target = authorityOf('api.example');

  it.each([
    [
      'requires credentials',
      'HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n',
      'upstream_unreachable',
      /requires credentials \(407\)\.$/,
    ],
    [
      'answers with a refusal',
      'HTTP/1.1 403 Forbidden <b>\r\nContent-Length: 5\r\n\r\nnever',
      'upstream_unreachable',
      /opened no tunnel to api\.example \(403\)\.$/,
    ],
    [
      'sends elsewhere',
      'HTTP/1.1 302 x\r\nLocation: https://evil.example/\r\n\r\n',
      'upstream_unreachable',
      /\(302\)\.$/,
    ],
    ['hangs up', '', 'upstream_unreachable', /closed the connection before it opened a tunnel\.$/],
    [
      'hangs up in its answer',
      'HTTP/1.1 200 OK\r\nX: ',
      'upstream_unreachable',
      /closed the connection before it opened a tunnel\.$/,
    ],
    [
      'speaks another protocol',
      'SSH-2.0-OpenSSH_9.9\r\n',
      'upstream_protocol',
      /did not answer a CONNECT in HTTP\/1\.1/,
    ],
    ['speaks HTTP/2', 'HTTP/2 200\r\n\r\n', 'upstream_protocol', /did not answer/],
    ['has no status', 'HTTP/1.1 OK\r\n\r\n', 'upstream_protocol', /did not answer/],
    ['has a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'upstream_protocol', /did not answer/],
    ['folds its first line', 'HTTP/1.1 200 OK\r\n X: a\r\n\r\n', 'upstream_protocol', /did not answer/],
    ['has a line without a colon', 'HTTP/1.1 200 OK\nhello\n\n', 'upstream_protocol', /did not answer/],
    ['has a NUL', 'HTTP/1.1 200 OK\r\nX: \0\r\n\r\n', 'upstream_protocol', /did not answer/],
    ['switches protocols', 'HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n', 'upstream_protocol', /did not answer/],
    [
      'never ends its head',
      `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(20_000)}`,
      'upstream_protocol',
      /did not answer/,
    ],
    [
      'sends interim answers for ever',
      'HTTP/1.1 100 x\r\n\r\n'.repeat(2_000),
      'upstream_protocol',
      /did not answer/,
    ],
  ])('causes an error that names the proxy: %s', async (_how, answer, code, message) => {
    const proxy = await startCompanyProxy({ answer: () => answer });
    await expect(through(proxy).connect(target)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    await expect(through(proxy).connectBlind(target)).rejects.toThrow(
      `The proxy proxy.example:${proxy.port} `,
    );
  });

  it('may send interim responses first', async () => {
    await using server = await upstream();
    const proxy = await startCompanyProxy({
      answer(_target, socket) {
        socket.write('HTTP/1.1 100 Continue\r\nX: y\r\n\r\n');
      },
    });
    (await through(proxy).connectBlind(authorityOf(`api.example:${server.port}`))).destroy();
  });

  it('for one address is tried with the next address', async () => {
    await using server = await upstream();
    const proxy = await startCompanyProxy({
      answer: (to) => (to.startsWith('127.0.0.2:') ? 'HTTP/1.1 503 x\r\n\r\n' : undefined),
    });
    const dialer = through(proxy, { lookup: two, pinned: {} });
    (await dialer.connectBlind(authorityOf(`api.example:${server.port}`))).destroy();
    expect(proxy.targets()).toEqual([`127.0.0.2:${server.port}`, `127.0.0.1:${server.port}`]);
  });

  it('for lack of credentials is tried once, whatever the number of addresses', async () => {
    const proxy = await startCompanyProxy({ answer: () => 'HTTP/1.1 407 x\r\n\r\n' });
    const credentials = { user: 'alice', password: 'secret-of-alice' };
    const failure: unknown = await through(proxy, { lookup: two, pinned: {}, way: { credentials } })
      .connect(target)
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: `The proxy proxy.example:${proxy.port} does not accept the credentials of upstream.proxy (407).`,
    });
    expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toContain('secret-of-alice');
    expect(proxy.heads).toHaveLength(1);
  });

  it('because it does not respond is abandoned in time', async () => {
    const left = Promise.withResolvers<void>();
    await using silent = await upstream(
      (socket) =>
        void socket
          .resume()
          .once('end', () => {
            socket.end();
            left.resolve();
          })
          .once('close', () => left.resolve()),
    );
    await expect(through(silent, { timeoutMs: 50 }).connect(target)).rejects.toMatchObject({
      code: 'upstream_timeout',
      message: `api.example:443 did not accept a connection through the proxy proxy.example:${silent.port} within 50 ms.`,
    });
    await left.promise;
  });

  it('for the first address within a second is tried with the next address too', async () => {
    await using server = await upstream();
    const clock = manualClock();
    const asked = Promise.withResolvers<void>();
    const proxy = await startCompanyProxy({
      answer(to) {
        asked.resolve();
        return to.startsWith('127.0.0.2:') ? null : undefined;
      },
    });
    const dialed = through(proxy, { lookup: two, pinned: {}, clock }).connectBlind(
      authorityOf(`api.example:${server.port}`),
    );
    await asked.promise;
    clock.advance(1_000);
    (await dialed).destroy();
    expect(proxy.targets()).toEqual([`127.0.0.2:${server.port}`, `127.0.0.1:${server.port}`]);
  });
});
