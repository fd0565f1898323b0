import { describe, expect, test } from 'vitest';
import { openFrames } from '../support/frame-client.ts';
import { granted } from '../support/granted.ts';
import { block, endHeaders, endStream, frame, frameType } from '../support/http2-frames.ts';

/** Most that a frame may have without another agreement (RFC 9113 §4.2). */
const frameBytes = 16_384;

/** A HEADERS frame and the CONTINUATION frames that its block needs. */
function headFrames(stream: number, flags: number, bytes: Buffer): Buffer[] {
  const count = Math.ceil(bytes.length / frameBytes);
  return Array.from({ length: count }, (_none, index) =>
    frame(
      index === 0 ? 'headers' : 'continuation',
      stream,
      (index === 0 ? flags : 0) | (index === count - 1 ? endHeaders : 0),
      bytes.subarray(index * frameBytes, (index + 1) * frameBytes),
    ),
  );
}

/** 120 KB, where the limit is 64. */
const large = Object.fromEntries(Array.from({ length: 8 }, (_none, i) => [`x-${i}`, 'v'.repeat(15_000)]));

describe('before an HTTP/2 client acknowledges SETTINGS, limits.head_bytes applies:', () => {
  test('a head of 120 KB is refused, and the session stays open', async () => {
    const asked: (string | undefined)[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      asked.push(request.url);
      response.end('ok');
    });
    const client = await openFrames(sidekey, upstream.authority, { acknowledges: false });
    await client.send(...headFrames(1, endStream, block(client.fields(large))));
    const refusal = await client.frame((it) => it.type === frameType.data && it.stream === 1);
    expect(JSON.parse(refusal.payload.toString())).toMatchObject({
      code: 'bad_request',
      detail: 'The request has a head that is too large: more than 65536 bytes.',
      hint: 'raise limits.head_bytes',
    });
    await client.send(
      frame('headers', 3, endHeaders | endStream, block(client.fields({ ':path': '/small' }))),
    );
    await client.frame((it) => it.type === frameType.data && it.stream === 3);
    expect(asked).toEqual(['/small']);
    await expect(sidekey.audited((line) => line.event === 'denied')).resolves.toMatchObject({ status: 400 });
  });

  test('trailers of 120 KB are refused, and the body does not count as complete', async () => {
    const outcome = Promise.withResolvers<string>();
    const begun = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted((request) => {
      request.on('end', () => outcome.resolve('whole')).on('error', () => outcome.resolve('cut'));
      request.on('data', () => begun.resolve());
    });
    const client = await openFrames(sidekey, upstream.authority, { acknowledges: false });
    await client.send(
      frame('headers', 1, endHeaders, block(client.fields({ ':method': 'POST' }))),
      frame('data', 1, 0, Buffer.from('some')),
    );
    await begun.promise;
    await client.send(...headFrames(1, endStream, block(Object.entries(large))));
    expect(await outcome.promise).toBe('cut');
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      code: 'bad_request',
    });
  });
});
