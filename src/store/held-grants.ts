import type { GrantRecord } from './store.ts';

type ReadGrant = Pick<GrantRecord, 'id' | 'revision'>;

/** Bits of a hash: the first four hexadecimal digits of an ID, which are random. */
export const hashBits = 16;

/** Grants that a process keeps in memory, for the poll of their refreshes (see `watchChanges`). */
export class HeldGrants {
  /** Number of additions by hash. */
  readonly #counts = new Uint32Array(2 ** hashBits);
  #size = 0;
  #read: ReadGrant[] = [];

  /** Counts a grant in memory. Each addition needs one `remove`. */
  add(id: string): void {
    this.#counts[hashOf(id)]! += 1;
    this.#size += 1;
  }

  remove(id: string): void {
    this.#counts[hashOf(id)]! -= 1;
    this.#size -= 1;
  }

  /** Notes a grant that was read from the store and added. */
  noteRead({ id, revision }: ReadGrant): void {
    this.#read.push({ id, revision });
  }

  /** Returns the grants that were read since the last call. */
  takeRead(): readonly ReadGrant[] {
    const read = this.#read;
    this.#read = [];
    return read;
  }

  /** Returns a bit for each hash of a grant in memory: about 16 bits for each grant, at most 8 KiB. */
  mask(): Buffer {
    const bits = Math.min(Math.max(Math.ceil(Math.log2(16 * this.#size + 1)), 6), hashBits);
    const mask = Buffer.alloc(2 ** bits / 8);
    const folded = 2 ** bits - 1;
    for (let hash = 0; hash < this.#counts.length; hash += 1)
      if (this.#counts[hash]! > 0) mask[(hash & folded) >> 3]! |= 1 << (hash & 7);
    return mask;
  }
}

/** Other IDs than UUIDs are always reported, so their hash is not used. */
function hashOf(id: string): number {
  return Number.parseInt(id.slice(0, 4), 16) & (2 ** hashBits - 1);
}
