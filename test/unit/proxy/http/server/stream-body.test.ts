import { once } from 'node:events';
import { constants, performServerHandshake, type ServerHttp2Stream } from 'node:http2';
import { describe, expect, it, onTestFinished } from 'vitest';
import { defaultLimits } from '../../../../../src/proxy/policy/limits.ts';
import { StreamBody } from '../../../../../src/proxy/http/server/h2-stream.ts';
import { block, endHeaders, endStream, frame, number } from '../../../../support/http2-frames.ts';
import { socketPair } from '../../socket-pair.ts';

/** A stream whose client has sent a head and a piece of its body. */
async function begun() {
  const pair = await socketPair();
  onTestFinished(() => pair[Symbol.dispose]());
  const session = performServerHandshake(pair.near);
  session.on('error', () => {});
  const fields = [':method', ':scheme', ':path', ':authority'].map(
    (name, index) => [name, ['POST', 'https', '/', 'a.test'][index]!] as const,
  );
  const send = (...frames: Buffer[]) => void pair.far.write(Buffer.concat(frames));
  send(
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame('settings', 0, 0),
    frame('headers', 1, endHeaders, block(fields)),
    frame('data', 1, 0, Buffer.from('half')),
  );
  const [stream] = (await once(session, 'stream')) as [ServerHttp2Stream];
  stream.on('error', () => {});
  const awaited: boolean[] = [];
  const owner = { bodyAwaited: (is: boolean) => awaited.push(is), passed() {} };
  const body = new StreamBody(stream, owner, defaultLimits);
  expect(await body.next()).toEqual({ done: false, value: Buffer.from('half') });
  return { send, body, awaited };
}

describe('the body of a stream', () => {
  it('ends with its stream, and has the trailers of the stream', async () => {
    const { send, body, awaited } = await begun();
    send(
      frame('data', 1, 0, Buffer.from('more')),
      frame('headers', 1, endHeaders | endStream, block([['x-sum', '8']])),
    );
    expect(await body.next()).toEqual({ done: false, value: Buffer.from('more') });
    expect(await body.next()).toEqual({ done: true, value: undefined });
    expect(body.trailers).toEqual(['x-sum', '8']);
    expect(body.over).toBe(true);
    expect(awaited.filter(Boolean)).toHaveLength(awaited.length / 2);
  });

  it.each([constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_CANCEL])(
    'does not end normally if its stream was reset with code %i',
    async (code) => {
      const { send, body } = await begun();
      const next = body.next();
      send(frame('reset', 1, 0, number(code)));
      await expect(next).rejects.toMatchObject({ code: 'bad_request' });
      await expect(body.next()).rejects.toMatchObject({ code: 'bad_request' });
      expect(body.over).toBe(false);
    },
  );

  it('does not end while no reader reads it', async () => {
    const { body } = await begun();
    await body.return();
    await expect(body.next()).rejects.toMatchObject({ code: 'bad_request' });
  });
});
