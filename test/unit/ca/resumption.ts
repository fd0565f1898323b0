import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { connect, TLSSocket, type SecureContext, type SecureVersion } from 'node:tls';

/** The result of a client's handshake. */
export interface Handshake {
  readonly isResumed: boolean;
  /** The last ticket, for the next connection. */
  readonly session: Buffer;
}

/** A client that trusts only this CA. */
export interface Client {
  readonly ca: string;
  readonly host: string;
  readonly version: SecureVersion;
  /** The session to resume. */
  readonly session?: Buffer | undefined;
}

/**
 * Makes a handshake between a client and a server with this context, on a TLS socket as the proxy makes it.
 */
export async function handshakeWith(context: SecureContext, client: Client): Promise<Handshake> {
  const server = createServer((socket) => {
    const secure = new TLSSocket(socket, { isServer: true, secureContext: context });
    secure.on('error', () => socket.destroy());
    // The tickets arrive before this byte.
    secure.once('secure', () => secure.write('x'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    servername: client.host,
    ca: client.ca,
    minVersion: client.version,
    maxVersion: client.version,
    session: client.session,
  });
  let session: Buffer | undefined;
  socket.on('session', (given) => (session = given));
  try {
    await once(socket, 'data');
    return { isResumed: socket.isSessionReused(), session: session ?? socket.getSession()! };
  } finally {
    socket.destroy();
    server.close();
    await once(server, 'close');
  }
}
