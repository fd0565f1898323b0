import type { SidekeyError } from '../lib/errors.ts';
import { compare } from './schema.ts';

/** Runs a query of an open store; `duplicate` returns the failure for a violated unique constraint. */
export type Run = <Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError) => Promise<Result>;

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

/** Maximum number of values in a list of a statement: SQLite takes 32,766 in all, and `find` has three lists. */
const maxValues = 5_000;

/** Reads the rows of a list of values, in several statements if the list is long. */
export async function inParts<Value, Row>(
  values: readonly Value[],
  read: (some: readonly Value[]) => Promise<Row[]>,
): Promise<Row[]> {
  if (values.length <= maxValues) return read(values);
  const rows: Row[] = [];
  for (let from = 0; from < values.length; from += maxValues)
    for (const row of await read(values.slice(from, from + maxValues))) rows.push(row);
  return rows;
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

/** Returns rows in the order of their names. Databases differ in their collation of text. */
export function byName<Row extends { readonly name: string }>(rows: readonly Row[]): Row[] {
  return rows.toSorted((a, b) => compare(a.name, b.name));
}
