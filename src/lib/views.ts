/** Longest views that are kept: 1,024 objects for one buffer at most. */
const longestKept = 1_024;

/**
 * Returns a function that returns the first `length` bytes of a buffer as a view. Views are kept: making one costs more than
 * copying a line.
 */
export function viewsOf(bytes: Buffer): (length: number) => Buffer {
  const kept: (Buffer | undefined)[] = [];
  return (length) => {
    if (length > longestKept) return bytes.subarray(0, length);
    return (kept[length] ??= bytes.subarray(0, length));
  };
}
