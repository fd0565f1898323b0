import type { ClientIdentity, Peer } from '../policy/peer.ts';

/** What is kept for one peer. */
interface Kept {
  /** Keeps nothing that nobody uses any more. */
  clear(): void;
}

/** Connections by whom they were made to and as whom, each kind of them in a place of its own for each such peer. */
export class ByAuthority<Shelf extends Kept> {
  readonly #shelves = new Map<string, Shelf>();
  readonly #make: (peer: Peer) => Shelf;
  /** Forgets to listen for the end of a peer's identity. */
  readonly #unheeded = new Map<string, () => void>();
  #closing: PromiseWithResolvers<void> | null = null;

  /** @param make makes the place for a peer that has none; it is to say `emptied` when nothing is left there */
  constructor(make: (peer: Peer) => Shelf) {
    this.#make = make;
  }

  /** That of this peer, made where there is none. */
  at(peer: Peer): Shelf {
    const key = keyOf(peer);
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) {
      this.#shelves.set(key, (shelf = this.#make(peer)));
      if (peer.identity !== undefined) this.#heed(key, shelf, peer.identity);
    }
    return shelf;
  }

  find(peer: Peer): Shelf | undefined {
    return this.#shelves.get(keyOf(peer));
  }

  /** Whether nothing is kept for this peer any more: at all, or because its identity has ended. */
  isClosing({ identity }: Peer): boolean {
    return this.#closing !== null || identity?.ended.aborted === true;
  }

  emptied(peer: Peer, shelf: Shelf): void {
    const key = keyOf(peer);
    // Another may stand in its place by now.
    if (this.#shelves.get(key) === shelf) {
      this.#shelves.delete(key);
      this.#unheeded.get(key)?.();
      this.#unheeded.delete(key);
    }
    if (this.#shelves.size === 0) this.#closing?.resolve();
  }

  /** What rests is closed when its identity ends; what is in use then, when it comes back. */
  #heed(key: string, shelf: Shelf, { ended }: ClientIdentity): void {
    const clear = () => shelf.clear();
    ended.addEventListener('abort', clear);
    this.#unheeded.set(key, () => ended.removeEventListener('abort', clear));
  }

  /** Keeps nothing any more; resolves when what is under way has ended. */
  close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers();
      for (const shelf of this.#shelves.values()) shelf.clear();
      if (this.#shelves.size === 0) this.#closing.resolve();
    }
    return this.#closing.promise;
  }
}

/**
 * Whom a connection was made to and verified for, and as whom. Nothing else decides what is sent on it: trust is the same
 * for all connections of one exit, and a certificate of ours that no grant brings follows from the authority.
 */
export function keyOf({ scheme, host, port, identity }: Peer): string {
  const authority = `${scheme}://${host}:${port}`;
  return identity === undefined ? authority : `${authority}#${identity.id}`;
}
