import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { readBeforeFailing } from '../../../../src/proxy/upstream/h1-connection.ts';

/** Opens a connection whose server answers the first bytes, and resets it. The answer is unread. */
async function resetConnection(): Promise<{ readonly socket: Socket; readonly text: () => string }> {
  const server = createServer((socket) => {
    socket.once('data', () => socket.pause().write('the answer', () => socket.resetAndDestroy()));
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const buffer = Buffer.alloc(100);
  let text = '';
  const callback = (size: number) => {
    text += buffer.toString('latin1', 0, size);
    return true;
  };
  const { port } = server.address() as AddressInfo;
  const socket = readBeforeFailing(connect({ port, host: '127.0.0.1', onread: { buffer, callback } }));
  const closed = once(server, 'connection').then(([peer]) => once(peer as Socket, 'close'));
  await once(socket, 'connect');
  socket.pause().write('a request');
  await closed;
  await pause(20);
  return { socket, text: () => text };
}

test('a write that fails on a reset connection leaves what has arrived readable, and then fails', async () => {
  const { socket, text } = await resetConnection();
  socket.write('more of the request');
  socket.write('and more');
  await pause(20);
  expect(socket.destroyed).toBe(false);
  expect(socket.writableLength).toBeGreaterThan(0);
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve));
  let erroredAtEnd: boolean | null = null;
  socket.once('end', () => (erroredAtEnd = socket.errored !== null));
  socket.resume();
  expect(['EPIPE', 'ECONNRESET']).toContain((await failed).code);
  expect(text()).toBe('the answer');
  // A system that reports the reset to the reader has no end.
  expect(erroredAtEnd).not.toBe(false);
});
