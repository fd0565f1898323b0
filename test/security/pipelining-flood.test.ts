import { describe, expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';

describe('a client that sends requests faster than it is answered', () => {
  test('is cut off and recorded: the queue of a connection is limited', async () => {
    const seen: (string | undefined)[] = [];
    const arrived = Promise.withResolvers<void>();
    const { upstream, sidekey } = await granted(
      (request) => {
        seen.push(request.url);
        arrived.resolve();
      },
      { config: { limits: { pipelined_requests: 8 } } },
    );
    const client = await openTunnel(sidekey, upstream.authority);
    const request = `GET /flood HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`;
    client.send(request.repeat(8));
    await arrived.promise;
    expect(client.socket.readableEnded).toBe(false);
    client.send(request);
    expect(await client.ended()).toBe('');
    await sidekey.audited((line) => line.event === 'denied' && line.code === 'overloaded');
    // No waiting request is sent: the upstream has no open connection left.
    await upstream.allClosed();
    expect(seen).toEqual(['/flood']);
    expect((await sidekey.audit()).filter((line) => line.event === 'access')).toHaveLength(1);
  });
});
