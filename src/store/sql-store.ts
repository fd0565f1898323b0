import {
  type Expression,
  type ExpressionBuilder,
  type Kysely,
  type OnConflictDatabase,
  sql,
  type SqlBool,
} from 'kysely';
import type { Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { sqlRights } from './agents.ts';
import { sqlApiKeys, sqlPeople } from './callers.ts';
import { sqlEnrolments, sqlNodes } from './nodes.ts';
import { sqlApprovals } from './approvals.ts';
import { sqlProposals } from './proposals.ts';
import {
  type ActivityRow,
  compare,
  damaged,
  type GrantRow,
  parseTexts,
  type Schema,
  wrongClockMs,
} from './schema.ts';
import type { ActivityChange, GrantActivity, GrantRecord, Store } from './store.ts';

/**
 * Maximum duration of a lock in milliseconds. A lock with a later end was taken before the clock was set
 * back, and counts as expired. Otherwise a process with a fast clock could block the others for hours.
 */
const maxLockMs = 300_000;

/** Maximum number of attempts at a query that conflicts with others. */
const maxAttempts = 4;

/** The comment at the end of a statement that does not wait for the disk. */
export const unsyncedMark = '/* unsynced */';

/**
 * Marks a statement whose commit does not wait for the disk, because a wait would block the thread for
 * milliseconds and delay reading responses with rotated refresh tokens. Its writes survive a crash of the
 * process; a power cut only after the next `synced`. A power cut may lose locks and activity: no holder of a
 * lock survives it. Must not be used within a transaction.
 */
const unsynced = sql.raw(unsyncedMark);

/** `again`: nothing was written; the same query will see the write that it conflicted with. */
export type Fault = 'duplicate' | 'again' | SidekeyError;

interface SqlStoreParts {
  readonly db: Kysely<Schema>;
  readonly location: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** See `Store.epoch`. May throw errors of the driver. */
  readonly epoch: () => number;
  /** See `Store.changesSince`. */
  readonly changesSince: Store['changesSince'];
  /** Called after a write of a grant. */
  readonly grantWritten: (id: string) => void;
  /** Clock of locks, in milliseconds since the epoch: the same for all processes of the store. */
  readonly lockClock: () => Expression<number>;
  /** Classifies a driver error: violated unique constraint, conflict with a concurrent write, or fault. */
  readonly fault: (error: unknown) => Fault;
  /** Resolves when the writes of `grants.replace` are on the disk. */
  readonly synced: () => Promise<void>;
  readonly purge: () => Promise<boolean>;
  /** Closes the connection, once. */
  readonly close: () => Promise<void>;
}

/** Returns the queries of the store for any SQL database. Each is one atomic statement or transaction. */
export function sqlStore(parts: SqlStoreParts): Store {
  const { db, location, now, lockClock, epoch, grantWritten, fault, synced, purge, close } = parts;
  const pending = new Set<Promise<unknown>>();
  let closing: Promise<void> | null = null;

  function assertOpen(): void {
    if (closing !== null) throw new SidekeyError('store_unavailable', `The store at ${location} is closed.`);
  }

  async function run<Result>(
    query: () => Promise<Result>,
    duplicate?: () => SidekeyError,
    attempt = 1,
  ): Promise<Result> {
    assertOpen();
    const answer = query();
    pending.add(answer);
    try {
      return await answer;
    } catch (error) {
      const meaning = error instanceof SidekeyError ? error : fault(error);
      if (meaning === 'again' && attempt < maxAttempts) return await run(query, duplicate, attempt + 1);
      if (typeof meaning !== 'string') throw meaning;
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
        const meaning = error instanceof SidekeyError ? error : fault(error);
        throw typeof meaning === 'string' ? error : meaning;
      }
    },

    changesSince: parts.changesSince,

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
      change: (guard, was, values) =>
        run(() =>
          db.transaction().execute(async (inside) => {
            // Writes first, which takes the lock before anything is read.
            const held =
              was === null
                ? await inside
                    .insertInto('meta')
                    .values({ name: guard, value: new Uint8Array() })
                    .onConflict((conflict) => conflict.column('name').doNothing())
                    .executeTakeFirstOrThrow()
                    .then((result) => result.numInsertedOrUpdatedRows)
                : await inside
                    .updateTable('meta')
                    .set({ value: was })
                    .where('name', '=', guard)
                    .where('value', '=', was)
                    .executeTakeFirstOrThrow()
                    .then((result) => result.numUpdatedRows);
            if (held !== 1n) return false;
            for (const [name, value] of Object.entries(values)) {
              await inside.deleteFrom('meta').where('name', '=', name).execute();
              if (value !== null) await inside.insertInto('meta').values({ name, value }).execute();
            }
            return true;
          }),
        ),
    },

    sealed: {
      sessions: () => run(() => db.selectFrom('sessions').selectAll().execute()),
      replace: (table, seals) =>
        run(() =>
          db.transaction().execute(async (inside) => {
            let replaced = 0;
            for (const { id, was, sealed } of seals) {
              const result = await inside
                .updateTable(table)
                .set({ sealed })
                .where('id', '=', id)
                .where('sealed', '=', was)
                .executeTakeFirstOrThrow();
              replaced += Number(result.numUpdatedRows);
            }
            return replaced;
          }),
        ),
    },

    grants: {
      insert: (record) =>
        run(
          async () => {
            await db.insertInto('grants').values(toGrantRow(record)).execute();
            grantWritten(record.id);
          },
          () => grantExists(record),
        ),
      get: (id) =>
        run(async () => {
          const row = await db.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst();
          return row === undefined ? null : fromGrantRow(row);
        }),
      some: (ids) =>
        run(async () => {
          const rows = await db.selectFrom('grants').selectAll().where('id', 'in', ids).execute();
          return rows.map(fromGrantRow);
        }),
      list: () =>
        run(async () => {
          const rows = await db.selectFrom('grants').selectAll().execute();
          // Sorted here: databases differ in their collation of text.
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
              .modifyEnd(unsynced)
              .executeTakeFirstOrThrow();
            if (result.numUpdatedRows !== 1n) return false;
            grantWritten(record.id);
            await synced();
            return true;
          },
          () => grantExists(record),
        ),
      remove: (id) =>
        run(async () => {
          const result = await db.deleteFrom('grants').where('id', '=', id).executeTakeFirstOrThrow();
          grantWritten(id);
          return result.numDeletedRows === 1n;
        }),
    },

    ...sqlRights(db, run, now),

    approvals: sqlApprovals(db, run),

    proposals: sqlProposals(db, run),

    locks: {
      acquire: (name, holder, ttlMs) =>
        run(async () => {
          const lock = { holder, expiresAt: endOfLock(lockClock(), ttlMs) };
          const time = lockClock();
          // A single statement, so that no other process can write in between.
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
                    row('locks.expiresAt', '<=', time),
                    row('locks.expiresAt', '>', sql<number>`${time} + ${sql.lit(maxLockMs)}`),
                  ]),
                ),
            )
            .modifyEnd(unsynced)
            .executeTakeFirstOrThrow();
          return result.numInsertedOrUpdatedRows === 1n;
        }),
      renew: (name, holder, ttlMs) =>
        run(async () => {
          const result = await db
            .updateTable('locks')
            .set({ expiresAt: endOfLock(lockClock(), ttlMs) })
            .where('name', '=', name)
            .where('holder', '=', holder)
            .modifyEnd(unsynced)
            .executeTakeFirstOrThrow();
          return result.numUpdatedRows === 1n;
        }),
      look: (name) =>
        run(async () => {
          const row = await db
            .selectFrom('locks')
            .select(['holder', sql<number>`expires_at - ${lockClock()}`.as('leftMs')])
            .where('name', '=', name)
            .executeTakeFirst();
          return row ?? null;
        }),
      release: (name, holder) =>
        run(async () => {
          await db
            .deleteFrom('locks')
            .where('name', '=', name)
            .where('holder', '=', holder)
            .modifyEnd(unsynced)
            .execute();
        }),
    },

    sessions: {
      insert: (session) =>
        run(
          async () => {
            await db.insertInto('sessions').values(session).execute();
          },
          () => new SidekeyError('already_exists', 'There is a session of that id already.'),
        ),
      put: (session) =>
        run(async () => {
          await db
            .insertInto('sessions')
            .values(session)
            .onConflict((conflict) =>
              conflict.column('id').doUpdateSet({ expiresAt: session.expiresAt, sealed: session.sealed }),
            )
            .execute();
        }),
      get: (id) =>
        run(async () => {
          const row = await db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst();
          return row ?? null;
        }),
      take: (id) =>
        run(async () => {
          const row = await db.deleteFrom('sessions').where('id', '=', id).returningAll().executeTakeFirst();
          return row ?? null;
        }),
      removeEnded: (before) =>
        run(async () => {
          await db.deleteFrom('sessions').where('expiresAt', '<', before).execute();
        }),
    },

    activity: {
      get: (grantId) =>
        run(async () => {
          const row = await db
            .selectFrom('grantActivity')
            .selectAll()
            .where('grantId', '=', grantId)
            .executeTakeFirst();
          return row === undefined ? null : fromActivityRow(row);
        }),
      list: () =>
        run(async () => (await db.selectFrom('grantActivity').selectAll().execute()).map(fromActivityRow)),
      note: (grantId, change) =>
        run(async () => {
          const time = now();
          await db
            .insertInto('grantActivity')
            .columns(['grantId', 'usedAt', 'refreshedAt', 'failedAt', 'failure', 'lackedAt', 'lacked'])
            .expression(
              db
                .selectFrom('grants')
                .where('id', '=', grantId)
                .select((row) => {
                  const first = firstActivity(change);
                  return [
                    'id',
                    row.val(first.usedAt).as('usedAt'),
                    row.val(first.refreshedAt).as('refreshedAt'),
                    row.val(first.failedAt).as('failedAt'),
                    row.val(first.failure).as('failure'),
                    row.val(first.lackedAt).as('lackedAt'),
                    row.val(first.lacked).as('lacked'),
                  ];
                }),
            )
            .onConflict((conflict) =>
              conflict.column('grantId').doUpdateSet((row) => newsOf(row, change, time)),
            )
            .modifyEnd(unsynced)
            .execute();
        }),
    },

    auditHeads: {
      list: (log) =>
        run(async () => {
          const rows = db.selectFrom('auditEnds').selectAll();
          const found = await (log === undefined ? rows : rows.where('log', '=', log)).execute();
          return found.toSorted((a, b) => compare(a.log, b.log) || compare(a.node, b.node));
        }),
      put: (end) =>
        run(async () => {
          await db
            .insertInto('auditEnds')
            .values(end)
            .onConflict((conflict) =>
              conflict
                .columns(['log', 'node'])
                .doUpdateSet({ seq: end.seq, sealed: end.sealed })
                .where('auditEnds.seq', '<', end.seq),
            )
            .execute();
        }),
    },

    apiKeys: sqlApiKeys(db, run),
    people: sqlPeople(db, run),
    nodes: sqlNodes(db, run, lockClock),
    enrolments: sqlEnrolments(db, run, lockClock),

    purge: () => run(purge),

    close() {
      closing ??= Promise.allSettled(pending).then(close);
      return closing;
    },
  };
}

