import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** Both ends of a TCP connection over loopback. */
export interface SocketPair {
  /** The end that connected. */
  readonly far: Socket;
  /** The end that was accepted. */
  readonly near: Socket;
  [Symbol.dispose](): void;
}

/** Half-closed ends stay half-closed, as those of the proxy's listener do. */
export async function socketPair(): Promise<SocketPair> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  const [[near]] = (await Promise.all([once(server, 'connection'), once(far, 'connect')])) as [
    [Socket],
    unknown,
  ];
  server.close();
  for (const socket of [far, near]) socket.on('error', () => {});
  return {
    far,
    near,
    [Symbol.dispose]() {
      far.destroy();
      near.destroy();
    },
  };
}

/** Everything that comes until the other side ends. */
export async function textOf(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
  return text;
}

/** Destroys the socket, and resolves when it has said that it is closed: nobody hears that later. */
export async function gone(socket: Socket): Promise<void> {
  const said = once(socket, 'close');
  socket.destroy();
  await said;
}

/** Resolves once the socket has closed, even if that was before. */
export async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => void socket.once('close', () => resolve()));
}
