import { describe, expect, test } from 'vitest';
import { granted } from '../../support/granted.ts';
import { openClient, openTunnel, problemOf } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';

describe('a request beyond a limit', () => {
  test('of body_bytes by its Content-Length is refused before a byte is forwarded', async () => {
    let asked = 0;
    const { upstream, sidekey } = await granted((_request, response) => response.end(String((asked += 1))), {
      config: { limits: { body_bytes: '1KiB' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 1025\r\n\r\n${'x'.repeat(1025)}`,
    );
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 413, reason: 'body_too_large' });
    expect(problemOf(answer).hint).toBe('raise limits.body_bytes');
    expect(asked).toBe(0);
    const denied = await sidekey.audited((line) => line.event === 'denied');
    expect(denied).toMatchObject({ code: 'body_too_large', host: 'api.acme.test' });
    client.send(
      `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 1024\r\n\r\n${'x'.repeat(1024)}`,
    );
    expect(await client.response()).toMatchObject({ status: 200 });
  });

  test('of body_bytes by its chunks is cut at the limit', async () => {
    let whole = 0;
    const { upstream, sidekey } = await granted(
      (request, response) => {
        request.on('error', () => {});
        request.resume().on('end', () => response.end(String((whole += 1))));
      },
      { config: { limits: { body_bytes: '1KiB' } } },
    );
    const client = await openTunnel(sidekey, upstream.authority);
    const chunk = `200\r\n${'x'.repeat(512)}\r\n`;
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    client.send(chunk, chunk, chunk, '0\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 413, reason: 'body_too_large' });
    expect(whole).toBe(0);
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      code: 'body_too_large',
      status: 413,
    });
  });

  test('of head_bytes is refused, and the client receives the refusal', async () => {
    const sidekey = await startSidekey({ config: { limits: { head_bytes: '2KiB' } } });
    const client = await openClient(sidekey);
    client.send(`GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: ${'x'.repeat(500_000)}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(problemOf(answer)).toMatchObject({ hint: 'raise limits.head_bytes' });
    expect(await client.ended()).toBe('');
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'bad_request',
    });
  });

  test('of head_fields is refused', async () => {
    const sidekey = await startSidekey({
      config: { limits: { head_fields: 10 } },
      domains: { 'a.test:81': 'tunnel' },
    });
    const client = await openClient(sidekey);
    client.send(`GET http://a.test:81/ HTTP/1.1\r\nHost: a.test:81\r\n${'X: 1\r\n'.repeat(10)}\r\n`);
    expect(problemOf(await client.response())).toMatchObject({
      code: 'bad_request',
      detail: expect.stringContaining('10'),
    });
  });

  test('of head_timeout is refused, and a silent connection is closed', async () => {
    const sidekey = await startSidekey({ config: { limits: { head_timeout: '1s' } } });
    const [slow, silent] = [await openClient(sidekey), await openClient(sidekey)];
    slow.send('GET http://a.test/ HTTP/1.1\r\nHost: a.');
    const answer = await slow.response();
    expect(answer).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(problemOf(answer).detail).toContain('in time');
    expect(await silent.ended()).toBe('');
  });

  test('of connections is refused, and its connection serves no request', async () => {
    let asked = 0;
    const { upstream, sidekey } = await granted((_request, response) => response.end(String((asked += 1))), {
      config: { limits: { client_connections: 1 } },
    });
    const first = await openClient(sidekey);
    first.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await first.response()).toMatchObject({ status: 200 });
    const second = await openClient(sidekey);
    second.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await second.response()).toMatchObject({ status: 503, reason: 'overloaded' });
    expect(await second.ended()).toBe('');
    first.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await first.response()).toMatchObject({ status: 200, body: '2' });
    first.socket.destroy();
    second.socket.destroy();
  });

  test('of client_idle has its connection closed', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { limits: { client_idle: '50ms' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(await client.ended()).toBe('');
  });

  test('of client_handshake has its tunnel closed', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { limits: { client_handshake: '50ms' } },
    });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
    expect(await client.ended()).toBe('');
  });
});
