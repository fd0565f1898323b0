import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { granted } from '../../support/granted.ts';
import { openClient, problemOf, rawClient } from '../../support/raw-client.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startPlainUpstream, startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

/** The certificate that a client sees behind a CONNECT. */
async function certificateBehind(
  sidekey: { port: number },
  authority: string,
  ca: string,
): Promise<X509Certificate> {
  const outer = await openClient(sidekey);
  outer.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  expect(await outer.response('CONNECT')).toMatchObject({ status: 200 });
  outer.socket.removeAllListeners('data');
  const inner = connectTls({ socket: outer.socket, servername: upstreamHost, ca });
  await once(inner, 'secureConnect');
  const certificate = new X509Certificate(inner.getPeerCertificate(true).raw);
  inner.destroy();
  return certificate;
}

describe('CONNECT', () => {
  test('with a Host header that names the proxy reaches its target, and the inner Host is still checked', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const outer = await openClient(sidekey);
    outer.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: 127.0.0.1:${sidekey.port}\r\n\r\n`);
    expect(await outer.response('CONNECT')).toMatchObject({ status: 200 });
    outer.socket.removeAllListeners('data');
    const socket = connectTls({ socket: outer.socket, servername: upstreamHost, ca: sidekey.caPem });
    const inner = rawClient(socket);
    for (const [host, status] of [
      [upstream.authority, 200],
      [`127.0.0.1:${sidekey.port}`, 421],
    ] as const) {
      inner.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect(await inner.response()).toMatchObject({ status });
    }
  });

  test.skipIf(curlMissing).each(['--http1.0', '--http1.1', '--http2', '--no-alpn'])(
    'by curl %s is followed by a TLS handshake',
    async (option) => {
      const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
      const answer = await curl(
        '-x',
        sidekey.url,
        '--cacert',
        sidekey.caFile,
        '-v',
        option,
        `${upstream.url}/`,
      );
      expect(answer).toMatchObject({ status: 200, body: 'ok', exitCode: 0 });
    },
  );

  test('is intercepted for a domain with a grant: the client sees a leaf of the Sidekey CA', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const certificate = await certificateBehind(sidekey, upstream.authority, sidekey.caPem);
    expect(certificate.verify(new X509Certificate(sidekey.caPem).publicKey)).toBe(true);
    expect(certificate.checkHost(upstreamHost)).toBe(upstreamHost);
    expect(upstream.connections()).toBe(0);
  });

  test('is a blind pipe for a tunnel domain: the client sees the certificate of the upstream', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const certificate = await certificateBehind(sidekey, upstream.authority, upstreamCa);
    expect(certificate.verify(new X509Certificate(upstreamCa).publicKey)).toBe(true);
    await expect(sidekey.audited((line) => line.event === 'tunnel')).resolves.toMatchObject({
      outcome: 'ok',
      host: upstreamHost,
      method: 'CONNECT',
    });
    const tunnel = await sidekey.audited((line) => line.event === 'tunnel');
    expect(tunnel.bytes_in).toBeGreaterThan(100);
    expect(tunnel.bytes_out).toBeGreaterThan(100);
  });

  test.each([
    ['an unlisted host', {}],
    ['a denied host', { [upstreamHost]: 'deny' }],
  ])('is refused for %s, with the code in the part that clients print', async (_name, domains) => {
    const sidekey = await startSidekey({ domains });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstreamHost}:443 HTTP/1.1\r\nHost: ${upstreamHost}:443\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 403, reason: 'domain_not_allowed' });
    expect(answer.headers).toMatchObject({
      'sidekey-error': 'domain_not_allowed',
      'content-type': 'application/problem+json',
    });
    expect(problemOf(answer)).toMatchObject({ code: 'domain_not_allowed', hint: expect.any(String) });
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'domain_not_allowed',
      method: 'CONNECT',
      host: upstreamHost,
      status: 403,
    });
  });

  test(
    'when refused keeps its connection open only as long as the client does',
    { timeout: 4_000 },
    async () => {
      const sidekey = await startSidekey({ config: { limits: { client_connections: 1 } } });
      const connectRefused = async () => {
        const client = await openClient(sidekey);
        client.send('CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\nand what is not read');
        const { status } = await client.response();
        client.socket.end();
        return status;
      };
      expect(await connectRefused()).toBe(403);
      while ((await connectRefused()) !== 403) await new Promise((resolve) => setImmediate(resolve));
    },
  );

  test.each([
    ['no port', 'api.acme.test'],
    ['user information', 'api.acme.test@evil.test:443'],
    ['a path', 'api.acme.test:443/x'],
  ])('with %s in its target is refused', async (_name, target) => {
    const sidekey = await startSidekey({ domains: { 'api.acme.test': 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${target} HTTP/1.1\r\nHost: api.acme.test\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 400 });
  });

  test('leaves no upstream connection open if the client disconnects during the dial', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await sidekey.audited((line) => line.event === 'access');
    client.socket.resetAndDestroy();
    await sidekey.audited((line) => line.event === 'tunnel' || line.event === 'outcome');
    await upstream.allClosed();
  });
});

describe.skipIf(curlMissing)('curl through the proxy', () => {
  test('prints the code of a refused CONNECT', async () => {
    const sidekey = await startSidekey({});
    const answer = await curl('-x', sidekey.url, '--verbose', 'https://other.test/');
    expect(answer).toMatchObject({ connectStatus: 403, exitCode: 56 });
    expect(answer.stderr).toContain('domain_not_allowed');
  });

  test('uses a blind tunnel without the Sidekey CA or a credential', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('blind');
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const answer = await curl(
      '-x',
      sidekey.url,
      '--cacert',
      `${sidekey.folder}/upstream-ca.pem`,
      upstream.url,
    );
    expect(answer).toMatchObject({ status: 200, body: 'blind' });
    expect(seen).toEqual([undefined]);
  });

  test('sends plain HTTP inside CONNECT if the domain allows plain HTTP', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startPlainUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('plain');
    });
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme', allow_plain_http: true } },
    });
    await sidekey.grant([upstream.authority]);
    const answer = await curl('--proxytunnel', '-x', sidekey.url, upstream.url);
    expect(answer).toMatchObject({ connectStatus: 200, status: 200, body: 'plain' });
    expect(seen).toEqual([`Bearer ${bearerToken}`]);
  });
});
