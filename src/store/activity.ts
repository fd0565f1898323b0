import {
  type Expression,
  type ExpressionBuilder,
  type Kysely,
  type OnConflictDatabase,
  type RawBuilder,
  sql,
  type SqlBool,
} from 'kysely';
import { all, done, first, inBatches, type Run } from './queries.ts';
import { type ActivityRow, type Schema, unsynced, wrongClockMs } from './schema.ts';
import type { ActivityChange, GrantActivity, Store } from './store.ts';

/** @param now milliseconds since the epoch */
export function sqlActivity(db: Kysely<Schema>, run: Run, now: () => number): Store['activity'] {
  const activity = () => db.selectFrom('grantActivity').selectAll();
  return {
    get: (grantId) => run(() => first(activity().where('grantId', '=', grantId), fromActivityRow)),
    some: (ids) =>
      run(() => inBatches(ids, (some) => all(activity().where('grantId', 'in', some), fromActivityRow))),
    note: (grantId, change) =>
      run(() => done(activityNote(db, grantId, change, { now: now() }).modifyEnd(unsynced))),
  };
}

/** Returns the statement that notes a change. @param condition default: none */
export function activityNote(
  db: Kysely<Schema>,
  grantId: string,
  change: ActivityChange,
  { now, condition = sql<boolean>`true` }: { readonly now: number; readonly condition?: RawBuilder<boolean> },
) {
  const { lacked, ...first } = { ...noActivity, ...change };
  const values = { ...first, lacked: lacked?.join(' ') ?? null };
  const columns = Object.keys(values) as (keyof typeof values)[];
  return db
    .insertInto('grantActivity')
    .columns(['grantId', ...columns])
    .expression(
      db
        .selectFrom('grants')
        .where('id', '=', grantId)
        .where(condition)
        .select((row) => ['id', ...columns.map((column) => row.val(values[column]).as(column))]),
    )
    .onConflict((conflict) => conflict.column('grantId').doUpdateSet((row) => newsOf(row, change, now)));
}

/** The activity of a new grant. */
const noActivity = {
  usedAt: null,
  refreshedAt: null,
  failedAt: null,
  failure: null,
  lackedAt: null,
  lacked: null as readonly string[] | null,
};

type TimeColumn = 'usedAt' | 'refreshedAt' | 'failedAt' | 'lackedAt';

type ActivityUpdate = ExpressionBuilder<OnConflictDatabase<Schema, 'grantActivity'>, 'grantActivity'>;

/**
 * Returns the changes of the row. The later of two facts is kept, in any order of the writes. A time far
 * beyond `now` was stored before a clock was set back, and is ignored.
 */
function newsOf(row: ActivityUpdate, change: ActivityChange, now: number) {
  const horizon = Math.ceil(now) + wrongClockMs;
  const later = (column: TimeColumn, at: number) =>
    row.and([
      row(`grantActivity.${column}`, '>', at),
      row(`grantActivity.${column}`, '<=', Math.max(at, horizon)),
    ]);
  const unless = <Column extends TimeColumn | 'failure' | 'lacked'>(
    overtaken: Expression<SqlBool>,
    column: Column,
    value: Schema['grantActivity'][Column],
  ) =>
    row
      .case()
      .when(overtaken)
      .then(row.ref(`grantActivity.${column}`))
      .else(row.val(value))
      .end();

  if ('usedAt' in change) {
    const { usedAt } = change;
    return { usedAt: unless(later('usedAt', usedAt), 'usedAt', usedAt) };
  }
  if ('refreshedAt' in change) {
    const { refreshedAt } = change;
    const failedSince = later('failedAt', refreshedAt);
    return {
      refreshedAt: unless(later('refreshedAt', refreshedAt), 'refreshedAt', refreshedAt),
      failedAt: unless(failedSince, 'failedAt', null),
      failure: unless(failedSince, 'failure', null),
    };
  }
  if ('lackedAt' in change) {
    const { lackedAt, lacked } = change;
    const overtaken = later('lackedAt', lackedAt);
    return {
      lackedAt: unless(overtaken, 'lackedAt', lackedAt),
      lacked: unless(overtaken, 'lacked', lacked.join(' ')),
    };
  }
  const { failedAt, failure } = change;
  const overtaken = row.or([later('refreshedAt', failedAt), later('failedAt', failedAt)]);
  return {
    failedAt: unless(overtaken, 'failedAt', failedAt),
    failure: unless(overtaken, 'failure', failure),
  };
}

function fromActivityRow(row: ActivityRow): GrantActivity {
  return { ...row, lacked: row.lacked?.split(' ').filter(Boolean) ?? [] };
}
