import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { messageRewriting } from '../../../../src/proxy/placeholders/stream.ts';

const secret = 'the-secret-of-the-grant-0123456789';

test('a message truncated by the end of the connection omits a partial credential', async () => {
  let leaks = 0;
  for (const part of [secret.slice(0, -1), 'x'.repeat(secret.length - 1)]) {
    const { toClient } = messageRewriting(
      { texts: [], value: Buffer.alloc(0) },
      { texts: [secret] },
      (times) => {
        leaks += times;
      },
    );
    // A fragment that is not final, of a server.
    toClient.end(Buffer.concat([Buffer.from([0x01, part.length + 2]), Buffer.from(`a ${part}`)]));
    expect((await buffer(toClient)).subarray(2).toString()).toBe('a ');
  }
  expect(leaks).toBe(0);
});
