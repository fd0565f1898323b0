import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { ask, openSession } from '../support/h2-client.ts';
import { openFrames, type FrameClient } from '../support/frame-client.ts';
import { ack, block, endHeaders, endStream, frame, frameType, number } from '../support/http2-frames.ts';
import type { SidekeyOptions } from '../support/sidekey.ts';

async function victim(options: SidekeyOptions = {}) {
  // A stream that is answered early is closed, and nghttp2 takes what still comes on it.
  const it = await granted(
    (asked, response) =>
      void asked
        .resume()
        .on('error', () => {})
        .on('end', () => response.end('ok')),
    options,
  );
  return { ...it, client: await openFrames(it.sidekey, it.upstream.authority) };
}

/**
 * Sends one frame after the other, and asks now and then whether the proxy still listens. Answers how many it
 * took until it did not; rejects where it took all.
 */
async function cutAfter(client: FrameClient, most: number, make: (index: number) => Buffer): Promise<number> {
  const step = 50;
  for (let sent = 0; sent < most; sent += step) {
    const mark = number(sent + 1);
    const ping = frame('ping', 0, 0, Buffer.concat([mark, mark]));
    try {
      await client.send(...Array.from({ length: step }, (_each, index) => make(sent + index)), ping);
      await client.frame(
        ({ type, flags, payload }) => type === frameType.ping && flags === ack && payload.includes(mark),
      );
    } catch {
      return sent + step;
    }
  }
  throw new Error(`all ${most} were taken`);
}

const many = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_each, index) => [`x-${index}`, '1']));

const streamOf = (index: number) => 2 * index + 1;

describe('an HTTP/2 client that floods is cut off, and other clients are still served', () => {
  test('with streams that it opens and resets (CVE-2023-44487)', async () => {
    const { client, sidekey, upstream } = await victim({ config: { limits: { client_streams: 10 } } });
    const head = block(client.fields());
    const sent = await cutAfter(client, 400, (index) =>
      Buffer.concat([
        frame('headers', streamOf(index), endHeaders | endStream, head),
        frame('reset', streamOf(index), 0, number(constants.NGHTTP2_CANCEL)),
      ]),
    );
    expect(sent).toBeLessThanOrEqual(300);
    const other = await openSession(sidekey, upstream.authority);
    expect(await ask(other)).toMatchObject({ status: 200 });
  });

  test('with endless CONTINUATION frames (CVE-2024-27983, CVE-2024-28182)', async () => {
    const { client } = await victim();
    await client.send(frame('headers', 1, endStream, block(client.fields())));
    const field = block([['x', 'y']]);
    let sent = 0;
    const flood = async () => {
      for (; sent < 1_000; sent += 1) await client.send(frame('continuation', 1, 0, field));
    };
    await Promise.all([flood().catch(() => {}), client.closed()]);
    expect(client.frames.some(({ type }) => type === frameType.goaway)).toBe(true);
  });

  test('with PING (CVE-2019-9512)', async () => {
    const { client, sidekey } = await victim();
    const many = Buffer.concat(Array.from({ length: 15 }, () => frame('ping', 0, 0, Buffer.alloc(8))));
    await cutAfter(client, 5_000, () => many);
    expect(await client.goaway()).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'bad_request',
    });
  });

  test('with SETTINGS (CVE-2019-9515)', async () => {
    const { client } = await victim();
    const settings = Buffer.from([0, 4, 0, 0, 255, 255]);
    const many = Buffer.concat(Array.from({ length: 15 }, () => frame('settings', 0, 0, settings)));
    await cutAfter(client, 5_000, () => many);
    expect(await client.goaway()).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });

  test('with WINDOW_UPDATE', async () => {
    const { client } = await victim();
    const fill = Buffer.concat(Array.from({ length: 1_000 }, () => frame('window', 0, 0, number(1))));
    await cutAfter(client, 100_000, () => fill);
    expect(await client.goaway()).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });

  test('with empty DATA frames (CVE-2019-9518)', async () => {
    const { client } = await victim();
    await client.send(frame('headers', 1, endHeaders, block(client.fields({ ':method': 'POST' }))));
    expect(await cutAfter(client, 1_000, () => frame('data', 1, 0))).toBeLessThanOrEqual(200);
  });

  test('with heads that exceed limits.head_bytes when decompressed (an HPACK bomb)', async () => {
    const { client, sidekey, upstream } = await victim();
    const long = 'b'.repeat(4_000);
    // A literal that is put into the table, and then a byte for each repeat of it.
    const kept = block([['a', long]]);
    kept[0] = 0x40;
    const repeats = (count: number) => Buffer.concat([block(client.fields()), Buffer.alloc(count, 0xbe)]);
    await client.send(
      frame('headers', 1, endHeaders | endStream, Buffer.concat([block(client.fields()), kept])),
    );
    await client.frame(({ type, stream }) => type === frameType.data && stream === 1);
    const bomb = (index: number) =>
      frame('headers', streamOf(index + 1), endHeaders | endStream, repeats(16_000));
    await client.send(bomb(0));
    expect(await client.resetOf(3)).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    await cutAfter(client, 20_000, (index) => bomb(index + 1));
    // A client that goes on sending may meet the reset of the connection before it reads the GOAWAY.
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({
      code: 'bad_request',
    });
    expect(upstream.connections()).toBe(1);
  });

  test('with resets that it provokes (CVE-2025-8671)', async () => {
    const { client } = await victim();
    const head = block(client.fields());
    await cutAfter(client, 1_000, (index) =>
      Buffer.concat([
        frame('headers', streamOf(index), endHeaders | endStream, head),
        frame('window', streamOf(index), 0, number(0)),
      ]),
    );
  });

  test('with malformed requests', async () => {
    const { client } = await victim();
    const head = block([...client.fields(), ['connection', 'close']]);
    const sent = await cutAfter(client, 1_000, (index) =>
      frame('headers', streamOf(index), endHeaders | endStream, head),
    );
    expect(sent).toBeLessThanOrEqual(200);
  });
});

