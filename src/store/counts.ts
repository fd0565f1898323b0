import { type Expression, type Kysely, sql } from 'kysely';
import type { ChangeCounts, CountRow } from '../domain/limit-counts.ts';
import type { Run } from './queries.ts';
import type { Schema } from './schema.ts';

/** Returns `Store.changeCounts` of PostgreSQL. `clock`: its time. */
export function changeCounts(db: Kysely<Schema>, run: Run, clock: () => Expression<number>): ChangeCounts {
  return (names, change) =>
    run(() =>
      db.transaction().execute(async (inside) => {
        await sql`delete from counts where name in (
          select name from counts where stale <= ${clock()} for update skip locked limit 1000)`.execute(
          inside,
        );
        await sql`insert into counts (name, at, used, unit, bytes, stale)
          select name, ${clock()}, 0, 1, 0, ${clock()} + 60000 from unnest(${names}::text[]) as name
          on conflict (name) do nothing`.execute(inside);
        // In one order, so that two nodes do not wait for each other.
        const { rows } = await sql<CountRow & { readonly now: number }>`select *, ${clock()} as now
          from counts where name = any(${names}) order by name collate "C" for update`.execute(inside);
        const changed = rows.map(({ now, ...row }) => change(row, now));
        await sql`update counts
          set at = it.at, used = it.used, unit = it.unit, bytes = it.bytes, stale = it.stale
          from json_populate_recordset(null::counts, ${JSON.stringify(changed)}) as it
          where counts.name = it.name`.execute(inside);
        return changed;
      }),
    );
}
