import type { ColumnDataType } from 'kysely';
import type { Migration } from 'kysely/migration';
import { first } from './0001-first.ts';

/** Column types that databases name differently. */
export interface ColumnTypes {
  readonly binary: ColumnDataType;
}

/** Migrations by name. They run in the order of their names, and one that was released never changes again. */
export type Migrations = Readonly<Record<string, Migration>>;

/** All of them, in code: nothing is looked for on disk. */
export function migrations(types: ColumnTypes): Migrations {
  return { '0001-first': first(types) };
}