describe('an HTTP/2 client has a limit', () => {
  test('on streams: one more than limits.client_streams ends the session', async () => {
    let asked = 0;
    const { upstream, sidekey } = await granted(() => void (asked += 1), {
      config: { limits: { client_streams: 3 } },
    });
    const client = await openFrames(sidekey, upstream.authority);
    const head = block(client.fields());
    const open = (index: number) => frame('headers', streamOf(index), endHeaders | endStream, head);
    await client.send(...[0, 1, 2, 3].map(open));
    await client.closed();
    expect(asked).toBeLessThanOrEqual(3);
  });

  test('on header fields: a head beyond limits.head_fields is refused, and a far larger head is reset', async () => {
    const { sidekey, upstream } = await victim({ config: { limits: { head_fields: 10 } } });
    const session = await openSession(sidekey, upstream.authority);
    const refused = await ask(session, many(15));
    expect(refused).toMatchObject({ status: 400 });
    expect(refused.body).toContain('more than 10 header fields');
    expect(await ask(session, many(60))).toMatchObject({ code: constants.NGHTTP2_ENHANCE_YOUR_CALM });
    expect(await ask(session, many(2))).toMatchObject({ status: 200 });
  });

  test('on time: an incomplete head ends the connection', async () => {
    const { client } = await victim({ config: { limits: { head_timeout: '1s' } } });
    await client.send(frame('headers', 1, endStream, block(client.fields())));
    await client.closed();
  });

  test('on unread responses: the connection of a client that reads none is closed', async () => {
    const { client, upstream } = await victim();
    client.pause();
    const ping = Buffer.concat(Array.from({ length: 2_000 }, () => frame('ping', 0, 0, Buffer.alloc(8))));
    const flood = async () => {
      for (let sent = 0; sent < 500; sent += 1) await client.send(ping);
    };
    await flood().catch(() => {});
    await client.closed();
    // That of the question what it speaks.
    expect(upstream.connections()).toBe(1);
  });
});
