import { connect } from 'node:net';
import { SidekeyError } from '../../lib/errors.ts';

/** An address that no host has (RFC 5737), on a port that rules redirect. */
export const nowhere = '192.0.2.1:443';

/** Milliseconds until a probe must return. It stays on this machine. */
const probeMs = 500;

/**
 * Connects to an address that no host has. If rules redirect the probe to this process, it gets our own name.
 *
 * @param instance name of this process
 * @throws SidekeyError `redirect_loop`
 */
export async function probeLoop(instance: string): Promise<void> {
  const [host = '', port] = nowhere.split(':');
  const socket = connect({ host, port: Number(port) });
  const answer = await new Promise<string>((resolve) => {
    const none = () => resolve('');
    socket.setTimeout(probeMs, none).once('data', (bytes) => resolve(bytes.toString()));
    socket.once('error', none).once('end', none);
  });
  socket.destroy();
  if (answer === instance) throw new SidekeyError('redirect_loop');
}
