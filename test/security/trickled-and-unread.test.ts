/**
 * Clients that are slow on purpose: they hold what they hold for a bounded time, and cost a bounded amount of
 * memory.
 */
import { expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';

test('a head that arrives byte by byte, in a tunnel or outside, is limited to the head timeout', async () => {
  const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
    config: { limits: { head_timeout: '1s', head_bytes: '1MiB' } },
  });
  for (const open of [openClient, (it: typeof sidekey) => openTunnel(it, upstream.authority)]) {
    const client = await open(sidekey);
    client.send('GET / HTTP/1.1\r\n');
    while (client.received() === '') {
      client.send('X');
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until('did not come in time');
  }
  await sidekey.audited((line) => line.event === 'denied' && line.code === 'bad_request');
});

test('a silent tunnel is closed', async () => {
  const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
    config: { limits: { head_timeout: '1s' } },
  });
  const client = await openTunnel(sidekey, upstream.authority);
  expect(await client.ended()).toBe('');
});

test('unread refusals do not accumulate', async () => {
  const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
    config: { limits: { pipelined_requests: 1_000_000 } },
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.socket.pause();
  const request = `GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n`;
  const before = process.memoryUsage().rss;
  // Each is refused at once: some 300 bytes of answer for 40 of question.
  let stuck = 0;
  while (stuck < 300) {
    if (client.socket.writableLength < 1_000_000) client.send(request.repeat(1_000));
    const pending = client.socket.writableLength;
    await new Promise((resolve) => setImmediate(resolve));
    stuck = pending > 0 && client.socket.writableLength === pending ? stuck + 1 : 0;
  }
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
  // It is served again as soon as it reads.
  client.socket.resume();
  await client.until('421');
  client.socket.destroy();
});

test('a field that would split an upstream response is one field for the client', async () => {
  const { upstream, sidekey } = await granted((_request, response) => {
    // Node would not write it by its own means.
    response.socket?.end(
      'HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: forged=1\r\nContent-Length: 2\r\n\r\nok',
      'latin1',
    );
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const answer = await client.response();
  expect(answer).toMatchObject({ status: 200, headers: { x: 'a Set-Cookie: forged=1' }, body: 'ok' });
  expect(answer.rawHeaders.join('\n')).not.toContain('\r');
});
