import { PassThrough } from 'node:stream';
import type { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { adaptOnread } from '../../../../src/proxy/upstream/dialer.ts';

it('the read adapter delivers chunks larger than its buffer, and all of a chunk after a pause', async () => {
  const stream = new PassThrough();
  const got: string[] = [];
  const buffer = Buffer.alloc(4);
  adaptOnread(stream as unknown as Socket, {
    buffer,
    callback(size, bytes) {
      expect(bytes).toBe(buffer);
      got.push(buffer.toString('latin1', 0, size));
      return false;
    },
  });
  stream.write('0123456789');
  stream.write('later');
  await new Promise((resolve) => setImmediate(resolve));
  expect(got).toEqual(['0123', '4567', '89']);
  expect(stream.isPaused()).toBe(true);
});
