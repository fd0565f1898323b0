import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** An HTTPS server that listens, and that can be rough with its connections. */
export interface Listener {
  readonly server: Server;
  readonly port: number;
  /** Cuts the connection that a request came on with a TCP reset. */
  breakConnection(request: IncomingMessage): void;
  /** Stops listening and ends every connection, whatever is under way on it. */
  close(): Promise<void>;
}

interface Binding {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly key: string; readonly cert: string };
}

/** Starts to listen. Rejects with Node's error (`EADDRINUSE`, …) where that cannot be. */
export async function listen({ host, port, tls }: Binding): Promise<Listener> {
  const server = createServer({ key: tls.key, cert: tls.cert, minVersion: 'TLSv1.2' });
  // The TCP sockets beneath the TLS ones, by remote port: a reset can only be sent from there.
  const sockets = new Map<number | undefined, Socket>();
  server.on('connection', (socket: Socket) => {
    const { remotePort } = socket;
    sockets.set(remotePort, socket);
    socket.once('close', () => sockets.delete(remotePort));
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    server,
    port: (server.address() as AddressInfo).port,
    breakConnection(request) {
      sockets.get(request.socket.remotePort)?.resetAndDestroy();
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets.values()) socket.destroy();
      await closed;
    },
  };
}
