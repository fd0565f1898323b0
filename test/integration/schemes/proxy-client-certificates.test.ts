import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { makeTestAuthority } from '../../support/certificates.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream, upstreamHost, upstreamLeaf } from '../../support/upstream.ts';

const clients = makeTestAuthority('Acme Clients');
const first = clients.issue(['first client']);
const second = clients.issue(['second client']);
const { key: strangeKey } = upstreamLeaf('stranger');

/** A server that lets in nobody without a certificate of the company, and a proxy that has one. */
async function setup() {
  const serials: string[] = [];
  const resumed: boolean[] = [];
  const upstream = await startUpstream(
    (request, response) => {
      const socket = request.socket as TLSSocket;
      resumed.push(socket.isSessionReused());
      serials.push(socket.getPeerCertificate().serialNumber);
      response.setHeader('connection', 'close').end('let in');
    },
    {
      ...upstreamLeaf(upstreamHost),
      ca: clients.cert,
      requestCert: true,
      rejectUnauthorized: true,
    } as ReturnType<typeof upstreamLeaf>,
  );
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  await sidekey.grant([upstream.authority]);
  const write = async ({ cert, key }: { readonly cert: string; readonly key: string }) => {
    await writeFile(join(sidekey.folder, 'client.crt'), cert);
    await writeFile(join(sidekey.folder, 'client.key'), key, { mode: 0o600 });
  };
  await write(first);
  const configure = (pattern: string) =>
    sidekey.configure({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
        client_certificates: { [pattern]: { cert: 'client.crt', key: 'client.key' } },
      },
    });
  const ask = () => proxiedGet(sidekey.url, upstream.url);
  return { upstream, sidekey, write, configure, ask, serials, resumed };
}

describe('a server that asks for a client certificate', () => {
  test('gets the certificate of the config, and refuses requests without a certificate', async () => {
    const { ask, configure, upstream, serials } = await setup();
    expect(await ask()).toMatchObject({ status: 502 });
    await configure(`other.acme.test:${upstream.port}`);
    expect(await ask()).toMatchObject({ status: 502 });
    await configure(`*.acme.test:${upstream.port}`);
    expect(await ask()).toEqual({ status: 200, body: 'let in' });
    expect(serials).toHaveLength(1);
  });

  test('gets the new certificate after a reload from the same paths, and resumes no earlier session', async () => {
    const { ask, configure, upstream, serials, resumed, write, sidekey } = await setup();
    await configure(upstream.authority);
    await ask();
    await ask();
    await write(second);
    await sidekey.proxy.reload();
    await ask();
    expect(resumed).toEqual([false, true, false]);
    expect(serials[2]).not.toBe(serials[0]);
  });

  test.each([
    [
      'a key of another certificate',
      first.cert,
      strangeKey,
      0o600,
      'config_invalid',
      /the key is not that of the certificate/,
    ],
    [
      'a key that is open to every user',
      first.cert,
      first.key,
      0o644,
      'permissions_unsafe',
      /client\.key is open to every user/,
    ],
  ])('keeps the last valid certificate if there is %s', async (_what, cert, key, mode, code, reason) => {
    const { ask, configure, upstream, sidekey, write } = await setup();
    await configure(upstream.authority);
    await write({ cert, key });
    await chmod(join(sidekey.folder, 'client.key'), mode);
    await sidekey.proxy.reload();
    const line = await sidekey.audited(({ event }) => event === 'config.rejected');
    expect(line).toMatchObject({ code, reason: expect.stringMatching(reason) as string });
    expect(line.reason).toMatch(
      /sidekey\.yaml:\d+:\d+: upstream\.client_certificates\["api\.acme\.test:\d+"\]/,
    );
    expect(await ask()).toEqual({ status: 200, body: 'let in' });
  });
});

describe('a TLS session', () => {
  test('is resumed by the next connection, but not after its root was removed from the config', async () => {
    const resumed: boolean[] = [];
    const upstream = await startUpstream((request, response) => {
      resumed.push((request.socket as TLSSocket).isSessionReused());
      response.setHeader('connection', 'close').end('ok');
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    for (let round = 0; round < 3; round += 1)
      expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 200 });
    expect(resumed).toEqual([false, true, true]);
    await sidekey.configure({
      upstream: { resolve: { [upstreamHost]: '127.0.0.1' }, private_addresses: ['127.0.0.1/32'] },
    });
    expect(JSON.stringify(await proxiedGet(sidekey.url, upstream.url))).toContain('upstream_tls');
    expect(resumed).toHaveLength(3);
  });
});
