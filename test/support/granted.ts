import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Credential } from '../../src/domain/credential.ts';
import { startSidekey, type SidekeyOptions, type TestSidekey } from './sidekey.ts';
import { startRawUpstream, startUpstream, type Upstream } from './upstream.ts';

/** An upstream, and a proxy with a grant for it. */
export interface Granted {
  readonly upstream: Upstream;
  readonly sidekey: TestSidekey;
}

export async function granted(listener: RequestListener, options: SidekeyOptions = {}): Promise<Granted> {
  return grantedTo(await startUpstream(listener), options);
}

/**
 * Starts an upstream that gets each connection after its TLS handshake, and a proxy with a grant for it.
 */
export async function grantedRaw(
  onSocket: (socket: TLSSocket) => void,
  options: SidekeyOptions = {},
): Promise<Granted> {
  return grantedTo(await startRawUpstream(onSocket), options);
}

export async function grantedTo(
  upstream: Upstream,
  options: SidekeyOptions = {},
  credential?: Credential,
): Promise<Granted> {
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } }, ...options });
  await sidekey.grant([upstream.authority], credential === undefined ? {} : { credential });
  return { upstream, sidekey };
}

/** Calls back with each complete request head (as text) on a raw connection without bodies. */
export function onHeads(socket: Socket, answer: (head: string, count: number) => void): void {
  let text = '';
  let count = 0;
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const head = text.slice(0, end + 4);
      text = text.slice(end + 4);
      count += 1;
      answer(head, count);
    }
  });
}
