import { z } from 'zod';
import { optional } from '../lib/text.ts';
import { readCursor, writeCursor } from '../operations/paging.ts';

/** Lists in pages. Those of the store are `operations/paging.ts`. */

export const usualLimit = 50;
const maxLimit = 200;
/** Key and index of the last entry of a page. */
const entryPlace = z.tuple([z.string(), z.int().min(0)]);

/** Returns the query shape of a list: its members, and the members of paging. */
export function pageQuery(query: z.ZodType | undefined): z.ZodType {
  const own = query instanceof z.ZodObject ? query : z.strictObject({});
  return own.extend({
    limit: optional(
      z.coerce.number().int().min(1).max(maxLimit),
      `Number of entries of a page; default: ${usualLimit}.`,
    ),
    cursor: optional(z.string().max(512), '`next_cursor` of the page before.'),
  });
}

/** A requested page. */
export interface Page {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** Returns the shape of a page. */
export function pageShape(entry: z.ZodType): z.ZodType {
  return z.strictObject({
    data: z.array(entry),
    next_cursor: z.string().nullable().describe('Cursor of the next page; null: this is the last one.'),
  });
}

/**
 * Returns the page after the cursor. The cursor has the key and the index of the last entry, so entries that
 * are added or removed elsewhere neither repeat nor hide others.
 *
 * @throws SidekeyError `input_invalid`
 */
export function pageOf<Entry>(
  entries: readonly Entry[],
  keyOf: (entry: Entry) => string,
  { limit = usualLimit, cursor }: Page,
): { readonly data: readonly Entry[]; readonly next_cursor: string | null } {
  const from = cursor === undefined ? 0 : placeAfter(entries, keyOf, cursor);
  const to = from + limit;
  const data = entries.slice(from, to);
  const last = data.at(-1);
  const more = last !== undefined && to < entries.length;
  return { data, next_cursor: more ? writeCursor([keyOf(last), to - 1]) : null };
}

function placeAfter<Entry>(
  entries: readonly Entry[],
  keyOf: (entry: Entry) => string,
  cursor: string,
): number {
  const [key, place] = readCursor(cursor, entryPlace);
  const found = entries.findIndex((entry) => keyOf(entry) === key);
  // A removed entry leaves its index to the next one.
  return found < 0 ? place : found + 1;
}
