import { describe, expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { granted } from '../../support/granted.ts';

describe('pipelined requests', () => {
  test('are answered in order, and forwarded one after another', async () => {
    const order: string[] = [];
    let release: (() => void) | undefined;
    const { upstream, sidekey } = await granted((request, response) => {
      order.push(`begin ${request.method} ${request.url}`);
      const end = () => {
        order.push(`end ${request.url}`);
        response.end(request.url);
      };
      if (request.url === '/slow') release = end;
      else end();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const host = `Host: ${upstream.authority}\r\n`;
    client.send(
      `GET /slow HTTP/1.1\r\n${host}\r\n`,
      `DELETE /second HTTP/1.1\r\n${host}\r\n`,
      `POST /third HTTP/1.1\r\n${host}Content-Length: 3\r\n\r\nabc`,
      `GET /fourth HTTP/1.1\r\n${host}\r\n`,
    );
    await sidekey.audited((line) => line.event === 'access' && line.path === '/slow');
    // Whoever else would be sent too early is sent by now: the audit is written in turns of its own.
    for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
    while (order.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual(['begin GET /slow']);
    release?.();
    for (const path of ['/slow', '/second', '/third', '/fourth']) {
      expect(await client.response()).toMatchObject({ status: 200, body: path });
    }
    expect(order).toEqual([
      'begin GET /slow',
      'end /slow',
      'begin DELETE /second',
      'end /second',
      'begin POST /third',
      'end /third',
      'begin GET /fourth',
      'end /fourth',
    ]);
  });

  test('that follow a refused request are answered too', async () => {
    const { upstream, sidekey } = await granted((request, response) => response.end(request.url));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST /1 HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 5\r\n\r\nhello`,
      `GET /2 HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 421 });
    expect(await client.response()).toMatchObject({ status: 200, body: '/2' });
  });
});
