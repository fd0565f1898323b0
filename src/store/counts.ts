import { type Expression, type Kysely, sql } from 'kysely';
import type { Run } from './queries.ts';
import type { Schema } from './schema.ts';
import type { CountRow, SharedCounts } from './store.ts';

/** Maximum number of stale counts that one call deletes. */
const maxStale = 1_000;

/** Returns the counts of limits in PostgreSQL, by the clock of the database. */
export function sqlCounts(db: Kysely<Schema>, run: Run, clock: () => Expression<number>): SharedCounts {
  return {
    change: (names, change) =>
      run(() =>
        db.transaction().execute(async (inside) => {
          await sql`delete from counts where name in (
            select name from counts where stale <= ${clock()} for update skip locked limit ${sql.lit(maxStale)}
          )`.execute(inside);
          await sql`insert into counts (name, at, used, unit, bytes, stale)
            select name, ${clock()}, 0, 1, 0, ${clock()} + 60000 from unnest(${names}::text[]) as name
            on conflict (name) do nothing`.execute(inside);
          // In one order, so that two nodes do not wait for each other.
          const { rows } = await sql<CountRow & { readonly now: number }>`
            select name, at, used, unit, bytes, stale, ${clock()} as now from counts
            where name = any(${names}) order by name collate "C" for update`.execute(inside);
          const changed = rows.map(({ now, ...row }) => change(row, now));
          const values = (['name', 'at', 'used', 'unit', 'bytes', 'stale'] as const).map((column) =>
            changed.map((row) => row[column]),
          );
          await sql`update counts set at = it.at, used = it.used, unit = it.unit, bytes = it.bytes, stale = it.stale
            from unnest(${values[0]}::text[], ${values[1]}::bigint[], ${values[2]}::bigint[],
              ${values[3]}::bigint[], ${values[4]}::bigint[], ${values[5]}::bigint[])
              as it (name, at, used, unit, bytes, stale)
            where counts.name = it.name`.execute(inside);
          return changed;
        }),
      ),
  };
}
