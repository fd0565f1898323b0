import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';

/** Lists in pages. */

const usualLimit = 50;
const maxLimit = 200;

/** Returns the query shape of a list: its members, and the members of paging. */
export function pageQuery(query: z.ZodType | undefined): z.ZodType {
  const own = query instanceof z.ZodObject ? query : z.strictObject({});
  return own.extend({
    limit: z.coerce
      .number()
      .int()
      .min(1)
      .max(maxLimit)
      .optional()
      .describe(`Number of entries of a page; default: ${usualLimit}.`),
    cursor: z.string().max(512).optional().describe('`next_cursor` of the page before.'),
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
  return { data, next_cursor: more ? writeCursor(keyOf(last), to - 1) : null };
}

function writeCursor(key: string, place: number): string {
  return Buffer.from(JSON.stringify([key, place])).toString('base64url');
}

function placeAfter<Entry>(
  entries: readonly Entry[],
  keyOf: (entry: Entry) => string,
  cursor: string,
): number {
  const { key, place } = readCursor(cursor);
  const found = entries.findIndex((entry) => keyOf(entry) === key);
  // A removed entry leaves its index to the next one.
  return found < 0 ? place : found + 1;
}

function readCursor(text: string): { readonly key: string; readonly place: number } {
  try {
    const [key, place] = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as [unknown, unknown];
    if (typeof key === 'string' && Number.isSafeInteger(place) && Number(place) >= 0)
      return { key, place: Number(place) };
  } catch {
    // Refused below.
  }
  throw new SidekeyError('input_invalid', 'The cursor is not that of a page.', {
    hint: 'use next_cursor of the page before, or begin without a cursor',
  });
}
