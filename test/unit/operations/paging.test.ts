import { z } from 'zod';
import { expect, test } from 'vitest';
import { listLeases } from '../../../src/operations/lease.ts';
import { pageOf, writeCursor } from '../../../src/operations/paging.ts';
import { listProposals } from '../../../src/operations/proposal.ts';
import type { Page } from '../../../src/store/store.ts';

interface Row {
  readonly id: number;
}

/** A list of so many rows in a store, the entries among them, and the number of rows that were read. */
function list(count: number, fits: (row: Row) => boolean = () => true) {
  const at = { rows: 0 };
  const read = async ({ after, limit = 0 }: Page<Row>) => {
    const from = after === undefined ? 0 : after.id + 1;
    const rows = Array.from({ length: Math.min(limit, count - from) }, (_, n) => ({ id: from + n }));
    at.rows += rows.length;
    return rows;
  };
  const page = async (limit: number | undefined, cursor: string | null) => {
    const shape = z.object({ id: z.number() });
    const { rows, next } = await pageOf({ limit, cursor: cursor ?? undefined }, { place: shape, read, fits });
    return { ids: rows.map(({ id }) => id), next };
  };
  return { at, page };
}

test.each([
  ['the entries fill pages', 6, 2, () => true, [2, 2, 2]],
  ['the last page is short', 5, 2, () => true, [2, 2, 1]],
  ['rows are left out', 9, 2, ({ id }: Row) => id % 3 === 0, [2, 1]],
  ['no row is an entry', 3, 2, () => false, [0]],
  ['there are no rows', 0, 2, () => true, [0]],
  ['no limit is given', 2_001, undefined, () => true, [1_000, 1_000, 1]],
])('pages have each entry once, if %s', async (_, count, limit, fits, sizes) => {
  const { page } = list(count, fits);
  const pages: number[][] = [];
  let cursor: string | null = null;
  do {
    const { ids, next } = await page(limit, cursor);
    pages.push(ids);
    cursor = next;
  } while (cursor !== null);
  expect(pages.map(({ length }) => length)).toEqual(sizes);
  expect(pages.flat()).toEqual(
    Array.from({ length: count }, (__, id) => ({ id })).flatMap((row) => (fits(row) ? [row.id] : [])),
  );
});

test('a page reads one row more than it has, and at most 5,000 if rows are left out', async () => {
  const whole = list(100_000);
  await whole.page(3, null);
  expect(whole.at.rows).toBe(4);
  const sparse = list(100_000, ({ id }) => id === 7_000);
  const first = await sparse.page(3, null);
  expect(first).toEqual({ ids: [], next: expect.any(String) });
  expect(sparse.at.rows).toBe(5_000);
  expect((await sparse.page(3, first.next)).ids).toEqual([7_000]);
  expect(sparse.at.rows).toBe(10_000);
});

test.each(['x', 'e30', 'bnVsbA'])(
  'the cursor %s, which is no place in the list, is refused',
  async (cursor) => {
    await expect(list(3).page(2, cursor)).rejects.toMatchObject({ code: 'input_invalid' });
  },
);

// PostgreSQL refuses such a number, which would look like an outage.
test.each([
  ['leases', listLeases, { expiresAt: 1.5, id: 'x' }],
  ['leases', listLeases, { expiresAt: 1e300, id: 'x' }],
  ['proposals', listProposals, { askedAt: 1.5, id: 'x' }],
  ['proposals', listProposals, { askedAt: 1e300, id: 'x' }],
])('a cursor of %s with a time that no row can have is refused', async (_, { run }, place) => {
  const page = { cursor: writeCursor(place) };
  const withoutStore = { store: null } as never;
  await expect((async () => run(withoutStore, page, 0))()).rejects.toMatchObject({ code: 'input_invalid' });
});
