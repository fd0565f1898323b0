import { describe, expect, test } from 'vitest';
import { grantedRaw, onHeads } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';

const final = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('an upstream that sends interim responses', () => {
  test('without end does not fill the memory if the client does not read them', async () => {
    const hint = `HTTP/1.1 103 Early Hints\r\nLink: </${'a'.repeat(8_000)}>; rel=preload\r\n\r\n`;
    // More than the sockets between here and there hold.
    const hints = 4_000;
    const taken = Promise.withResolvers<void>();
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write(hint.repeat(hints) + final, () => taken.resolve()));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.socket.pause();
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await taken.promise;
    client.socket.resume();
    const text = await client.until('200 OK');
    expect(text.split('103 Early Hints').length - 1).toBeLessThan(hints / 2);
    await client.until('\r\n\r\nok');
  });

  test.each(['constructor', '__proto__'])(
    'with a field named %s can still send its final response',
    async (name) => {
      const { upstream, sidekey } = await grantedRaw((socket) => {
        onHeads(socket, () =>
          socket.write(`HTTP/1.1 103 Early Hints\r\n${name}: x\r\nLink: </a>; rel=preload\r\n\r\n${final}`),
        );
      });
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 103 });
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    },
  );
});
