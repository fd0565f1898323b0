import { once } from 'node:events';
import { connect } from 'node:net';
import tls from 'node:tls';
import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { granted } from '../../support/granted.ts';
import { openClient, openTunnel, problemOf } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { upstreamHost } from '../../support/upstream.ts';

/** The record of a ClientHello, as far as a reader of HTTP looks at it. */
const hello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03';

describe('at the plain proxy port', () => {
  test.each([
    ['a TLS handshake', hello, /is a TLS handshake, where plain HTTP is expected/, /http:\/\/, not https/],
    [
      'HTTP/2 with prior knowledge',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      /begins HTTP\/2, where HTTP\/1\.1 is expected/,
      /speak HTTP\/1\.1/,
    ],
    ['a banner of SSH', 'SSH-2.0-OpenSSH_9.6\r\n', /has a method/, /client of another protocol/],
  ])('%s is refused with the cause and the next step, and the log contains the same', async (...row) => {
    const [, bytes, detail, hint] = row;
    const sidekey = await startSidekey();
    const client = await openClient(sidekey);
    client.send(bytes);
    const answer = await client.response();
    expect(answer.status).toBe(400);
    expect(problemOf(answer)).toMatchObject({
      code: 'bad_request',
      detail: expect.stringMatching(detail),
      hint: expect.stringMatching(hint),
    });
    const denied = await sidekey.audited((line) => line.event === 'denied');
    expect(denied).toMatchObject({ code: 'bad_request', reason: expect.stringMatching(detail) });
    expect(sidekey.logged()).toMatch(detail);
    expect(sidekey.logged()).toMatch(hint);
  });

  test('a request meant for a web server gets an error that identifies the proxy', async () => {
    const sidekey = await startSidekey();
    const client = await openClient(sidekey);
    client.send('GET /path HTTP/1.1\r\nHost: api.example:8443\r\n\r\n');
    expect(problemOf(await client.response())).toMatchObject({
      detail: 'This is a proxy, and not the server of api.example:8443.',
      hint: expect.stringContaining('HTTPS_PROXY'),
    });
  });

  test('a browser gets a page that explains the proxy', async () => {
    const sidekey = await startSidekey();
    const client = await openClient(sidekey);
    for (const [path, status] of [
      ['/', 200],
      ['/path', 404],
    ] as const) {
      client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*;q=0.8\r\n\r\n`);
      const page = await client.response();
      expect([page.status, page.headers['content-type']]).toEqual([status, 'text/html; charset=utf-8']);
      expect(page.body).toContain('This address is an HTTP proxy');
    }
  });
});

describe('inside a tunnel', () => {
  test('a malformed request is logged with its host and the cause', async () => {
    const { sidekey, upstream } = await granted((_asked, response) => response.end());
    const client = await openTunnel(sidekey, upstream.authority);
    client.send('GET / HTTP/1.1\nHost: a\n\n');
    expect((await client.response()).status).toBe(400);
    const denied = await sidekey.audited((line) => line.event === 'denied');
    expect(denied).toMatchObject({
      host: upstreamHost,
      port: upstream.port,
      reason: expect.stringContaining('bare line feed'),
    });
    expect(sidekey.logged()).toContain('bare line feed');
  });

  test.skipIf(curlMissing)(
    'a client that does not trust the CA is logged with the host, the cause and the next step',
    async () => {
      const { sidekey, upstream } = await granted((_asked, response) => response.end());
      const { stderr } = await curl('--proxy', sidekey.url, upstream.url);
      expect(stderr).toMatch(/certificate/);
      while (!sidekey.logged().includes('the CA of Sidekey')) await new Promise((next) => setImmediate(next));
      expect(sidekey.logged()).toContain(`does not trust the CA of Sidekey for ${upstream.authority}`);
      expect(sidekey.logged()).toContain('ALERT_UNKNOWN_CA');
      expect(sidekey.logged()).toContain('sidekey ca export');
    },
  );

  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  test.each([
    [
      'RSA only, TLS 1.2',
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' },
      /only RSA, perhaps/,
    ],
    ['RSA only, TLS 1.3', { sigalgs: 'rsa_pss_rsae_sha256' }, /only RSA, perhaps/],
    ['TLS 1.1', old, /neither TLS 1\.2 nor TLS 1\.3/],
    ['another protocol', { ALPNProtocols: ['spdy/3'] }, /neither HTTP\/1\.1 nor HTTP\/2/],
  ] as const)(
    'the log has the reason for which a client with %s fails, instead of the CA',
    async (...row) => {
      const [, options, reason] = row;
      const { sidekey, upstream } = await granted((_asked, response) => response.end());
      const socket = connect(sidekey.port, '127.0.0.1', () => {
        socket.write(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      });
      await once(socket, 'data');
      tls.connect({ socket, ca: [], ...options } as tls.ConnectionOptions).on('error', () => undefined);
      while (!sidekey.logged().includes('TLS connection')) await new Promise((next) => setImmediate(next));
      expect(sidekey.logged()).toMatch(reason);
      expect(sidekey.logged()).not.toContain('the CA of Sidekey');
      socket.destroy();
    },
  );
});
