import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { ask, openSession } from '../support/h2-client.ts';
import { openFrames } from '../support/frame-client.ts';
import { block, endHeaders, endStream, frame, frameType } from '../support/http2-frames.ts';

async function place() {
  const asked: (string | undefined)[] = [];
  const it = await granted((request, response) => {
    asked.push(request.url);
    response.end(request.rawHeaders.join('|'));
  });
  return { ...it, asked, session: await openSession(it.sidekey, it.upstream.authority) };
}

describe('an HTTP/2 request goes only to the authority of its CONNECT', () => {
  test.each([
    ['another host', { ':authority': 'other.example' }],
    ['another port', { ':authority': 'api.acme.test:1' }],
    ['the host without its port', { ':authority': 'api.acme.test' }],
    ['a Host that differs', { host: 'other.example' }],
  ])('and is refused without effect on the session if it names %s', async (_what, headers) => {
    const { session, sidekey, asked } = await place();
    const refused = await ask(session, headers);
    expect(refused).toMatchObject({ status: 421, whole: true });
    expect(refused.headers['sidekey-error']).toBe('authority_mismatch');
    expect(asked).toEqual([]);
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'authority_mismatch',
    });
    expect(await ask(session)).toMatchObject({ status: 200 });
  });

  test('and may name that authority in Host only, or in Host and :authority', async () => {
    const { upstream, sidekey } = await place();
    const client = await openFrames(sidekey, upstream.authority);
    const [verb, scheme, path, authority] = client.fields();
    const host = ['host', upstream.authority] as const;
    await client.send(
      frame('headers', 1, endHeaders | endStream, block([verb!, scheme!, path!, host])),
      frame('headers', 3, endHeaders | endStream, block([verb!, scheme!, path!, authority!, host])),
    );
    for (const stream of [1, 3]) {
      const body = await client.frame((it) => it.type === frameType.data && it.stream === stream);
      const names = body.payload
        .toString()
        .split('|')
        .filter((_text, i) => i % 2 === 0);
      expect(names.filter((name) => name.toLowerCase() === 'host')).toEqual(['Host']);
    }
  });

  test.each([
    ['a line break', 'a\r\nx-added: b'],
    ['a line feed', 'a\nx-added: b'],
    ['a NUL', 'a\0b'],
  ])('and is not forwarded if a field contains %s', async (_what, value) => {
    const { upstream, sidekey } = await place();
    const client = await openFrames(sidekey, upstream.authority);
    await client.send(
      frame('headers', 1, endHeaders | endStream, block([...client.fields(), ['x-odd', value]])),
    );
    const answer = await client.frame((it) => it.type === frameType.data && it.stream === 1);
    expect(answer.payload.toString().toLowerCase()).not.toMatch(/x-odd|x-added/);
  });

  test.each([
    ['user information', [':authority'], [[':authority', 'api.acme.test@other.example']]],
    ['a path in its authority', [':authority'], [[':authority', 'api.acme.test/x']]],
    ['no authority', [':authority'], []],
    ['another scheme', [':scheme'], [[':scheme', 'http']]],
    ['an absolute path', [':path'], [[':path', 'https://other.example/']]],
    [
      'an asterisk',
      [':path', ':method'],
      [
        [':path', '*'],
        [':method', 'OPTIONS'],
      ],
    ],
    ['a fragment', [':path'], [[':path', '/a#b']]],
    ['a space in its path', [':path'], [[':path', '/a b']]],
    ['a method of small letters', [':method'], [[':method', 'get']]],
    ['a pseudo-header twice', [], [[':path', '/other']]],
    ['an unknown pseudo-header', [], [[':other', '1']]],
    [
      'a pseudo-header behind a field',
      [],
      [
        ['x', '1'],
        [':path', '/other'],
      ],
    ],
    ['a name with capitals', [], [['X-Big', '1']]],
    ['Connection', [], [['connection', 'close']]],
    ['Keep-Alive', [], [['keep-alive', 'timeout=5']]],
    ['Transfer-Encoding', [], [['transfer-encoding', 'chunked']]],
    ['Upgrade', [], [['upgrade', 'h2c']]],
    ['TE for more than trailers', [], [['te', 'gzip']]],
    [
      'two lengths',
      [],
      [
        ['content-length', '0'],
        ['content-length', '5'],
      ],
    ],
    ['a length that its body has not', [], [['content-length', '5']]],
  ] as const)('and is refused or reset if it has %s', async (_what, without, more) => {
    const { upstream, sidekey, asked } = await place();
    const client = await openFrames(sidekey, upstream.authority);
    const fields = client.fields().filter(([name]) => !(without as readonly string[]).includes(name));
    const pseudo = more.filter(([name]) => (without as readonly string[]).includes(name));
    const rest = more.filter(([name]) => !(without as readonly string[]).includes(name));
    await client.send(frame('headers', 1, endHeaders | endStream, block([...fields, ...pseudo, ...rest])));
    const end = await client.frame(
      (it) => it.stream === 1 && (it.type === frameType.reset || (it.flags & endStream) !== 0),
    );
    if (end.type === frameType.reset) {
      expect(end.payload.readUInt32BE(0)).toBe(constants.NGHTTP2_PROTOCOL_ERROR);
    } else expect(end.payload.toString()).toContain('"code":"');
    expect(asked).toEqual([]);
  });
});
