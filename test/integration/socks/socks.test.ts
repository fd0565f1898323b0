/** SOCKS5 on the port of the proxy (RFC 1928, RFC 1929). */
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { curl, curlMissing } from '../../support/curl.ts';
import { granted } from '../../support/granted.ts';
import { openClient } from '../../support/raw-client.ts';

async function setUp(config: Readonly<Record<string, object>> = {}) {
  const seen: (string | undefined)[] = [];
  const { upstream, sidekey } = await granted(
    (request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    },
    { config },
  );
  return { seen, upstream, sidekey, url: `https://${upstream.authority}/items` };
}

describe.skipIf(curlMissing)(`curl${curlMissing ? ` (${curlMissing})` : ''}`, () => {
  test.each([
    ['that leaves the name to the proxy', '--socks5-hostname', []],
    // curl looks the name up itself, and the name of the TLS handshake counts.
    ['that names an address', '--socks5', ['127.0.0.1']],
  ])('%s gets the credential of the host', async (_what, option, resolve) => {
    const { seen, upstream, sidekey, url } = await setUp();
    const host = upstream.authority;
    const [name, port] = host.split(':');
    const known = resolve.flatMap((address) => ['--resolve', `${name}:${port}:${address}`]);
    const answer = await curl('--cacert', sidekey.caFile, option, `127.0.0.1:${sidekey.port}`, ...known, url);
    expect([answer.stderr, answer.status, answer.body]).toEqual(['', 200, 'ok']);
    expect(seen).toEqual([expect.stringMatching(/^Bearer /)]);
  });

  test.each(['domain_not_allowed', 'agent_auth_required'])(
    'fails if refused with %s, and the audit log records the reason',
    async (code) => {
      const isUnknown = code === 'agent_auth_required';
      const { upstream, sidekey } = await setUp();
      const who = isUnknown ? 'robot:sidekey_agent_unknown@' : '';
      const url = isUnknown ? `https://${upstream.authority}/` : 'https://other.example.com/';
      const answer = await curl(
        '--cacert',
        sidekey.caFile,
        '-x',
        `socks5h://${who}127.0.0.1:${sidekey.port}`,
        url,
      );
      // CURLE_PROXY, with the reply of RFC 1928 §6.
      expect([answer.exitCode, answer.stderr]).toEqual([97, expect.stringContaining('(2)')]);
      expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({ code });
    },
  );
});

/** Bytes of a request for a name. */
function request(name: string, port: number, command = 1): Buffer {
  return Buffer.concat([
    Buffer.of(5, command, 0, 3, name.length),
    Buffer.from(name),
    Buffer.of(port >> 8, port & 0xff),
  ]);
}

describe('a SOCKS5 client', () => {
  test.each([
    ['that offers no known authentication', Buffer.of(5, 1, 1), [5, 0xff]],
    ['that asks for BIND', Buffer.concat([Buffer.of(5, 1, 0), request('a.example', 443, 2)]), [5, 0, 5, 7]],
    ['with an unknown type of address', Buffer.of(5, 1, 0, 5, 1, 0, 9, 0, 0), [5, 0, 5, 8]],
    ['without a valid host', Buffer.concat([Buffer.of(5, 1, 0), request('a b', 443)]), [5, 0, 5, 2]],
  ])('%s gets the matching reply', async (_what, bytes, answer) => {
    const { sidekey } = await setUp();
    const client = await openClient(sidekey);
    client.socket.write(bytes);
    const received = Buffer.from(await client.ended(), 'latin1');
    expect([...received.subarray(0, answer.length)]).toEqual(answer);
    expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({ code: 'bad_request' });
  });

  test.each([
    ['has a private address', 'address_blocked', {}, 2],
    ['does not answer', 'upstream_unreachable', { 'gone.acme.test': '127.0.0.1' }, 4],
  ])('whose host %s gets the reply for %s', async (_what, code, resolve, expected) => {
    const [host = '10.1.2.3'] = Object.keys(resolve);
    const { sidekey } = await setUp();
    const port = await freePort();
    await sidekey.configure({
      domains: { [`${host}:${port}`]: 'tunnel' },
      upstream: { ca: ['upstream-ca.pem'], private_addresses: ['127.0.0.1/32'], resolve },
    });
    const client = await openClient(sidekey);
    client.socket.write(Buffer.concat([Buffer.of(5, 1, 0), request(host, port)]));
    const received = Buffer.from(await client.ended(), 'latin1');
    expect([...received.subarray(0, 4)]).toEqual([5, 0, 5, expected]);
    expect(await sidekey.audited((line) => line.code === code)).toMatchObject({ code });
  });

  test('that sends its bytes one by one is served', async () => {
    const { sidekey, upstream } = await setUp();
    const client = await openClient(sidekey);
    const [name = '', port] = upstream.authority.split(':');
    for (const byte of Buffer.concat([Buffer.of(5, 1, 0), request(name, Number(port))])) {
      client.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until('\x05\x00\x05\x00\x00\x01');
  });

  test('that stops sending during the handshake is disconnected', async () => {
    const { sidekey } = await setUp({ limits: { head_timeout: '50ms' } });
    const client = await openClient(sidekey);
    client.socket.write(Buffer.of(5, 1));
    expect(await client.ended()).toBe('');
  });

  test('is not supported inside of a tunnel', async () => {
    const { sidekey, upstream } = await setUp();
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\n\r\n`);
    await client.until('\r\n\r\n');
    client.socket.write(Buffer.of(5, 1, 0));
    expect(await client.ended()).toContain('400');
  });
});
