import type { Expression, ExpressionBuilder, Kysely, OnConflictDatabase, SqlBool } from 'kysely';
import type { Grant } from '../grants/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { sqlRights } from './agents.ts';
import { sqlApprovals } from './approvals.ts';
import type { GrantTable, Schema } from './schema.ts';
import type { ActivityChange, GrantActivity, GrantRecord, Store } from './store.ts';

/**
 * The longest time a lock may be asked for, in milliseconds. A lock that ends later than this from now was taken
 * before the clock was set back, and counts as ended: else a wrong clock, once corrected, would block for as long as
 * it was wrong.
 */
const maxLockMs = 300_000;

/** What a database brings along. */
interface SqlStoreParts {
  readonly db: Kysely<Schema>;
  readonly location: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** See `Store.epoch`. May throw what the driver throws. */
  readonly epoch: () => number;
  /** What an error of the driver means: a unique constraint that was violated, or a fault. */
  readonly fault: (error: unknown) => 'duplicate' | SidekeyError;
  /** Resolves when what `grants.replace` wrote is on the disk. */
  readonly synced: () => Promise<void>;
  /** Closes the connection, once. */
  readonly close: () => Promise<void>;
}

/** The store's queries, written once for every SQL database. Each is a single statement or one
 * transaction, so it happens or it does not. */
