import { describe, expect, test } from 'vitest';
import { granted, grantedTo } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startPlainUpstream } from '../../support/upstream.ts';

const aborted = { outcome: 'aborted' };

describe('a client that disconnects', () => {
  test.each([
    ['with a reset', true],
    ['in good order', false],
  ])('%s while waiting for the response head ends the upstream request', async (_name, reset) => {
    const asked = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted(() => asked.resolve());
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await asked.promise;
    if (reset) client.socket.destroy();
    else client.socket.end();
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject(aborted);
  });

  test('during a download ends the download', async () => {
    const { upstream, sidekey } = await granted((_request, response) => {
      response.writeHead(200);
      response.write('first');
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.until('first');
    client.socket.destroy();
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      ...aborted,
      status: 200,
      bytes_out: 5,
    });
  });

  test('during an upload ends the upload, and the upstream request is incomplete', async () => {
    const fate = Promise.withResolvers<string>();
    const begun = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted((request) => {
      request.on('data', () => begun.resolve());
      request.on('end', () => fate.resolve('whole'));
      request.on('error', () => fate.resolve('broken'));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n`,
    );
    await begun.promise;
    client.socket.destroy();
    expect(await fate.promise).toBe('broken');
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      ...aborted,
      bytes_in: 5,
    });
  });

  test('with pipelined requests has its pending requests discarded', async () => {
    const seen: (string | undefined)[] = [];
    const asked = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted((request) => {
      seen.push(request.url);
      asked.resolve();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const host = `Host: ${upstream.authority}\r\n\r\n`;
    client.send(`GET /1 HTTP/1.1\r\n${host}DELETE /2 HTTP/1.1\r\n${host}`);
    await asked.promise;
    client.socket.destroy();
    await upstream.allClosed();
    await sidekey.audited((line) => line.event === 'outcome' && line.path === '/2');
    expect(seen).toEqual(['/1']);
  });

  test('by a half-close outside TLS still gets its response', async () => {
    const upstream = await startPlainUpstream((request, response) => {
      request.resume().on('end', () => setImmediate(() => response.end('late')));
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.socket.end(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'late' });
    expect(await client.ended()).toBe('');
  });

  test('while a blind tunnel is open closes the upstream side, and a half-close is forwarded', async () => {
    const upstream = await startPlainUpstream((_request, response) => response.end('ok'));
    const { sidekey } = await grantedTo(upstream, { domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response('CONNECT');
    client.socket.end(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    expect(await client.ended()).toContain('ok');
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'tunnel')).resolves.toMatchObject({
      outcome: 'ok',
    });
  });
});
