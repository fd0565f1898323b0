import type { Socket } from 'node:net';

/**
 * Resolves when the socket has come to an event of its beginning. Rejects with its error, or with the reason of the
 * signal; the socket is destroyed then, and what else becomes of it concerns nobody.
 */
export function until(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      socket.off(event, come).off('error', fail).off('close', close);
      signal.removeEventListener('abort', abort);
    };
    const come = () => {
      leave();
      resolve();
    };
    const fail = (cause: Error) => {
      leave();
      discard(socket);
      reject(cause);
    };
    const close = () => fail(new Error('closed during the handshake'));
    const abort = () => fail(signal.reason as Error);
    if (signal.aborted) {
      abort();
      return;
    }
    socket.once(event, come).once('error', fail).once('close', close);
    signal.addEventListener('abort', abort, { once: true });
  });
}

/** Destroys a socket that nobody waits for any more: it may still fail, and nobody is left to tell. */
export function discard(socket: Socket): void {
  socket.on('error', () => {}).destroy();
}

/** The promise, or a rejection with the reason of the signal, whichever is first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
