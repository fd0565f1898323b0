/** Counts of limits that machines share through a database. */

/** Usage of a limit, with times in milliseconds of the clock of the database. */
export interface CountRow {
  readonly name: string;
  readonly at: number;
  readonly used: number;
  readonly unit: number;
  readonly bytes: number;
  /** Time from which the count may be deleted. */
  readonly stale: number;
}

/**
 * Changes counts in one transaction, and returns them. `change` gets the time of the database. It may be called
 * again for the same count.
 */
export type ChangeCounts = (
  names: readonly string[],
  change: (row: CountRow, now: number) => CountRow,
) => Promise<readonly CountRow[]>;
