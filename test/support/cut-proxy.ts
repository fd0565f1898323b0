import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A TCP relay to a server, which can be cut. */
export interface CutProxy {
  readonly port: number;
  /** Ends all connections, and accepts none until `mend`. */
  cut(): void;
  /** Lets connections hang: nothing passes, and nothing ends, until `mend`. */
  freeze(): void;
  mend(): void;
}

/** Relays a port of 127.0.0.1 to another one. */
export async function cutProxy(port: number): Promise<CutProxy> {
  let state: 'open' | 'cut' | 'frozen' = 'open';
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.on('error', () => {}).on('close', () => sockets.delete(client));
    if (state === 'cut') client.destroy();
    if (state !== 'open') return;
    const upstream = connect(port, '127.0.0.1');
    sockets.add(upstream);
    upstream
      .on('error', () => client.destroy())
      .on('close', () => (sockets.delete(upstream), client.destroy()));
    client.on('close', () => upstream.destroy());
    client.on('data', (bytes) => state === 'frozen' || upstream.write(bytes));
    upstream.on('data', (bytes) => state === 'frozen' || client.write(bytes));
  });
  const end = () => sockets.forEach((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    end();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      state = 'cut';
      end();
    },
    freeze: () => (state = 'frozen'),
    mend() {
      if (state === 'frozen') end();
      state = 'open';
    },
  };
}
