import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { freePort } from '../../../support/free-port.ts';
import { startProgram } from '../../../bench/process.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { manualClock } from '../../lib/manual-clock.ts';
import { dialerForTest, tlsUpstream, upstream } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
const stranger = makeTestAuthority('Unknown CA');
const day = 86_400_000;
const pinned = { 'api.example': '127.0.0.1' };

/** Name services. */
const mostlySix = () =>
  Promise.resolve([
    { address: '::1', family: 6 },
    { address: '::1', family: 6 },
    { address: '127.0.0.1', family: 4 },
  ]);
const four = () => Promise.resolve([2, 3, 4, 5].map((last) => ({ address: `127.0.0.${last}`, family: 4 })));

describe('a plain connection', () => {
  it('uses the pinned address', async () => {
    await using server = await upstream((socket) => socket.end('hello'));
    const socket = await dialerForTest({ pinned }).connect(authorityOf(`api.example:${server.port}`, 'http'));
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    expect(chunk.toString()).toBe('hello');
    socket.destroy();
  });

  it('tries the checked addresses in order', async () => {
    await using server = await upstream();
    const lookup = vi.fn(() =>
      Promise.resolve([
        { address: '10.255.255.1', family: 4 },
        { address: '127.0.0.2', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ]),
    );
    const dialer = dialerForTest({ lookup });
    const socket = await dialer.connectBlind(authorityOf(`api.example:${server.port}`));
    expect(socket.remoteAddress).toBe('127.0.0.1');
    expect(lookup).toHaveBeenCalledOnce();
    socket.destroy();
  });

  it('uses the other address family if one does not respond', async () => {
    await using server = await upstream();
    const socket = await dialerForTest({ lookup: mostlySix }).connectBlind(
      authorityOf(`api.example:${server.port}`),
    );
    expect(socket.remoteAddress).toBe('127.0.0.1');
    socket.destroy();
  });

  it('that fails at all addresses reports the reason of each', async () => {
    const port = await freePort();
    const dialer = dialerForTest({ lookup: four });
    await expect(dialer.connectBlind(authorityOf(`api.example:${port}`))).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: `api.example:${port} cannot be reached (127.0.0.2: ECONNREFUSED, 127.0.0.3: ECONNREFUSED, 127.0.0.4: ECONNREFUSED, and 1 more).`,
    });
  });

  it('to a listener of the proxy itself is refused', async () => {
    await using server = await upstream();
    const isSelf = vi.fn((address: string, port: number) => address === '127.0.0.1' && port === server.port);
    const dialer = dialerForTest({ pinned, isSelf });
    for (const host of ['api.example', '127.0.0.1', '[::ffff:127.0.0.1]']) {
      await expect(dialer.connectBlind(authorityOf(`${host}:${server.port}`))).rejects.toMatchObject({
        code: 'address_blocked',
        message: expect.stringMatching(/is this proxy itself\.$/),
      });
    }
    expect(server.accepted()).toBe(0);
  });

  it('that is refused by the upstream fails as unreachable', async () => {
    const port = await freePort();
    await expect(
      dialerForTest({ pinned }).connectBlind(authorityOf(`api.example:${port}`)),
    ).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: `api.example:${port} cannot be reached (ECONNREFUSED).`,
    });
  });

  it('is limited in time, including the name look-up', async () => {
    const dialer = dialerForTest({ lookup: () => new Promise(() => {}), timeoutMs: 20 });
    await expect(dialer.connectBlind(authorityOf('api.example'))).rejects.toMatchObject({
      code: 'upstream_timeout',
      message: 'api.example:443 did not accept a connection within 20 ms.',
    });
  });

  it('stays writable after the upstream has ended its side', async () => {
    const heard = Promise.withResolvers<string>();
    await using server = await upstream((socket) => {
      socket.end('done');
      socket.once('data', (chunk) => heard.resolve(chunk.toString()));
    });
    const socket = await dialerForTest({ pinned }).connectBlind(authorityOf(`api.example:${server.port}`));
    socket.resume();
    await once(socket, 'end');
    socket.write('and I am not');
    expect(await heard.promise).toBe('and I am not');
    socket.destroy();
  });
});

