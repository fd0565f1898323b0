/** Bytes of a block, whose hash is an index of the table. */
const blockBytes = 3;
const tableSize = 1 << 16;

/**
 * Makes a search for many patterns in one pass (Wu and Manber, 1994). If the shortest pattern has eight
 * bytes, it reads every sixth byte. The memory of a process can have 100 MB: one pass for each of 50 patterns
 * takes seconds.
 *
 * @param patterns each at least as long as a block
 * @returns a function that returns the indexes of the patterns that the bytes contain
 */
export function searchAll(patterns: readonly Buffer[]): (bytes: Buffer) => ReadonlySet<number> {
  const shortest = Math.min(...patterns.map((pattern) => pattern.length));
  const skips = new Uint8Array(tableSize).fill(Math.min(255, shortest - blockBytes + 1));
  /** The patterns whose first `shortest` bytes end with a block of this hash. */
  const candidates = new Map<number, number[]>();
  for (const [index, pattern] of patterns.entries()) {
    for (let end = blockBytes - 1; end < shortest; end += 1) {
      const hash = hashAt(pattern, end);
      skips[hash] = Math.min(skips[hash]!, shortest - 1 - end);
    }
    const last = hashAt(pattern, shortest - 1);
    candidates.set(last, [...(candidates.get(last) ?? []), index]);
  }
  return (bytes) => {
    const found = new Set<number>();
    for (let end = shortest - 1; end < bytes.length;) {
      const hash = hashAt(bytes, end);
      const skip = skips[hash]!;
      if (skip > 0) end += skip;
      else {
        end += 1;
        const start = end - shortest;
        for (const index of candidates.get(hash)!) {
          const pattern = patterns[index]!;
          if (bytes.subarray(start, start + pattern.length).equals(pattern)) found.add(index);
        }
      }
    }
    return found;
  };
}

/** Returns the hash of the block that ends at this index. */
function hashAt(bytes: Buffer, end: number): number {
  return (bytes[end]! | (bytes[end - 1]! << 8)) ^ (bytes[end - 2]! << 4);
}
