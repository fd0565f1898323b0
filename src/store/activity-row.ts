import type { Expression, ExpressionBuilder, OnConflictDatabase, SqlBool } from 'kysely';
import type { Schema } from './schema.ts';
import type { ActivityChange, GrantActivity } from './store.ts';

/** How far clocks of machines that share a store may be apart; a time that lies further ahead is wrong. */
const wrongClockMs = 300_000;

/** What is known of a grant before anything happened to it. */
const noActivity = {
  usedAt: null,
  refreshedAt: null,
  failedAt: null,
  failure: null,
  lackedAt: null,
  lacked: null as readonly string[] | null,
};

/** The first row of a grant. */
export function firstActivity(change: ActivityChange): Omit<Schema['grant_activity'], 'grant_id'> {
  const { usedAt, refreshedAt, failedAt, failure, lackedAt, lacked } = { ...noActivity, ...change };
  return {
    used_at: usedAt,
    refreshed_at: refreshedAt,
    failed_at: failedAt,
    failure,
    lacked_at: lackedAt,
    lacked: lacked?.join(' ') ?? null,
  };
}

type TimeColumn = 'used_at' | 'refreshed_at' | 'failed_at' | 'lacked_at';

type ActivityRow = ExpressionBuilder<OnConflictDatabase<Schema, 'grant_activity'>, 'grant_activity'>;

/**
 * What changes in the row. Of two processes the later news counts, in whichever order they write it. A time that lies
 * well beyond `now` was noted before a clock was set back, and counts for nothing.
 */
export function newsOf(row: ActivityRow, change: ActivityChange, now: number) {
  const horizon = Math.ceil(now) + wrongClockMs;
  const later = (column: TimeColumn, at: number) =>
    row.and([
      row(`grant_activity.${column}`, '>', at),
      row(`grant_activity.${column}`, '<=', Math.max(at, horizon)),
    ]);
  const unless = <Column extends TimeColumn | 'failure' | 'lacked'>(
    overtaken: Expression<SqlBool>,
    column: Column,
    value: Schema['grant_activity'][Column],
  ) =>
    row
      .case()
      .when(overtaken)
      .then(row.ref(`grant_activity.${column}`))
      .else(row.val(value))
      .end();

  if ('usedAt' in change) {
    const { usedAt } = change;
    return { used_at: unless(later('used_at', usedAt), 'used_at', usedAt) };
  }
  if ('refreshedAt' in change) {
    const { refreshedAt } = change;
    const failedSince = later('failed_at', refreshedAt);
    return {
      refreshed_at: unless(later('refreshed_at', refreshedAt), 'refreshed_at', refreshedAt),
      failed_at: unless(failedSince, 'failed_at', null),
      failure: unless(failedSince, 'failure', null),
    };
  }
  if ('lackedAt' in change) {
    const { lackedAt, lacked } = change;
    const overtaken = later('lacked_at', lackedAt);
    return {
      lacked_at: unless(overtaken, 'lacked_at', lackedAt),
      lacked: unless(overtaken, 'lacked', lacked.join(' ')),
    };
  }
  const { failedAt, failure } = change;
  const overtaken = row.or([later('refreshed_at', failedAt), later('failed_at', failedAt)]);
  return {
    failed_at: unless(overtaken, 'failed_at', failedAt),
    failure: unless(overtaken, 'failure', failure),
  };
}

/** The activity of a row. */
export function fromActivityRow(row: Schema['grant_activity']): GrantActivity {
  return {
    grantId: row.grant_id,
    usedAt: row.used_at,
    refreshedAt: row.refreshed_at,
    failedAt: row.failed_at,
    failure: row.failure,
    lackedAt: row.lacked_at,
    lacked: row.lacked?.split(' ').filter(Boolean) ?? [],
  };
}
