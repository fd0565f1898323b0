/** Ports for a program that must be told one. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Ports from here to 32,767 are never given to a client, or to a server that asks for any port. */
const first = 16_384;
let next = randomInt(first);

/** Returns a port of 127.0.0.1 that nothing listens on. Only a program that chooses it too could take it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + next;
    next = (next + 1) % first;
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
