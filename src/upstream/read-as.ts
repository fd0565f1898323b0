import type { OnReadOpts, Socket } from 'node:net';

/**
 * Has a socket that exists read as `onread` of a socket that is to be made would: through the one buffer, and on while
 * the callback says so. Costs a copy.
 */
export function readAs(socket: Socket, onread: OnReadOpts): void {
  const into = typeof onread.buffer === 'function' ? onread.buffer() : onread.buffer;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += into.length) {
      const piece = chunk.subarray(at, at + into.length);
      into.set(piece);
      // What has been read is handed over all the same.
      if (!onread.callback(piece.length, into)) socket.pause();
    }
  });
}
