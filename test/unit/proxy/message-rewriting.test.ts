import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { messageRewriting } from '../../../src/proxy/message-rewriting.ts';

const secret = 'the-secret-of-the-grant-0123456789';

test('an echo that is cut off by the end of the connection is redacted, and counted', async () => {
  let echoes = 0;
  const { toClient } = messageRewriting(
    { texts: [], value: Buffer.alloc(0) },
    { texts: [secret] },
    (times) => (echoes += times),
  );
  const part = secret.slice(0, -1);
  // A fragment that is not final, of a server.
  toClient.end(Buffer.concat([Buffer.from([0x01, part.length]), Buffer.from(part)]));
  const got = await buffer(toClient);
  expect(got.subarray(2).toString()).toBe('*'.repeat(part.length));
  expect(echoes).toBe(1);
});
