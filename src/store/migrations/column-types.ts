import type { ColumnDataType } from 'kysely';

/** Column types that databases name differently. */
export interface ColumnTypes {
  readonly binary: ColumnDataType;
}