function endOfLock(time: Expression<number>, ttlMs: number): Expression<number> {
  if (ttlMs > 0 && ttlMs <= maxLockMs) return sql<number>`${time} + ${sql.lit(Math.ceil(ttlMs))}`;
  throw new SidekeyError('internal', `A lock lasts between 1 and ${maxLockMs} ms, not ${ttlMs}.`);
}

function grantExists(record: GrantRecord): SidekeyError {
  return new SidekeyError(
    'already_exists',
    `The user "${record.user}" has a grant named "${record.name}" already, or its id is taken.`,
    { hint: `Choose another name, or remove it first: sidekey grant remove ${record.name}` },
  );
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

/** Returns the first row of a grant. */
function firstActivity(change: ActivityChange): Omit<ActivityRow, 'grantId'> {
  const { lacked, ...first } = { ...noActivity, ...change };
  return { ...first, lacked: lacked?.join(' ') ?? null };
}

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

const types: readonly Grant['type'][] = [
  'oauth2',
  'api_key',
  'jwt',
  'basic',
  'headers',
  'aws',
  'client_certificate',
  'source',
];
const states: readonly Grant['state'][] = ['active', 'expired', 'revoked', 'reauth_required'];

/** Returns a grant in the form of its table. */
export function toGrantRow(record: GrantRecord): GrantRow {
  return { ...record, scopes: JSON.stringify(record.scopes), refreshable: record.refreshable ? 1 : 0 };
}

/**
 * Returns the grant of a row.
 * @throws SidekeyError `store_damaged` for values that Sidekey never writes: such a grant must not be used
 */
export function fromGrantRow(row: GrantRow): GrantRecord {
  const place = `the grant "${row.name}" of user "${row.user}"`;
  const known = <Value extends string>(column: 'type' | 'state', values: readonly Value[]): Value => {
    const found = values.find((value) => value === row[column]);
    if (found === undefined) throw damaged(place, column);
    return found;
  };
  return {
    ...row,
    type: known('type', types),
    state: known('state', states),
    scopes: parseTexts(row.scopes, place, 'scopes'),
    refreshable: row.refreshable !== 0,
  };
}
