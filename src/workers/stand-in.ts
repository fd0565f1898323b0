import { createServer, type Socket } from 'node:net';
import { SidekeyError } from '../errors.ts';
import { refuseOn } from '../proxy/socket-reply.ts';
import type { SocketHandle } from './listening-socket.ts';

/** Connections that are answered at once; those beyond are closed. */
const mostAnswered = 256;

/** Refuses connections while no worker serves: left in the queue of the system, they would wait without a word. */
export interface StandIn {
  /** Closes the handle too. What waits in the queue stays there for whoever has another handle of the socket. */
  close(): void;
}

/** @param retryAfterMs when a worker may serve again */
export function startStandIn(handle: SocketHandle, retryAfterMs: number): StandIn {
  const refused = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (refused.size >= mostAnswered) {
      socket.destroy();
      return;
    }
    refused.add(socket);
    socket.once('close', () => refused.delete(socket));
    refuseOn(
      socket,
      new SidekeyError('overloaded', 'The proxy does not serve: its workers end soon after they start.', {
        hint: 'try again in a few seconds; the log of Sidekey says how the workers ended',
        retryAfterMs,
      }),
    );
  });
  server.listen(handle);
  return { close: () => void server.close() };
}
