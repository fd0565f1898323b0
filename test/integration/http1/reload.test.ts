import { appendFile, chmod, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { issueLeaf, makeAuthority, validFor } from '../../../examples/helpdesk/certificate.ts';
import { granted, grantedTo } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream, upstreamHost } from '../../support/upstream.ts';

describe('an edited config', () => {
  test('applies to the next request inside an open tunnel', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200 });
    await sidekey.configure({ domains: { [upstream.authority]: 'deny' } });
    expect(await ask()).toMatchObject({ status: 403, reason: 'domain_not_allowed' });
    await sidekey.configure({ proxy: { listen: '127.0.0.1:0', authentication: 'required' } });
    expect(await ask()).toMatchObject({ status: 407 });
    await sidekey.configure({});
    expect(await ask()).toMatchObject({ status: 200 });
    expect((await sidekey.audit()).some(({ event }) => event === 'config.reloaded')).toBe(true);
  });

  test('that is invalid changes nothing, and is audited', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    await appendFile(sidekey.configFile, '\nunknown_key: 1\n');
    await sidekey.proxy.reload();
    await expect(sidekey.audited((line) => line.event === 'config.rejected')).resolves.toMatchObject({
      code: 'config_invalid',
      reason: expect.stringMatching(/sidekey\.yaml:\d+:1: is not a key here; there are version, /) as string,
    });
    expect(sidekey.logged()).toContain('unknown_key');
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
  });

  test.skipIf(process.platform === 'win32')(
    'in a file writable by others applies as soon as its mode is safe',
    async () => {
      const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
      const client = await openTunnel(sidekey, upstream.authority);
      const ask = async () => {
        client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
        return (await client.response()).status;
      };
      await chmod(sidekey.configFile, 0o666);
      await appendFile(sidekey.configFile, '\nlog: { level: warn }\n');
      expect(await ask()).toBe(200);
      await expect(sidekey.audited((line) => line.event === 'config.rejected')).resolves.toMatchObject({
        code: 'permissions_unsafe',
        reason: expect.stringContaining(`${sidekey.configFile} is writable by others (mode 666)`) as string,
      });
      expect(sidekey.logged()).toContain(sidekey.configFile);
      await chmod(sidekey.configFile, 0o600);
      expect(await ask()).toBe(200);
      expect(await sidekey.audited((line) => line.event === 'config.reloaded')).toBeDefined();
      expect(sidekey.proxy.config().log.level).toBe('warn');
    },
  );

  test.each([
    ['an invalid value', '\nkey: MARKED-0123456789\n'],
    ['an invalid key', '\n"MARKED-0123456789": 1\n'],
    ['a value that the YAML is broken by', '\nkey: { source: "MARKED-0123456789\n'],
    ['a secret in the place of a reference', '\nproviders: { acme: { client_secret: MARKED-0123456789 } }\n'],
    ['a secret in the place of a key', '\nproviders: { acme: { "client_secret MARKED-0123456789": } }\n'],
  ])('with %s is audited by position, without its content', async (_, line) => {
    const sidekey = await startSidekey();
    await appendFile(sidekey.configFile, line);
    await sidekey.proxy.reload();
    const rejected = await sidekey.audited(({ event }) => event === 'config.rejected');
    expect(rejected.reason).toMatch(/sidekey\.yaml:\d+:\d+: /);
    expect(JSON.stringify(await sidekey.audit())).not.toContain('MARKED');
  });

  test('is loaded when the file changes', async () => {
    const sidekey = await startSidekey();
    await appendFile(sidekey.configFile, '\nlog: { level: warn }\n');
    await sidekey.audited((line) => line.event === 'config.reloaded');
    expect(sidekey.proxy.config().log.level).toBe('warn');
  });

  test('cuts only the blind tunnels of a removed domain', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const other = await startUpstream((_request, response) => response.end('ok'));
    const both = { [upstream.authority]: 'tunnel', [other.authority]: 'tunnel' };
    const sidekey = await startSidekey({ domains: both });
    const open = async (authority: string) => {
      const client = await openClient(sidekey);
      client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
      expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
      return client;
    };
    const [cut, kept] = [await open(upstream.authority), await open(other.authority)];
    await sidekey.configure({ domains: { [other.authority]: 'tunnel' } });
    await cut.ended();
    await upstream.allClosed();
    expect(kept.socket.readyState).toBe('open');
    kept.socket.destroy();
  });

  test('does not affect an active exchange, even before its upstream request', async () => {
    const responses: ServerResponse[] = [];
    const asked = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted(
      (_request, response) => {
        responses.push(response);
        asked.resolve();
      },
      { config: { limits: { upstream_connections: 1 } } },
    );
    const [first, second] = [
      await openTunnel(sidekey, upstream.authority),
      await openTunnel(sidekey, upstream.authority),
    ];
    first.send(`GET /1 HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await asked.promise;
    // The request waits for the one connection that the upstream may have.
    second.send(`GET /2 HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await sidekey.audited((line) => line.event === 'access' && line.path === '/2');
    await sidekey.configure({ domains: {} });
    responses[0]?.end('one');
    expect(await first.response()).toMatchObject({ status: 200, body: 'one' });
    while (responses.length < 2) await new Promise((resolve) => setImmediate(resolve));
    responses[1]?.end('two');
    expect(await second.response()).toMatchObject({ status: 200, body: 'two' });
  });

  test('reloads trust anchors, even from unchanged paths', async () => {
    const other = makeAuthority('Another Root', validFor(30, Date.now()));
    const leaf = issueLeaf(other, upstreamHost, validFor(30, Date.now()));
    const upstream = await startUpstream((_request, response) => response.end('ok'), leaf);
    const { sidekey } = await grantedTo(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 502, reason: 'upstream_tls' });
    await writeFile(join(sidekey.folder, 'upstream-ca.pem'), other.cert);
    await sidekey.proxy.reload();
    expect(await ask()).toMatchObject({ status: 200 });
  });

  test('applies its new limits', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    await sidekey.configure({ limits: { head_bytes: '1KiB', client_idle: '50ms' } });
    const client = await openClient(sidekey);
    client.send(
      `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\nX: ${'x'.repeat(2_000)}\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    const idle = await openTunnel(sidekey, upstream.authority);
    idle.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await idle.response()).toMatchObject({ status: 200 });
    expect(await idle.ended()).toBe('');
  });

  test('changed in a burst leaves the last version in force', async () => {
    const sidekey = await startSidekey();
    await Promise.all([1, 2, 3, 4, 5].map((n) => sidekey.configure({ limits: { head_fields: 100 + n } })));
    await sidekey.configure({ limits: { head_fields: 150 } });
    expect(sidekey.proxy.config().limits.head_fields).toBe(150);
  });
});
