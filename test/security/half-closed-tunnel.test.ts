/**
 * A client that opened a tunnel, and ended its side without a word in it, held its connection for a minute.
 */
import { expect, test } from 'vitest';
import { openClient } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { upstreamHost } from '../support/upstream.ts';

test('a tunnel whose client half-closes before the handshake is closed at once', async () => {
  const sidekey = await startSidekey({ domains: { [upstreamHost]: { grant: 'acme' } } });
  const client = await openClient(sidekey);
  client.send(`CONNECT ${upstreamHost}:443 HTTP/1.1\r\nHost: ${upstreamHost}\r\n\r\n`);
  expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
  client.socket.end();
  expect(await client.ended()).toBe('');
}, 5_000);
