/**
 * Maps items with at most `atOnce` calls at a time. After a failure, starts no further call, waits for those
 * in progress, and rejects with the error of the first item that failed, in the order of the items.
 */
export async function pooled<T, R>(
  items: readonly T[],
  atOnce: number,
  act: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const failures = new Map<number, unknown>();
  let next = 0;
  const work = async () => {
    while (failures.size === 0 && next < items.length) {
      const place = next;
      next += 1;
      try {
        results[place] = await act(items[place]!);
      } catch (error) {
        failures.set(place, error);
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  if (failures.size > 0) throw failures.get(Math.min(...failures.keys()));
  return results;
}