export function sqlStore({ db, location, now, epoch, fault, synced, close }: SqlStoreParts): Store {
  const pending = new Set<Promise<unknown>>();
  let closing: Promise<void> | null = null;

  function assertOpen(): void {
    if (closing !== null) throw new SidekeyError('store_unavailable', `The store at ${location} is closed.`);
  }

  async function run<Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError): Promise<Result> {
    assertOpen();
    const answer = query();
    pending.add(answer);
    try {
      return await answer;
    } catch (error) {
      const meaning = error instanceof SidekeyError ? error : fault(error);
      if (meaning !== 'duplicate') throw meaning;
      throw (
        duplicate?.() ??
        new SidekeyError('internal', `The store at ${location} has this already.`, { cause: error })
      );
    } finally {
      pending.delete(answer);
    }
  }

  return {
    location,

    epoch() {
      assertOpen();
      try {
        return epoch();
      } catch (error) {
        const meaning = fault(error);
        throw meaning === 'duplicate' ? error : meaning;
      }
    },

    meta: {
      get: (name) =>
        run(async () => {
          const row = await db.selectFrom('meta').select('value').where('name', '=', name).executeTakeFirst();
          return row?.value ?? null;
        }),
      putIfAbsent: (name, value) =>
        run(async () => {
          const result = await db
            .insertInto('meta')
            .values({ name, value })
            .onConflict((conflict) => conflict.column('name').doNothing())
            .executeTakeFirstOrThrow();
          return result.numInsertedOrUpdatedRows === 1n;
        }),
    },

    grants: {
      insert: (record) =>
        run(
          async () => {
            await db.insertInto('grants').values(toGrantRow(record)).execute();
          },
          () => grantExists(record),
        ),
      get: (id) =>
        run(async () => {
          const row = await db.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst();
          return row === undefined ? null : fromGrantRow(row);
        }),
      list: () =>
        run(async () => {
          const rows = await db.selectFrom('grants').selectAll().execute();
          // Not `order by`: databases differ in how they collate text.
          return rows
            .map(fromGrantRow)
            .toSorted((a, b) => compare(a.name, b.name) || compare(a.user, b.user));
        }),
      replace: (record, expectedRevision) =>
        run(
          async () => {
            if (record.revision <= expectedRevision) {
              throw new SidekeyError(
                'internal',
                `Revision ${record.revision} does not follow ${expectedRevision}.`,
              );
            }
            const result = await db
              .updateTable('grants')
              .set(toGrantRow(record))
              .where('id', '=', record.id)
              .where('revision', '=', expectedRevision)
              .executeTakeFirstOrThrow();
            if (result.numUpdatedRows !== 1n) return false;
            await synced();
            return true;
          },
          () => grantExists(record),
        ),
      remove: (id) =>
        run(async () => {
          const result = await db.deleteFrom('grants').where('id', '=', id).executeTakeFirstOrThrow();
          return result.numDeletedRows === 1n;
        }),
    },

    ...sqlRights(db, run, now),

    approvals: sqlApprovals(db, run),

    locks: {
      acquire: (name, holder, ttlMs) =>
        run(async () => {
          const time = Math.ceil(now());
          const lock = { holder, expires_at: endOfLock(time, ttlMs) };
          // One statement: between a look and a write another process could step in.
          const result = await db
            .insertInto('locks')
            .values({ name, ...lock })
            .onConflict((conflict) =>
              conflict
                .column('name')
                .doUpdateSet(lock)
                .where((row) =>
                  row.or([
                    row('locks.holder', '=', holder),
                    row('locks.expires_at', '<=', time),
                    row('locks.expires_at', '>', time + maxLockMs),
                  ]),
                ),
            )
            .executeTakeFirstOrThrow();
          return result.numInsertedOrUpdatedRows === 1n;
        }),
      renew: (name, holder, ttlMs) =>
        run(async () => {
          const result = await db
            .updateTable('locks')
            .set({ expires_at: endOfLock(Math.ceil(now()), ttlMs) })
            .where('name', '=', name)
            .where('holder', '=', holder)
            .executeTakeFirstOrThrow();
          return result.numUpdatedRows === 1n;
        }),
      look: (name) =>
        run(async () => {
          const row = await db
            .selectFrom('locks')
            .select(['holder', 'expires_at'])
            .where('name', '=', name)
            .executeTakeFirst();
          return row === undefined ? null : { holder: row.holder, leftMs: row.expires_at - Math.ceil(now()) };
        }),
      release: (name, holder) =>
        run(async () => {
          await db.deleteFrom('locks').where('name', '=', name).where('holder', '=', holder).execute();
        }),
    },

    sessions: {
      insert: ({ id, expiresAt, sealed }) =>
        run(async () => {
          await db.insertInto('sessions').values({ id, expires_at: expiresAt, sealed }).execute();
        }),
      take: (id) =>
        run(async () => {
          const row = await db.deleteFrom('sessions').where('id', '=', id).returningAll().executeTakeFirst();
          return row === undefined ? null : { id: row.id, expiresAt: row.expires_at, sealed: row.sealed };
        }),
      removeEnded: (before) =>
        run(async () => {
          await db.deleteFrom('sessions').where('expires_at', '<', before).execute();
        }),
    },

    activity: {
      get: (grantId) =>
        run(async () => {
          const row = await db
            .selectFrom('grant_activity')
            .selectAll()
            .where('grant_id', '=', grantId)
            .executeTakeFirst();
          return row === undefined ? null : fromActivityRow(row);
        }),
      list: () =>
        run(async () => (await db.selectFrom('grant_activity').selectAll().execute()).map(fromActivityRow)),
      note: (grantId, change) =>
        run(async () => {
          const time = now();
          await db
            .insertInto('grant_activity')
            .columns(['grant_id', 'used_at', 'refreshed_at', 'failed_at', 'failure', 'lacked_at', 'lacked'])
            .expression(
              db
                .selectFrom('grants')
                .where('id', '=', grantId)
                .select((row) => {
                  const first = firstActivity(change);
                  return [
                    'id',
                    row.val(first.used_at).as('used_at'),
                    row.val(first.refreshed_at).as('refreshed_at'),
                    row.val(first.failed_at).as('failed_at'),
                    row.val(first.failure).as('failure'),
                    row.val(first.lacked_at).as('lacked_at'),
                    row.val(first.lacked).as('lacked'),
                  ];
                }),
            )
            .onConflict((conflict) =>
              conflict.column('grant_id').doUpdateSet((row) => newsOf(row, change, time)),
            )
            .execute();
        }),
    },

    auditHeads: {
      list: (log) =>
        run(async () => {
          const rows = await db.selectFrom('audit_ends').selectAll().where('log', '=', log).execute();
          return rows.toSorted((a, b) => compare(a.node, b.node));
        }),
      put: (end) =>
        run(async () => {
          await db
            .insertInto('audit_ends')
            .values({ ...end })
            .onConflict((conflict) =>
              conflict
                .columns(['log', 'node'])
                .doUpdateSet({ seq: end.seq, sealed: end.sealed })
                .where('audit_ends.seq', '<', end.seq),
            )
            .execute();
        }),
    },

    close() {
      closing ??= Promise.allSettled(pending).then(close);
      return closing;
    },
  };
}

