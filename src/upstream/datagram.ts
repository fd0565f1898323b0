import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import type { Router } from './resolve.ts';

/** A UDP socket for one address. */
export interface Datagrams {
  /** Resolves when the system has accepted the message; UDP reports no delivery. */
  send(message: Uint8Array): Promise<void>;
  close(): void;
}

/**
 * Opens UDP to the first allowed address of a host. There is no UDP through a parent proxy.
 *
 * Rejects with SidekeyError `address_blocked` or `upstream_unreachable`.
 */
export async function openDatagrams(route: Router, host: string, port: number): Promise<Datagrams> {
  const found = await route({ scheme: 'http', host, port });
  if (found.kind !== 'direct') {
    throw new SidekeyError('upstream_unreachable', `UDP to ${host} cannot go through upstream.proxy.`, {
      hint: `list ${host} in upstream.no_proxy if it can be reached directly, or use TCP or TLS`,
    });
  }
  const [checked] = found.addresses;
  if (checked === undefined)
    throw new SidekeyError('upstream_unreachable', `The name ${host} has no address.`);
  const socket = createSocket(checked.family === 6 ? 'udp6' : 'udp4');
  // A closed port answers by ICMP, which the system reports at some later time.
  socket.on('error', () => {}).unref();
  return {
    send: (message) =>
      new Promise((done, reject) => {
        socket.send(message, port, checked.address, (error) => {
          if (error === null) done();
          else reject(error);
        });
      }),
    close: () => socket.close(),
  };
}

/**
 * Connects to a Unix-domain socket, such as that of a log collector. The path comes from the config, never from a request.
 * Rejects with the system's error.
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
