/**
 * The refusal of a WebSocket handshake ends with its connection. Broken off by its upstream, it was ended in
 * good order for a client outside TLS, which took what it had for the whole.
 */
import { expect, test } from 'vitest';
import { onHeads } from '../support/granted.ts';
import { openClient } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startRawPlainUpstream } from '../support/upstream.ts';

test.each([
  ['a length', 'Content-Length: 20\r\n\r\npart'],
  ['chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
  ['chunks, one of them bad', 'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0x0\r\n\r\n'],
])('a truncated refusal with %s is reset instead of ended', async (_name, rest) => {
  const upstream = await startRawPlainUpstream((socket) => {
    onHeads(socket, () => socket.end(`HTTP/1.1 403 Forbidden\r\n${rest}`));
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
  const client = await openClient(sidekey);
  const closed = new Promise((resolve) => client.socket.once('close', resolve));
  let hasEnded = false;
  client.socket.on('end', () => {
    hasEnded = true;
    client.socket.end();
  });
  client.send(
    `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  await closed;
  expect(hasEnded).toBe(false);
  expect(client.received()).toContain('403 Forbidden');
});
