import { describe, expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';

describe('the data after an ambiguous request', () => {
  test.each([
    ['an unknown transfer coding', 'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['a second Host', 'Host: b.example\r\nContent-Length: 0\r\n\r\n'],
  ])('is not forwarded: %s', async (_what, rest) => {
    const seen: (string | undefined)[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const host = `Host: ${upstream.authority}\r\n`;
    client.send(`POST /front HTTP/1.1\r\n${host}${rest}GET /hidden HTTP/1.1\r\n${host}\r\n`);
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(await client.ended()).toBe('');
    // A connection of its own goes through all the turns that the hidden request would have had.
    const other = await openTunnel(sidekey, upstream.authority);
    other.send(`GET /after HTTP/1.1\r\n${host}\r\n`);
    expect(await other.response()).toMatchObject({ status: 200 });
    expect(seen).toEqual(['/after']);
    // Nor was it taken up: no token was asked for it, and no access recorded.
    await sidekey.audited(({ event, path }) => event === 'outcome' && path === '/after');
    expect((await sidekey.audit()).map(({ path }) => path)).not.toContain('/hidden');
  });

  test('is not forwarded after a wrong Host either', async () => {
    const seen: (string | undefined)[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      'POST /front HTTP/1.1\r\nHost: other.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
      `GET /hidden HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(await client.ended()).toBe('');
    expect(seen).toEqual([]);
  });

  test.each(['HTTP/2.0', 'HTTP/0.9'])('is not forwarded after the version %s', async (version) => {
    const seen: (string | undefined)[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET /old ${version}\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(seen).toEqual([]);
  });
});
