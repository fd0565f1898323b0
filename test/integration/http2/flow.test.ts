import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { openFrames } from '../../support/frame-client.ts';
import { granted } from '../../support/granted.ts';
import { ask, openSession, request } from '../../support/h2-client.ts';
import { frameType } from '../../support/http2-frames.ts';

const large = Buffer.alloc(10_000_000, 'sidekey ');
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** Bytes of a body that no system holds in its sockets; how much they hold is its own choice. */
const endless = 1_000_000_000;

describe('large bodies over HTTP/2', () => {
  test.each([65_535, 1_000])(
    'are downloaded completely through windows of %i bytes',
    async (initialWindowSize) => {
      const { upstream, sidekey } = await granted((_asked, response) => response.end(large));
      const session = await openSession(sidekey, upstream.authority, { settings: { initialWindowSize } });
      const stream = request(session);
      const hash = createHash('sha256');
      stream.on('data', (piece: Buffer) => hash.update(piece));
      await once(stream, 'end');
      expect(hash.digest('hex')).toBe(digest(large));
      await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
        outcome: 'ok',
        bytes_out: large.length,
      });
    },
  );

  test('are uploaded completely', async () => {
    const { upstream, sidekey } = await granted((asked, response) => {
      const hash = createHash('sha256');
      asked
        .on('data', (piece: Buffer) => hash.update(piece))
        .on('end', () => response.end(hash.digest('hex')));
    });
    const session = await openSession(sidekey, upstream.authority);
    const answers = await Promise.all([1, 2].map(() => ask(session, { ':method': 'POST' }, large)));
    for (const { body } of answers) expect(body).toBe(digest(large));
  });

  test('are uploaded within a window that the SETTINGS of the proxy name', async () => {
    const { upstream, sidekey } = await granted((_asked, response) => response.end());
    const { frames } = await openFrames(sidekey, upstream.authority);
    const { payload } = frames.find(({ type }) => type === frameType.settings)!;
    const settings = Array.from({ length: payload.length / 6 }, (_, at) => [
      payload.readUInt16BE(6 * at),
      payload.readUInt32BE(6 * at + 2),
    ]);
    expect(Object.fromEntries(settings)).toHaveProperty(
      String(constants.NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
      65_535,
    );
  });

  test('are not read from the upstream while the client’s window is closed, and do not delay other clients', async () => {
    let written = 0;
    const stalled = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted((asked, response) => {
      if (asked.url === '/other') {
        response.end('ok');
        return;
      }
      const piece = Buffer.alloc(65_536);
      const push = () => {
        while (written < endless) {
          written += piece.length;
          if (response.write(piece)) continue;
          const timer = setTimeout(() => stalled.resolve(), 300);
          response.once('drain', () => {
            clearTimeout(timer);
            push();
          });
          return;
        }
        stalled.resolve();
      };
      response.on('error', () => {});
      push();
    });
    const session = await openSession(sidekey, upstream.authority, { settings: { initialWindowSize: 0 } });
    const stream = request(session);
    await once(stream, 'response');
    await stalled.promise;
    expect(written).toBeLessThan(endless);
    const other = await openSession(sidekey, upstream.authority);
    expect(await ask(other, { ':path': '/other' })).toMatchObject({ body: 'ok' });
    stream.close();
    await sidekey.audited((line) => line.event === 'outcome' && line.outcome === 'aborted');
  });

  test('are not read from the client faster than the upstream reads', async () => {
    const paused = Promise.withResolvers<() => void>();
    const { upstream, sidekey } = await granted((asked, response) => {
      asked.pause();
      paused.resolve(() => {
        let bytes = 0;
        asked.on('data', (piece: Buffer) => (bytes += piece.length));
        asked.on('end', () => response.end(String(bytes))).resume();
      });
      asked.on('error', () => {});
    });
    const session = await openSession(sidekey, upstream.authority);
    const stream = request(session, { ':method': 'POST' }, { endStream: false });
    const read = await paused.promise;
    const piece = Buffer.alloc(65_536);
    let taken = 0;
    let isStalled = false;
    const stalled = Promise.withResolvers<void>();
    const push = () => {
      const timer = setTimeout(() => {
        isStalled = true;
        stalled.resolve();
      }, 300);
      stream.write(piece, (error) => {
        clearTimeout(timer);
        if (error != null) return;
        taken += piece.length;
        if (taken < endless && !isStalled) push();
        else {
          stalled.resolve();
          stream.end();
        }
      });
    };
    push();
    await stalled.promise;
    expect(taken).toBeLessThan(endless);
    const answer = once(stream, 'data');
    read();
    const [bytes] = (await answer) as [Buffer];
    expect(Number(bytes.toString())).toBe(taken);
  });
});
