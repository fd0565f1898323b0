import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';

/** Bytes that went through. */
export interface Tunnelled {
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/**
 * Relays bytes both ways until both sides have ended, either has failed, or nothing has moved for `idleMs`.
 * One side's end is passed on, and the other may go on talking (half-close). Never rejects.
 */
export async function relay(client: Duplex, upstream: Socket, idleMs: number): Promise<Tunnelled> {
  let bytesIn = 0;
  let bytesOut = 0;
  const cut = () => {
    client.destroy();
    upstream.destroy();
  };
  const ended = () => {
    if (client.writableFinished && upstream.writableFinished) cut();
  };
  client.on('data', (chunk: Buffer) => (bytesIn += chunk.length));
  upstream.on('data', (chunk: Buffer) => (bytesOut += chunk.length));
  const sides = [client, upstream];
  for (const side of sides) side.on('error', cut).on('finish', ended);
  const closings = sides.map((side) => closing(side).then(cut));
  upstream.setTimeout(idleMs, cut);
  client.pipe(upstream);
  upstream.pipe(client);
  await Promise.all(closings);
  return { bytesIn, bytesOut };
}

/** Resolves when a side has closed. It may have done so before, while the other was being dialed. */
function closing(side: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (side.closed) resolve();
    else side.once('close', () => resolve());
  });
}
