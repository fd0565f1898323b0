/** A slow client or upstream does not delay others, and the end of one side is not the end of both. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startRawPlainUpstream, startRawUpstream } from '../../support/upstream.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const megabyte = 'x'.repeat(1_048_576);

describe('a client that does not read', () => {
  test('does not delay other clients, at the same authority or at others', async () => {
    const stuck = Promise.withResolvers<void>();
    const upstream = await startRawUpstream((socket) => {
      onHeads(socket, (head) => {
        if (!head.startsWith('GET /endless')) {
          socket.write(ok);
          return;
        }
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        const chunk = `100000\r\n${megabyte}\r\n`;
        // The upstream writes until its buffers are full: then the exchange of the client is blocked.
        let still = 0;
        const go = () => {
          if (socket.destroyed) return;
          if (socket.writableNeedDrain) still += 1;
          else {
            still = 0;
            socket.write(chunk, 'latin1');
          }
          if (still < 200) setImmediate(go);
          else stuck.resolve();
        };
        go();
      });
    });
    const other = await startRawUpstream((socket) => onHeads(socket, () => socket.write(ok)));
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme' }, [other.authority]: { grant: 'acme' } },
      config: { limits: { upstream_connections: 2 } },
    });
    await sidekey.grant([upstream.authority, other.authority]);
    const slow = await openTunnel(sidekey, upstream.authority);
    slow.send(`GET /endless HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await slow.until('200 OK');
    slow.socket.pause();
    await stuck.promise;
    for (const { authority } of [upstream, other, upstream, other]) {
      const client = await openTunnel(sidekey, authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    }
    expect([upstream.connections(), other.connections()]).toEqual([2, 1]);
    slow.socket.destroy();
  });
});

test('events of a stream arrive one by one, each before the next is sent', async () => {
  const begun = Promise.withResolvers<ServerResponse>();
  const { upstream, sidekey } = await granted((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    begun.resolve(response);
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nAccept: text/event-stream\r\n\r\n`);
  await client.until('\r\n\r\n');
  const response = await begun.promise;
  for (let i = 0; i < 50; i += 1) {
    response.write(`id: ${i}\ndata: x\n\n`);
    expect(await client.until(`id: ${i}\n`)).not.toContain(`id: ${i + 1}\n`);
  }
  response.end();
  expect((await client.response()).body.split('\n\n')).toHaveLength(51);
});

const short = {
  head_timeout: '500ms',
  client_body_idle: '500ms',
  client_idle: '10ms',
  upstream_idle: '10ms',
  upstream_keep_alive: '10ms',
};

test('a client that is silent while the upstream takes nearly upstream_head to respond is not disconnected', async () => {
  const asked = Promise.withResolvers<Socket>();
  const { upstream, sidekey } = await grantedRaw(
    (socket) => onHeads(socket, () => asked.resolve(socket)),
    // All other times are over long before: none of them is of a request that waits.
    { config: { limits: { ...short, upstream_head: '1m' } } },
  );
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 2\r\n\r\nhi`);
  const socket = await asked.promise;
  // Clients that say nothing, one after the other, are closed by the longest of these times.
  for (let i = 0; i < 3; i += 1) {
    const idle = await openClient(sidekey);
    expect(await idle.ended()).toBe('');
  }
  socket.write(ok);
  expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
});

/** A blind tunnel, and both its ends. */
const opened = async () => {
  const accepted = Promise.withResolvers<Socket>();
  const upstream = await startRawPlainUpstream((socket) => accepted.resolve(socket));
  const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
  const client = await openClient(sidekey);
  client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  await client.response('CONNECT');
  return { client, upstream, sidekey, socket: await accepted.promise };
};

describe('a blind tunnel with one side closed', () => {
  test('keeps the other direction open if the upstream closes', async () => {
    const { client, upstream, sidekey, socket } = await opened();
    let heard = '';
    socket.allowHalfOpen = true;
    socket.on('data', (piece: Buffer) => (heard += piece.toString())).end('bye');
    expect(await client.ended()).toBe('bye');
    client.socket.end('and one more thing');
    await upstream.allClosed();
    expect(heard).toBe('and one more thing');
    await expect(sidekey.audited((line) => line.event === 'tunnel')).resolves.toMatchObject({
      outcome: 'ok',
      bytes_in: 18,
      bytes_out: 3,
    });
  });

  test('keeps the other direction open if the client closes', async () => {
    const { client, upstream, socket } = await opened();
    socket.allowHalfOpen = true;
    socket.on('end', () => socket.end('all of it')).resume();
    client.socket.end('that is all');
    expect(await client.ended()).toBe('all of it');
    await upstream.allClosed();
  });
});

/** Kills each connection at its second request. */
const mortal = async (limits = {}) => {
  const seen: string[] = [];
  const setup = await grantedRaw(
    (socket) => {
      let text = '';
      let count = 0;
      socket.on('data', (piece: Buffer) => {
        text += piece.toString('latin1');
        if (!/\r\n\r\n(?:body)?$/.test(text) || (/length: 4/i.test(text) && !text.endsWith('body'))) return;
        seen.push(`${text.split(' ', 1)[0]} ${text.slice(text.indexOf('\r\n\r\n') + 4)}`);
        text = '';
        count += 1;
        if (count === 2) socket.destroy();
        else socket.write(ok);
      });
    },
    { config: { limits } },
  );
  const client = await openTunnel(setup.sidekey, setup.upstream.authority);
  const ask = async (method: string, body: string) => {
    client.send(
      `${method} / HTTP/1.1\r\nHost: ${setup.upstream.authority}\r\n${body === '' ? '' : 'Content-Length: 4\r\n'}\r\n${body}`,
    );
    return (await client.response()).status;
  };
  return { seen, ask };
};

describe('a request whose kept connection turns out to be dead', () => {
  test('is repeated with its body if the request is safe and the body was buffered', async () => {
    const { seen, ask } = await mortal();
    expect([await ask('GET', ''), await ask('OPTIONS', 'body')]).toEqual([200, 200]);
    expect(seen).toEqual(['GET ', 'OPTIONS body', 'OPTIONS body']);
  });

  test('is not repeated if the body was not buffered', async () => {
    const { seen, ask } = await mortal({ replay_bytes: 3 });
    expect([await ask('GET', ''), await ask('OPTIONS', 'body')]).toEqual([200, 502]);
    expect(seen).toEqual(['GET ', 'OPTIONS body']);
  });

  test('is not repeated if it is a POST, because the upstream may have acted', async () => {
    const { seen, ask } = await mortal();
    expect([await ask('GET', ''), await ask('POST', 'body')]).toEqual([200, 502]);
    expect(seen).toEqual(['GET ', 'POST body']);
  });
});
