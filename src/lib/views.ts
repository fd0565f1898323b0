/** Maximum length of a cached view: at most 1,024 objects for a buffer. */
const longestKept = 1_024;

/**
 * Returns a function that returns the first `length` bytes of a buffer as a view. Caches views, because
 * creating one costs more than copying a line.
 */
export function viewsOf(bytes: Buffer): (length: number) => Buffer {
  const views: (Buffer | undefined)[] = [];
  return (length) => {
    if (length > longestKept) return bytes.subarray(0, length);
    return (views[length] ??= bytes.subarray(0, length));
  };
}
