import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Yields rows in pages. Other work runs between two pages.
 * @param read returns up to `limit` rows after this one (undefined: the first rows), in one order
 */
export async function* inPages<Row>(
  limit: number,
  read: (after: Row | undefined) => Promise<readonly Row[]>,
): AsyncGenerator<readonly Row[]> {
  for (let after: Row | undefined; ;) {
    const rows = await read(after);
    if (rows.length > 0) yield rows;
    if (rows.length < limit) return;
    after = rows.at(-1);
    await nextTurn();
  }
}
