import type { Grant } from '../domain/grant.ts';

/** Bits of a hash: the first four hexadecimal digits of an ID, which are random. */
export const hashBits = 16;

/** Grants that a process keeps in memory, for the poll of their refreshes (see `watchChanges`). */
export class HeldGrants {
  /** Number of grants for each hash. */
  readonly #counts = new Uint32Array(2 ** hashBits);
  #size = 0;
  /** Grants that were read from the store since the last poll. */
  read: Pick<Grant, 'id' | 'revision'>[] = [];

  /** Counts a grant that was added to the memory (1) or removed (-1). */
  count(id: string, by: 1 | -1): void {
    // Other IDs than UUIDs are always reported.
    this.#counts[Number.parseInt(id.slice(0, 4), 16) & (2 ** hashBits - 1)]! += by;
    this.#size += by;
  }

  /** Returns a bit for each hash of a grant in memory: about 16 bits for each grant, at most 8 KiB. */
  mask(): Buffer {
    const size = 2 ** Math.min(Math.max(Math.ceil(Math.log2(16 * this.#size + 1)), 6), hashBits);
    const mask = Buffer.alloc(size / 8);
    for (let hash = 0; hash < this.#counts.length; hash += 1)
      if (this.#counts[hash]! > 0) mask[(hash & (size - 1)) >> 3]! |= 1 << (hash & 7);
    return mask;
  }
}
