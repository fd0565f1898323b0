/** Maximum length of a cached view: at most 1,024 objects for a buffer. */
const longestKept = 1_024;

/**
 * Returns a function that returns the first `length` bytes of a buffer as a view. Caches views, because
 * creating one costs more than copying a line.
 */
export function viewsOf(bytes: Buffer): (length: number) => Buffer {
  const kept: (Buffer | undefined)[] = [];
  return (length) => {
    if (length > longestKept) return bytes.subarray(0, length);
    return (kept[length] ??= bytes.subarray(0, length));
  };
}
