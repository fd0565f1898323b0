import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import type { Page } from '../store/store.ts';

/** Lists in pages of the store. */

/** Entries of a page, unless its caller names a number. */
const usualLimit = 1_000;
/** Rows that one page reads at most, if some of them are left out. */
const maxRows = 5_000;

/** Members of the input of a list. */
export const pageInput = {
  limit: z.int().min(1, 'is below 1').max(usualLimit, `is above ${usualLimit}`).optional(),
  cursor: z.string().max(512).optional(),
};

/** Place of an entry in a list by name. */
export const namePlace = z.object({ name: z.string() });

interface List<Row extends Place, Place> {
  /** Members of an entry that are its place in the order of the list. */
  readonly place: z.ZodType<Place>;
  /** Reads rows of the store by index. */
  readonly read: (page: Page<Place> & { readonly limit: number }) => Promise<readonly Row[]>;
  /** Reports whether a row is an entry of the list. Default: each is. */
  readonly fits?: (row: Row) => boolean;
}

/**
 * Returns the page after the cursor. It may be short although more follow, because a page reads at most
 * `maxRows` rows. The cursor has the place of a row, so changes elsewhere neither repeat nor hide entries.
 *
 * @throws SidekeyError `input_invalid`
 */
export async function pageOf<Row extends Place, Place>(
  { limit = usualLimit, cursor }: z.output<z.ZodObject<typeof pageInput>>,
  { place, read, fits = () => true }: List<Row, Place>,
): Promise<{ readonly rows: readonly Row[]; readonly next: string | null }> {
  const rows: Row[] = [];
  let after = cursor === undefined ? undefined : readCursor(cursor, place);
  for (let [size, left] = [limit + 1, maxRows]; ; size = Math.min(usualLimit, left)) {
    const batch = await read({ after, limit: size });
    for (const row of batch) {
      const isEntry = fits(row);
      if (isEntry && rows.length === limit) return { rows, next: writeCursor(place.parse(after)) };
      if (isEntry) rows.push(row);
      after = row;
    }
    left -= size;
    if (batch.length < size) return { rows, next: null };
    if (left <= 0) return { rows, next: writeCursor(place.parse(after)) };
  }
}

/** Returns a text for the place of an entry. */
export function writeCursor(place: unknown): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** @throws SidekeyError `input_invalid` */
export function readCursor<Place>(text: string, shape: z.ZodType<Place>): Place {
  try {
    return shape.parse(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
  } catch {
    throw new SidekeyError('input_invalid', 'The cursor is not that of a page.', {
      hint: 'use next_cursor of the page before, or begin without a cursor',
    });
  }
}
