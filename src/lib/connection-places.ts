import type { Socket } from 'node:net';

/**
 * The open connections of a listener, up to a maximum. At the maximum, a new connection replaces the oldest
 * unauthenticated one: of its own address if that has a quarter of the places, otherwise of any address.
 */
export class ConnectionPlaces {
  readonly #max: () => number;
  /** Open connections by the key of `endsOf`. */
  readonly #open = new Map<string, Socket>();
  /** Addresses of the connections on which no caller has authenticated, oldest first. */
  readonly #unauthenticated = new Map<string, string | undefined>();

  /** @param max maximum number of connections */
  constructor(max: () => number) {
    this.#max = max;
  }

  /** Admits a connection. Returns false if all places belong to authenticated callers. */
  admit(socket: Socket): boolean {
    const ends = endsOf(socket);
    const { remoteAddress } = socket;
    if (this.#open.size >= this.#max()) {
      const oldest = this.#oldest(remoteAddress);
      if (oldest === undefined) return false;
      this.#open.get(oldest)?.destroy();
      this.#remove(oldest);
    }
    this.#open.set(ends, socket);
    this.#unauthenticated.set(ends, remoteAddress);
    socket.once('close', () => this.#remove(ends));
    return true;
  }

  /** Marks a connection as authenticated. No other connection replaces it. */
  authenticated(ends: string): void {
    this.#unauthenticated.delete(ends);
  }

  [Symbol.iterator](): Iterator<Socket> {
    return this.#open.values();
  }

  #oldest(address: string | undefined): string | undefined {
    const ofAddress = [...this.#unauthenticated].filter(([, each]) => each === address);
    const isShareTaken = ofAddress.length >= this.#max() / 4;
    const [[oldest] = []] = isShareTaken ? ofAddress : this.#unauthenticated;
    return oldest;
  }

  #remove(ends: string): void {
    this.#open.delete(ends);
    this.#unauthenticated.delete(ends);
  }
}

/** Returns a key of both ends of a connection, unique among open connections. */
export function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress}:${remotePort} ${localAddress}:${localPort}`;
}
