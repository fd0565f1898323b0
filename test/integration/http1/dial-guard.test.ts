import { describe, expect, test } from 'vitest';
import { issueLeaf, makeAuthority, validFor } from '../../../examples/helpdesk/certificate.ts';
import { openClient, openTunnel, problemOf } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { type Identity, startUpstream, upstreamHost, upstreamLeaf } from '../../support/upstream.ts';

const day = 86_400_000;

describe('an address that is not public', () => {
  test.each([
    ['an upstream by its name', upstreamHost, { resolve: { [upstreamHost]: '127.0.0.1' } }],
    ['a name that resolves there', 'localhost', {}],
    ['an address', '127.0.0.1', {}],
    ['an IPv6 address', '[::1]', {}],
    ['a mapped address', '[::ffff:127.0.0.1]', {}],
    ['a metadata address', '169.254.169.254', {}],
  ])('is never dialed: %s', async (_name, host, upstream) => {
    let asked = 0;
    const server = await startUpstream((_request, response) => response.end(String((asked += 1))));
    const authority = `${host}:${server.port}`;
    for (const domain of ['tunnel', { grant: 'acme' }]) {
      const sidekey = await startSidekey({ domains: { [authority]: domain }, config: { upstream } });
      await sidekey.grant([authority]);
      const client = await openClient(sidekey);
      client.send(`GET https://${authority}/ HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
      const answer = await client.response();
      expect(answer).toMatchObject({ status: 403, reason: 'address_blocked' });
      expect(problemOf(answer).hint).toContain('upstream.private_addresses');
    }
    expect([asked, server.connections()]).toEqual([0, 0]);
  });

  test('is refused at CONNECT for a blind tunnel too', async () => {
    const sidekey = await startSidekey({ domains: { '127.0.0.1:1': 'tunnel' }, config: { upstream: {} } });
    const client = await openClient(sidekey);
    client.send('CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 403, reason: 'address_blocked' });
  });
});

describe('the proxy itself', () => {
  test('is never dialed, even if its address is listed', async () => {
    const sidekey = await startSidekey();
    const authority = `127.0.0.1:${sidekey.port}`;
    await sidekey.configure({ domains: { [authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`GET http://${authority}/healthz HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 403, reason: 'address_blocked' });
    expect(problemOf(answer).detail).toContain('this proxy itself');
  });

  test('is never dialed at its approval listener', async () => {
    const sidekey = await startSidekey({ config: { admin: { listen: '127.0.0.1:0' } } });
    const authority = new URL(sidekey.proxy.pages ?? '').host;
    await sidekey.configure({
      domains: { [authority]: 'tunnel' },
      admin: { listen: '127.0.0.1:0' },
    });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    expect(await client.response('CONNECT')).toMatchObject({ status: 403, reason: 'address_blocked' });
  });
});

describe('the certificate of an upstream', () => {
  const stranger = makeAuthority('Unknown Root', validFor(30, Date.now()));
  test.each<[string, Identity, RegExp, boolean]>([
    [
      'an unknown CA',
      issueLeaf(stranger, upstreamHost, validFor(30, Date.now())),
      /UNABLE_TO_VERIFY|SELF_SIGNED|ISSUER/,
      true,
    ],
    ['another name', upstreamLeaf('other.acme.test'), /ALTNAME/, false],
    ['the past', upstreamLeaf(upstreamHost, validFor(1, Date.now() - 40 * day)), /EXPIRED/, false],
    ['the future', upstreamLeaf(upstreamHost, validFor(30, Date.now() + 40 * day)), /NOT_YET_VALID/, false],
  ])('for %s is refused before any byte of the request is sent', async (_name, identity, why, hinted) => {
    let asked = 0;
    const upstream = await startUpstream(
      (_request, response) => response.end(String((asked += 1))),
      identity,
    );
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 502, reason: 'upstream_tls' });
    expect(problemOf(answer).detail).toMatch(why);
    if (hinted) expect(problemOf(answer).hint).toContain('upstream.ca');
    expect(asked).toBe(0);
  });

  test('is verified regardless of environment variables', async () => {
    const identity = issueLeaf(stranger, upstreamHost, validFor(30, Date.now()));
    const upstream = await startUpstream((_request, response) => response.end('ok'), identity);
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_tls' });
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    }
  });
});
