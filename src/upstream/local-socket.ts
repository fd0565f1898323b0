import { connect, type Socket } from 'node:net';

/**
 * Connects to a stream socket of this machine by its path, such as that of a log collector. There is no address to be
 * checked, and a path comes from the config file alone, never from a request. Rejects with the system's error.
 */
export function connectLocal(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('error', reject).once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
