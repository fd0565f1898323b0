import type { Authority } from '../policy/authority.ts';

/** What is kept for one authority. */
interface Kept {
  /** Keeps nothing that nobody uses any more. */
  clear(): void;
}

/** Connections by whom they were made to, each kind of them in a place of its own for each authority. */
export class ByAuthority<Shelf extends Kept> {
  readonly #shelves = new Map<string, Shelf>();
  readonly #make: (authority: Authority) => Shelf;
  #closing: PromiseWithResolvers<void> | null = null;

  /** @param make makes the place for an authority that has none; it is to say `emptied` when nothing is left there */
  constructor(make: (authority: Authority) => Shelf) {
    this.#make = make;
  }

  /** That of this authority, made where there is none. */
  at(authority: Authority): Shelf {
    const key = identityOf(authority);
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) this.#shelves.set(key, (shelf = this.#make(authority)));
    return shelf;
  }

  find(authority: Authority): Shelf | undefined {
    return this.#shelves.get(identityOf(authority));
  }

  get isClosing(): boolean {
    return this.#closing !== null;
  }

  emptied(authority: Authority, shelf: Shelf): void {
    const key = identityOf(authority);
    // Another may stand in its place by now.
    if (this.#shelves.get(key) === shelf) this.#shelves.delete(key);
    if (this.#shelves.size === 0) this.#closing?.resolve();
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
 * Whom a connection was made to and verified for. Nothing else decides what is sent on it: trust is the same for all
 * connections of one exit, and our own certificate, if there is one, follows from the authority.
 */
export function identityOf({ scheme, host, port }: Authority): string {
  return `${scheme}://${host}:${port}`;
}
