import { type Expression, type Kysely, sql } from 'kysely';
import { byName, done, first, type Run, written } from './queries.ts';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

/** Milliseconds after which an unseen node with a key copy is removed: containers leave nodes behind. */
const forgottenMs = 30 * 86_400_000;

/** Separates a taken name from the number of the node. No host name contains it, and no URL escapes it. */
export const nameSeparator = '~';

/** Returns the queries of nodes. `clock` is the clock of the store. */
export function sqlNodes(db: Kysely<Schema>, run: Run, clock: () => Expression<number>): Store['nodes'] {
  const nodes = () =>
    db
      .selectFrom('nodes')
      .select(['id', 'name', 'source', 'keyId', 'version', 'joinedAt'])
      .select(sql<number>`${clock()} - seen_at`.as('awayMs'));
  return {
    register: ({ id, name, ...facts }) =>
      run(async () => {
        const before = sql<number>`${clock()} - ${sql.lit(forgottenMs)}`;
        await db
          .deleteFrom('nodes')
          .where('seenAt', '<', before)
          .where('id', '!=', id)
          .where('source', '!=', 'node')
          .execute();
        for (let number = 1; ; number += 1) {
          const update = db.updateTable('nodes').set({ ...facts, seenAt: clock() });
          if ((await written(update.where('id', '=', id))) === 1) return;
          const free = number === 1 ? name : `${name}${nameSeparator}${number}`;
          const insertion = db
            .insertInto('nodes')
            .values({ id, name: free, ...facts, joinedAt: clock(), seenAt: clock() })
            .onConflict((conflict) => conflict.doNothing());
          if ((await written(insertion)) === 1) return;
        }
      }),
    seen: (id, keyId) =>
      run(() => {
        const facts = { ...(keyId !== null && { keyId }), seenAt: clock() };
        return done(db.updateTable('nodes').set(facts).where('id', '=', id));
      }),
    list: () => run(async () => byName(await nodes().execute())),
    find: (reference) =>
      run(() =>
        nodes()
          .where((row) => row.or([row('id', '=', reference), row('name', '=', reference)]))
          .execute(),
      ),
    remove: (id) => run(async () => (await written(db.deleteFrom('nodes').where('id', '=', id))) === 1),
  };
}

/** Returns the queries of enrolments. `clock` is the clock of the store. */
export function sqlEnrolments(
  db: Kysely<Schema>,
  run: Run,
  clock: () => Expression<number>,
): Store['enrolments'] {
  const enrolments = () =>
    db
      .selectFrom('enrolments')
      .select(['id', 'name', 'sealed', 'request'])
      .select(sql<number>`expires_at - ${clock()}`.as('leftMs'));
  return {
    insert: (enrolment, ttlMs) =>
      run(async () => {
        await db.deleteFrom('enrolments').where('expiresAt', '<=', clock()).execute();
        const expiresAt = sql<number>`${clock()} + ${sql.lit(ttlMs)}`;
        await done(db.insertInto('enrolments').values({ ...enrolment, request: null, expiresAt }));
      }),
    get: (id) => run(() => first(enrolments().where('id', '=', id))),
    ask: (id, request) =>
      run(async () => {
        const update = db
          .updateTable('enrolments')
          .set({ request })
          .where('id', '=', id)
          .where('expiresAt', '>', clock())
          .where((row) => row.or([row('request', 'is', null), row('request', '=', request)]));
        return (await written(update)) === 1;
      }),
    asked: () =>
      run(() => enrolments().where('request', 'is not', null).where('expiresAt', '>', clock()).execute()),
    remove: (id) => run(() => done(db.deleteFrom('enrolments').where('id', '=', id))),
  };
}