describe('a connection over TLS', () => {
  const good = company.issue(['api.example']);

  it('is verified for the host of the authority, and offers only HTTP/1.1', async () => {
    await using server = await tlsUpstream({ ...good, ALPNProtocols: ['h2', 'http/1.1'] });
    const dialer = dialerForTest({ pinned, ca: company.cert });
    const socket = (await dialer.connect(authorityOf(`api.example:${server.port}`))) as TLSSocket;
    expect(socket.authorized).toBe(true);
    expect(socket.alpnProtocol).toBe('http/1.1');
    socket.destroy();
  });

  it('sends the host as SNI, and no SNI for an address', async () => {
    const names: (string | false | null | undefined)[] = [];
    const both = company.issue(['api.example', '127.0.0.1']);
    await using server = await tlsUpstream(both, (socket) => names.push((socket as TLSSocket).servername));
    const dialer = dialerForTest({ pinned, ca: company.cert });
    for (const host of ['api.example', '127.0.0.1']) {
      const socket = await dialer.connect(authorityOf(`${host}:${server.port}`));
      socket.end();
      await once(socket.resume(), 'close');
    }
    expect(names).toEqual(['api.example', false]);
  });

  it('to an address is verified by the addresses in the certificate', async () => {
    await using server = await tlsUpstream(company.issue(['127.0.0.1']));
    await using named = await tlsUpstream(good);
    const dialer = dialerForTest({ pinned, ca: company.cert });
    const socket = await dialer.connect(authorityOf(`127.0.0.1:${server.port}`));
    expect((socket as TLSSocket).authorized).toBe(true);
    socket.destroy();
    await expect(dialer.connect(authorityOf(`127.0.0.1:${named.port}`))).rejects.toMatchObject({
      code: 'upstream_tls',
    });
  });

  it.each([
    ['the certificate is for another name', company.issue(['other.example']), 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['the certificate is for another address', company.issue(['127.0.0.1']), 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['an unknown authority signed it', stranger.issue(['api.example']), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    [
      'the certificate has expired',
      company.issue(['api.example'], { notBefore: Date.now() - 2 * day, notAfter: Date.now() - day }),
      'CERT_HAS_EXPIRED',
    ],
    [
      'the certificate is not valid yet',
      company.issue(['api.example'], { notBefore: Date.now() + day, notAfter: Date.now() + 2 * day }),
      'CERT_NOT_YET_VALID',
    ],
  ])('is refused if %s, at every attempt', async (_why, certificate, code) => {
    const served = vi.fn<(socket: Socket) => void>();
    await using server = await tlsUpstream(certificate, served);
    const dialer = dialerForTest({ pinned, ca: company.cert });
    for (let round = 0; round < 2; round++) {
      await expect(dialer.connect(authorityOf(`api.example:${server.port}`))).rejects.toMatchObject({
        code: 'upstream_tls',
        message: expect.stringMatching(
          new RegExp(`^The TLS handshake with api\\.example:${server.port} failed: .+ \\(${code}\\)\\.$`),
        ) as string,
      });
    }
  });

  it('with TLS 1.2 and a wrong name is refused at every attempt, although its session arrives before the check', async () => {
    const wrong = company.issue(['other.example']);
    await using server = await tlsUpstream({ ...wrong, maxVersion: 'TLSv1.2' });
    const dialer = dialerForTest({ pinned, ca: company.cert });
    for (let round = 0; round < 2; round++) {
      await expect(dialer.connect(authorityOf(`api.example:${server.port}`))).rejects.toMatchObject({
        code: 'upstream_tls',
      });
    }
  });

  it.each([
    ['closes', (socket: Socket) => socket.once('data', () => socket.destroy())],
    ['resets', (socket: Socket) => socket.once('data', () => socket.resetAndDestroy())],
    ['talks another protocol', (socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n')],
  ])('is refused if the upstream %s in the handshake', async (_how, onSocket) => {
    await using server = await upstream((socket) => void onSocket(socket));
    const dialer = dialerForTest({ pinned, ca: company.cert });
    await expect(dialer.connect(authorityOf(`api.example:${server.port}`))).rejects.toMatchObject({
      code: 'upstream_tls',
    });
  });

  it('to a silent upstream times out, and leaves no socket open', async () => {
    const left = Promise.withResolvers<void>();
    await using server = await upstream((socket) =>
      socket
        .resume()
        .once('close', () => left.resolve())
        .on('end', () => socket.end()),
    );
    const dialer = dialerForTest({ pinned, ca: company.cert, timeoutMs: 50 });
    await expect(dialer.connect(authorityOf(`api.example:${server.port}`))).rejects.toMatchObject({
      code: 'upstream_timeout',
    });
    await left.promise;
  });

  it.each(['TLSv1.3', 'TLSv1.2'] as const)(
    'resumes the session of an earlier connection (%s)',
    async (version) => {
      await using server = await tlsUpstream(
        { ...good, minVersion: version, maxVersion: version },
        (socket) => socket.end('x'),
      );
      const dialer = dialerForTest({ pinned, ca: company.cert });
      const reused: boolean[] = [];
      for (let round = 0; round < 2; round++) {
        const socket = (await dialer.connect(authorityOf(`api.example:${server.port}`))) as TLSSocket;
        reused.push(socket.isSessionReused());
        await once(socket.resume(), 'close');
      }
      expect(reused).toEqual([false, true]);
    },
  );

  it('can be resumed by several connections', async () => {
    await using server = await tlsUpstream(good, (socket) => socket.end('x'));
    const dialer = dialerForTest({ pinned, ca: company.cert });
    const target = authorityOf(`api.example:${server.port}`);
    await once((await dialer.connect(target)).resume(), 'close');
    const sockets = await Promise.all([1, 2, 3].map(() => dialer.connect(target)));
    expect(sockets.map((socket) => (socket as TLSSocket).isSessionReused())).toEqual([true, true, true]);
    for (const socket of sockets) socket.destroy();
  });

  it('verifies the certificate again after an hour', async () => {
    await using server = await tlsUpstream(good, (socket) => socket.end('x'));
    const clock = manualClock();
    const dialer = dialerForTest({ pinned, ca: company.cert, clock });
    const reused: boolean[] = [];
    for (let round = 0; round < 3; round++) {
      const socket = (await dialer.connect(authorityOf(`api.example:${server.port}`))) as TLSSocket;
      reused.push(socket.isSessionReused());
      await once(socket.resume(), 'close');
      clock.advance(1_800_000);
    }
    expect(reused).toEqual([false, true, false]);
  });

  it('verifies it again after an hour despite new tickets of resumptions', async () => {
    const folder = await tempFolder();
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    writeFileSync(cert, good.cert);
    writeFileSync(key, good.key, { mode: 0o600 });
    const port = await freePort();
    // Unlike a server of Node's, this one does.
    const server = await startProgram(
      'openssl',
      ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', cert, '-key', key, '-www', '-quiet'],
      port,
    );
    onTestFinished(() => server.stop());
    const clock = manualClock();
    const dialer = dialerForTest({ pinned, ca: company.cert, clock });
    const reused: boolean[] = [];
    for (let round = 0; round < 3; round++) {
      const socket = (await dialer.connect(authorityOf(`api.example:${port}`))) as TLSSocket;
      reused.push(socket.isSessionReused());
      socket.write('GET / HTTP/1.0\r\n\r\n');
      await once(socket.resume(), 'close');
      clock.advance(1_800_000);
    }
    expect(reused).toEqual([false, true, false]);
  });

  it('offers the given protocols, and reports the negotiated protocol', async () => {
    await using server = await tlsUpstream({ ...good, ALPNProtocols: ['h2', 'http/1.1'] });
    const dialer = dialerForTest({ pinned, ca: company.cert });
    const target = authorityOf(`api.example:${server.port}`);
    const socket = await dialer.connect(target, { protocols: ['h2', 'http/1.1'] });
    expect((socket as TLSSocket).alpnProtocol).toBe('h2');
    socket.destroy();
  });

  it('resumes no session of another authority', async () => {
    const ticketKeys = randomBytes(48);
    const known = company.issue(['127.0.0.1']);
    await using server = await tlsUpstream({ ...known, ticketKeys }, (socket) => socket.end('x'));
    await using other = await tlsUpstream({ ...good, ticketKeys }, (socket) => socket.end('x'));
    const dialer = dialerForTest({ ca: company.cert });
    const socket = await dialer.connect(authorityOf(`127.0.0.1:${server.port}`));
    await once(socket.resume(), 'close');
    await expect(dialer.connect(authorityOf(`127.0.0.1:${other.port}`))).rejects.toMatchObject({
      code: 'upstream_tls',
    });
  });
});
