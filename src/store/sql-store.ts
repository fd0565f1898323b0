import type { Expression, Kysely } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import { policyWrites, sqlAgentRights } from './agents.ts';
import { sqlRights } from './rights.ts';
import { sqlApiKeys } from './api-keys.ts';
import { sqlPeople } from './people.ts';
import { sqlEnrolments, sqlNodes } from './nodes.ts';
import { sqlApprovals } from './approvals.ts';
import { changeCounts } from './counts.ts';
import { sqlProposals } from './proposals.ts';
import { compare, type Schema } from './schema.ts';
import { sqlActivity } from './activity.ts';
import { sqlTokenUses } from './token-uses.ts';
import { sqlGrantChecks } from './grant-checks.ts';
import { type StoreWrites, sqlGrants } from './grants.ts';
import { sqlLocks } from './locks.ts';
import { done, first, pageOf, rowsOf, type Run, taken, written } from './queries.ts';
import type { Store } from './store.ts';

/** Maximum number of attempts at a query that conflicts with others. */
const maxAttempts = 4;

/** `again`: nothing was written; the same query will see the write that it conflicted with. */
export type Fault = 'duplicate' | 'again' | SidekeyError;

interface SqlStoreParts extends StoreWrites {
  readonly db: Kysely<Schema>;
  readonly location: string;
  /** See `Store.epoch`. May throw errors of the driver. */
  readonly epoch: () => number;
  /** See `Store.changesSince`. */
  readonly changesSince: Store['changesSince'];
  /** See `Store.held`. */
  readonly held: Store['held'];
  /** Clock of locks, in milliseconds since the epoch: the same for all processes of the store. */
  readonly lockClock: () => Expression<number>;
  /** Classifies a driver error: violated unique constraint, conflict with a concurrent write, or fault. */
  readonly fault: (error: unknown) => Fault;
  /** Closes the connection, once. */
  readonly close: () => Promise<void>;
}

/** Returns the queries of the store for any SQL database. Each is one atomic statement or transaction. */
export function sqlStore(parts: SqlStoreParts): Store {
  const { db, location, now, lockClock, epoch, fault, close } = parts;
  const pending = new Set<Promise<unknown>>();
  let closing: Promise<void> | null = null;

  function assertOpen(): void {
    if (closing !== null)
      throw new SidekeyError('store_unavailable', `The store at ${location} is closed.`, {
        hint: 'Sidekey stops: try again when it runs',
      });
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
    held: parts.held,

    meta: {
      get: (name) =>
        run(() =>
          first(db.selectFrom('meta').select('value').where('name', '=', name), ({ value }) => value),
        ),
      putIfAbsent: (name, value) => run(async () => (await written(insertMeta(db, name, value))) === 1),
      change: (guard, was, values) =>
        run(() =>
          db.transaction().execute(async (inside) => {
            // Writes first, which takes the lock before anything is read.
            const unchanged = inside.updateTable('meta').where('name', '=', guard);
            const held = await written(
              was === null
                ? insertMeta(inside, guard, new Uint8Array())
                : unchanged.set({ value: was }).where('value', '=', was),
            );
            if (held !== 1) return false;
            for (const [name, value] of Object.entries(values)) {
              await inside.deleteFrom('meta').where('name', '=', name).execute();
              if (value !== null) await inside.insertInto('meta').values({ name, value }).execute();
            }
            return true;
          }),
        ),
    },

    sealed: {
      sessions: ({ after, limit }) =>
        run(() => {
          const place = after === undefined ? after : [after];
          return pageOf(db.selectFrom('sessions').selectAll(), ['id'], place, limit).execute();
        }),
      count: () =>
        run(async () => (await rowsOf(db.selectFrom('grants'))) + (await rowsOf(db.selectFrom('sessions')))),
      replace: (table, seals) =>
        run(() =>
          db.transaction().execute(async (inside) => {
            let replaced = 0;
            for (const { id, was, sealed } of seals) {
              const update = inside.updateTable(table).set({ sealed });
              replaced += await written(update.where('id', '=', id).where('sealed', '=', was));
            }
            return replaced;
          }),
        ),
    },

    grants: sqlGrants(db, run, parts, policyWrites(db, run, parts.rightsWritten)),
    grantChecks: sqlGrantChecks(db, run),

    ...sqlAgentRights(db, run, parts),
    rights: sqlRights(db, run, now),
    approvals: sqlApprovals(db, run),
    proposals: sqlProposals(db, run),
    locks: sqlLocks(db, run, { clock: lockClock, writesInWith: parts.writesInWith }),
    sessions: sqlSessions(db, run),
    activity: sqlActivity(db, run, now),
    tokenUses: sqlTokenUses(db, run),

    auditHeads: {
      list: (log) =>
        run(async () => {
          const rows = db.selectFrom('auditEnds').selectAll();
          const ends = await (log === undefined ? rows : rows.where('log', '=', log)).execute();
          return ends.toSorted((a, b) => compare(a.log, b.log) || compare(a.node, b.node));
        }),
      put: (end) =>
        run(() =>
          done(
            db
              .insertInto('auditEnds')
              .values(end)
              .onConflict((conflict) =>
                conflict
                  .columns(['log', 'node'])
                  .doUpdateSet({ seq: end.seq, sealed: end.sealed })
                  .where('auditEnds.seq', '<', end.seq),
              ),
          ),
        ),
    },

    apiKeys: sqlApiKeys(db, run),
    people: sqlPeople(db, run),
    nodes: sqlNodes(db, run, lockClock),
    enrolments: sqlEnrolments(db, run, lockClock),

    changeCounts: parts.writesInWith ? changeCounts(db, run, lockClock) : null,

    close() {
      closing ??= Promise.allSettled(pending).then(close);
      return closing;
    },
  };
}

function insertMeta(db: Kysely<Schema>, name: string, value: Uint8Array) {
  return db
    .insertInto('meta')
    .values({ name, value })
    .onConflict((conflict) => conflict.column('name').doNothing());
}

function sqlSessions(db: Kysely<Schema>, run: Run): Store['sessions'] {
  const removal = () => db.deleteFrom('sessions');
  return {
    insert: (session) =>
      run(
        () => done(db.insertInto('sessions').values(session)),
        taken('There is a session of that id already.'),
      ),
    put: (session) =>
      run(() => {
        const { expiresAt, sealed } = session;
        const insertion = db.insertInto('sessions').values(session);
        return done(insertion.onConflict((row) => row.column('id').doUpdateSet({ expiresAt, sealed })));
      }),
    get: (id) => run(() => first(db.selectFrom('sessions').selectAll().where('id', '=', id))),
    take: (id) => run(() => first(removal().where('id', '=', id).returningAll())),
    removeEnded: (before) => run(() => done(removal().where('expiresAt', '<', before))),
  };
}
