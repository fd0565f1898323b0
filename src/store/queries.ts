import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { compare, type Schema } from './schema.ts';
import type { GrantLock } from './store.ts';

/** Runs a query of an open store; `duplicate` returns the failure for a violated unique constraint. */
export type Run = <Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError) => Promise<Result>;

/** Returns the maker of the failure for a taken name or ID. */
export const taken = (sentence: string, hint?: Hint) => () =>
  new SidekeyError('already_exists', sentence, { hint });

/** Returns the first row of a query, converted; null: there is none. */
export async function first<Row, Result = Row>(
  query: { executeTakeFirst(): Promise<Row | undefined> },
  from = (row: Row) => row as unknown as Result,
): Promise<Result | null> {
  const row = await query.executeTakeFirst();
  return row === undefined ? null : from(row);
}

/** Returns the rows of a query, converted. */
export async function all<Row, Result>(
  query: { execute(): Promise<Row[]> },
  from: (row: Row) => Result,
): Promise<Result[]> {
  return (await query.execute()).map(from);
}

type Written = Partial<
  Record<'numInsertedOrUpdatedRows' | 'numUpdatedRows' | 'numDeletedRows', bigint | undefined>
>;

/** Runs a statement, and returns the number of rows that it inserted, updated or deleted. */
export async function written(statement: { executeTakeFirstOrThrow(): Promise<Written> }): Promise<number> {
  const result = await statement.executeTakeFirstOrThrow();
  return Number(result.numInsertedOrUpdatedRows ?? result.numUpdatedRows ?? result.numDeletedRows ?? 0);
}

/** Runs a statement. */
export async function done(statement: { execute(): Promise<unknown> }): Promise<void> {
  await statement.execute();
}

/** Returns the statement that releases a lock if its holder still has it. */
export function releaseOf(db: Kysely<Schema>, { name, holder }: Pick<GrantLock, 'name' | 'holder'>) {
  return db.deleteFrom('locks').where('name', '=', name).where('holder', '=', holder);
}

/** Returns the operator that finds a value or null by an index. `is not distinct from` uses none. */
export const equals = (value: unknown) => (value === null ? 'is' : '=');

/** Orders a query by these columns, and restricts it to the page after a row with these values. */
export function pageOf<Tables, Table extends keyof Tables, Row>(
  query: SelectQueryBuilder<Tables, Table, Row>,
  columns: readonly string[],
  after: readonly unknown[] | undefined,
  limit?: number,
): SelectQueryBuilder<Tables, Table, Row> {
  const order = sql.join(columns.map((column) => sql.ref(column)));
  let page = query.orderBy(order);
  if (after !== undefined) page = page.where(sql<boolean>`(${order}) > (${sql.join(after)})`);
  return limit === undefined ? page : page.limit(limit);
}

/** Returns rows in the order of their names. Databases differ in their collation of text. */
export function byName<Row extends { readonly name: string }>(rows: readonly Row[]): Row[] {
  return rows.toSorted((a, b) => compare(a.name, b.name));
}

/**
 * Texts of one statement: far below the limits of both databases, and some milliseconds on the thread of the
 * proxy with SQLite.
 */
const batch = 200;

/** Runs a query for any number of texts, in batches. Other work runs between them. */
export async function inBatches<Row>(
  texts: readonly string[],
  query: (some: readonly string[]) => Promise<readonly Row[]>,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let from = 0; from < texts.length; from += batch) {
    if (from > 0) await nextTurn();
    for (const row of await query(texts.slice(from, from + batch))) rows.push(row);
  }
  return rows;
}

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

/** Counts the rows of a query. */
export async function rowsOf<Table extends keyof Schema>(
  query: SelectQueryBuilder<Schema, Table, object>,
): Promise<number> {
  const counted = query.select((row) => row.fn.countAll<number | bigint>().as('rows'));
  return Number((await counted.executeTakeFirstOrThrow()).rows);
}
