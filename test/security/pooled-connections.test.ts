/**
 * A connection to an upstream is used by one exchange after the other. Whoever gets bytes of one into the
 * next has another agent's answer replaced, or another's credential read. Answers that hide another one:
 * response-desync.test.ts.
 */
import type { TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import { grantedRaw, onHeads } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startRawUpstream, startUpstream, upstreamHost, upstreamLeaf } from '../support/upstream.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';

test('a response that arrives before a request is not used as its response', async () => {
  const sockets: TLSSocket[] = [];
  const { upstream, sidekey } = await grantedRaw((socket) => {
    sockets.push(socket);
    onHeads(socket, () => socket.write(ok));
  });
  const client = await openTunnel(sidekey, upstream.authority);
  const get = async () => {
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return (await client.response()).body;
  };
  expect(await get()).toBe('ok');
  sockets[0]!.write(forged);
  await upstream.allClosed();
  expect(await get()).toBe('ok');
  expect(upstream.connections()).toBe(2);
});

test('an endless series of interim responses is bounded by upstream_head', async () => {
  const { upstream, sidekey } = await grantedRaw(
    (socket) => {
      let open = true;
      socket.once('close', () => (open = false));
      const go = () => {
        if (open) socket.write('HTTP/1.1 102 Processing\r\n\r\n', () => setImmediate(go));
      };
      onHeads(socket, go);
    },
    { config: { limits: { upstream_head: '100ms' } } },
  );
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  expect(await client.until('504 upstream_timeout')).not.toContain(' 200 ');
  await upstream.allClosed();
});

test('an upstream connection still reads after a client paused its download', async () => {
  const size = 8_000_000;
  const { upstream, sidekey } = await grantedRaw((socket) => {
    onHeads(socket, (head) => {
      if (head.startsWith('GET /large'))
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`);
      else socket.write(ok);
    });
  });
  const client = await openTunnel(sidekey, upstream.authority);
  const other = await openTunnel(sidekey, upstream.authority);
  for (let i = 0; i < 3; i += 1) {
    client.send(`GET /large HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    client.socket.pause();
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    client.socket.resume();
    expect((await client.response()).body).toHaveLength(size);
    other.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await other.response()).toMatchObject({ body: 'ok' });
  }
  expect(upstream.connections()).toBe(1);
});

test('a credential is never sent on a connection to another authority, even of the same server', async () => {
  const seen: string[] = [];
  const upstream = await startRawUpstream((socket) => {
    onHeads(socket, (head) => {
      const name = /host: ([a-z.]+)/i.exec(head)?.[1];
      seen.push(`${socket.servername as string} ${name} ${/authorization: (.*)\r/i.exec(head)?.[1] ?? '-'}`);
      socket.write(ok);
    });
  });
  // A name whose certificate is good, and one whose is not, at the same address and port.
  const good = `${upstreamHost}:${upstream.port}`;
  const bad = `other.test:${upstream.port}`;
  const sidekey = await startSidekey({
    domains: { [good]: { grant: 'acme' }, [bad]: { grant: 'other' } },
    config: {
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1', 'other.test': '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  await sidekey.grant([good]);
  await sidekey.grant([bad], { name: 'other', credential: { type: 'api_key', value: 'of-the-other' } });
  const client = await openTunnel(sidekey, good);
  client.send(`GET / HTTP/1.1\r\nHost: ${good}\r\n\r\n`);
  expect(await client.response()).toMatchObject({ status: 200 });
  const other = await openTunnel(sidekey, bad, { servername: 'other.test' });
  other.send(`GET / HTTP/1.1\r\nHost: ${bad}\r\n\r\n`);
  expect(await other.response()).toMatchObject({ status: 502, reason: 'upstream_tls' });
  expect(seen).toEqual([`${upstreamHost} ${upstreamHost} Bearer ${bearerToken}`]);
});

test('a server with another name gets its own connection', async () => {
  const names: string[] = [];
  const upstream = await startUpstream((request, response) => {
    names.push(`${request.headers.host?.split(':')[0]}`);
    response.end('ok');
  }, upstreamLeaf('*.acme.test'));
  const domains = Object.fromEntries(
    ['a', 'b'].map((name) => [`${name}.acme.test:${upstream.port}`, { grant: name }]),
  );
  const sidekey = await startSidekey({
    domains,
    config: {
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { 'a.acme.test': '127.0.0.1', 'b.acme.test': '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
  });
  for (const [authority, { grant }] of Object.entries(domains)) {
    await sidekey.grant([authority], { name: grant });
    const client = await openTunnel(sidekey, authority, { servername: `${grant}.acme.test` });
    client.send(`GET / HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
  }
  expect(names).toEqual(['a.acme.test', 'b.acme.test']);
  expect(upstream.connections()).toBe(2);
});

test.each(['POST', 'PATCH', 'LIST'])('a %s whose connection dies is not sent twice', async (method) => {
  let seen = 0;
  const { upstream, sidekey } = await grantedRaw((socket) => {
    onHeads(socket, (head, count) => {
      if (!head.startsWith('GET')) seen += 1;
      if (count === 2) socket.destroy();
      else socket.write(ok);
    });
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  await client.response();
  client.send(`${method} / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 0\r\n\r\n`);
  await client.response();
  expect(seen).toBeLessThan(2);
});