function endOfLock(time: number, ttlMs: number): number {
  if (ttlMs > 0 && ttlMs <= maxLockMs) return time + Math.ceil(ttlMs);
  throw new SidekeyError('internal', `A lock lasts between 1 and ${maxLockMs} ms, not ${ttlMs}.`);
}

function grantExists(record: GrantRecord): SidekeyError {
  return new SidekeyError(
    'already_exists',
    `The user "${record.user}" has a grant named "${record.name}" already, or its id is taken.`,
    { hint: `Choose another name, or remove it first: sidekey grant remove ${record.name}` },
  );
}

/** By code unit: for names, which are ASCII, the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

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
function firstActivity(change: ActivityChange): Omit<Schema['grant_activity'], 'grant_id'> {
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
function newsOf(row: ActivityRow, change: ActivityChange, now: number) {
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
function fromActivityRow(row: Schema['grant_activity']): GrantActivity {
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

const types: readonly Grant['type'][] = [
  'oauth2',
  'api_key',
  'jwt',
  'basic',
  'headers',
  'aws',
  'client_certificate',
];
const states: readonly Grant['state'][] = ['active', 'expired', 'revoked', 'reauth_required'];

/** A grant as it stands in its table. */
export function toGrantRow(record: GrantRecord): GrantTable {
  return {
    id: record.id,
    name: record.name,
    user: record.user,
    provider: record.provider,
    type: record.type,
    state: record.state,
    state_reason: record.stateReason,
    scopes: JSON.stringify(record.scopes),
    expires_at: record.expiresAt,
    refreshable: record.refreshable ? 1 : 0,
    revision: record.revision,
    created_at: record.createdAt,
    updated_at: record.updatedAt,
    sealed: record.sealed,
  };
}

/**
 * The grant of a row.
 * @throws SidekeyError `store_damaged` where a column holds what Sidekey never writes: a state that is not known must
 * not pass for one that is usable.
 */
export function fromGrantRow(row: GrantTable): GrantRecord {
  return {
    id: row.id,
    name: row.name,
    user: row.user,
    provider: row.provider,
    type: known(row, 'type', types),
    state: known(row, 'state', states),
    stateReason: row.state_reason,
    scopes: scopesOf(row),
    expiresAt: row.expires_at,
    refreshable: row.refreshable !== 0,
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    sealed: row.sealed,
  };
}

function known<Value extends string>(
  row: GrantTable,
  column: 'type' | 'state',
  values: readonly Value[],
): Value {
  const found = values.find((value) => value === row[column]);
  if (found === undefined) throw damaged(row, column);
  return found;
}

function scopesOf(row: GrantTable): string[] {
  let scopes: unknown;
  try {
    scopes = JSON.parse(row.scopes);
  } catch (error) {
    throw damaged(row, 'scopes', error);
  }
  if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === 'string'))
    throw damaged(row, 'scopes');
  return scopes;
}

function damaged(row: GrantTable, column: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `The grant "${row.name}" of user "${row.user}" has a ${column} column in the store that Sidekey did not write.`,
    { hint: 'Restore the store from a backup, or remove the grant and add it again.', cause },
  );
}
