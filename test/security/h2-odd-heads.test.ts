import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../support/granted.ts';
import { ask, openSession } from '../support/h2-client.ts';

describe('an HTTP/1.1 response head is converted for an HTTP/2 client', () => {
  test.each(['constructor', '__proto__', 'tostring'])(
    'with a field named like a property of every object: %s',
    async (name) => {
      const { upstream, sidekey } = await grantedRaw((socket) =>
        onHeads(socket, () => {
          socket.write(
            `HTTP/1.1 103 Early Hints\r\n${name}: 1\r\n\r\n` +
              `HTTP/1.1 200 OK\r\n${name}: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${name}: 3\r\n\r\n`,
          );
        }),
      );
      const answer = await ask(await openSession(sidekey, upstream.authority));
      expect(answer).toMatchObject({ status: 200, body: 'ok', whole: true });
      const values = [answer.interim[0], answer.headers, answer.trailers].map((fields) =>
        Object.entries(fields ?? {}).flatMap(([key, value]) => (key === name ? [value] : [])),
      );
      expect(values).toEqual([['1'], ['2'], ['3']]);
    },
  );

  test('up to the head limit, without effect on other streams of the session', async () => {
    const value = 'v'.repeat(1_900);
    const { upstream, sidekey } = await granted(
      (asked, response) => {
        if (asked.url === '/long') for (let i = 0; i < 80; i += 1) response.setHeader(`x-${i}`, value);
        response.end('ok');
      },
      { config: { limits: { head_bytes: '256KiB' } } },
    );
    const session = await openSession(sidekey, upstream.authority, {
      settings: { maxHeaderListSize: 1_000_000 },
      maxHeaderListPairs: 200,
    });
    const answer = await ask(session, { ':path': '/long' });
    expect(answer).toMatchObject({ status: 200, body: 'ok', code: 0 });
    expect(answer.headers['x-79']).toBe(value);
    expect(await ask(session)).toMatchObject({ status: 200, body: 'ok' });
  });
});

describe('an HTTP/2 request is refused as over HTTP/1.1, with', () => {
  test.each([
    ['content_length', '9'],
    ['transfer_encoding', 'chunked'],
    ['transfer.encoding', 'chunked'],
    ['ho_st', 'evil.test'],
    ['proxy_authorization', 'Basic YTpi'],
    ['content-length', '00'],
  ])('%s: %s', async (name, value) => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const session = await openSession(sidekey, upstream.authority);
    const answer = await ask(session, { ':method': 'POST', [name]: value });
    expect(answer).toMatchObject({ status: 400 });
    expect((await sidekey.audit()).some((line) => line.event === 'access')).toBe(false);
    expect(await ask(session)).toMatchObject({ status: 200, body: 'ok' });
  });
});
