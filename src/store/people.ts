import type { Kysely } from 'kysely';
import { hintOf, remedy } from '../lib/hint.ts';
import { done, first, inBatches, pageOf, type Run, taken, written } from './queries.ts';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

/** Queries for people, and the passkeys that they sign in with. */
export function sqlPeople(db: Kysely<Schema>, run: Run): Store['people'] {
  const people = () => db.selectFrom('people').selectAll();
  const passkeys = () => db.selectFrom('passkeys').selectAll();
  return {
    insert: (person) =>
      run(
        () => done(db.insertInto('people').values(person)),
        taken(
          `There is a person ${person.name} already.`,
          remedy('person.change', { person: person.name, role: null }),
        ),
      ),
    get: (name) => run(() => first(people().where('name', '=', name))),
    find: (identity) => run(() => first(people().where('identity', '=', identity))),
    list: ({ after, limit } = {}) =>
      run(() => pageOf(people(), ['name'], after && [after.name], limit).execute()),
    change: (name, change, endsAt) =>
      run(
        () =>
          db.transaction().execute(async (inside) => {
            const changed = await written(
              inside
                .updateTable('people')
                .set((row) =>
                  endsAt === undefined ? change : { ...change, generation: row('generation', '+', 1) },
                )
                .where('name', '=', name),
            );
            if (endsAt === undefined) return changed > 0;
            await inside
              .updateTable('apiKeys')
              .set({ expiresAt: endsAt })
              .where('person', '=', name)
              .where((row) => row.or([row('expiresAt', 'is', null), row('expiresAt', '>', endsAt)]))
              .execute();
            return changed > 0;
          }),
        taken(
          'This account signs in another person already.',
          hintOf`${remedy('person.list')} names it; remove that person first`,
        ),
      ),
    remove: (name) => run(async () => (await written(db.deleteFrom('people').where('name', '=', name))) > 0),
    passkeys: {
      insert: (passkey) =>
        run(
          () => done(db.insertInto('passkeys').values(passkey)),
          taken('This passkey is registered already.', 'sign in with it, or register another one'),
        ),
      get: (id) => run(() => first(passkeys().where('id', '=', id))),
      list: (...names) =>
        run(() =>
          inBatches(names, (some) =>
            pageOf(
              passkeys().where('person', 'in', some),
              ['person', 'createdAt', 'id'],
              undefined,
            ).execute(),
          ),
        ),
      used: (id, { counter, at }) =>
        run(() => done(db.updateTable('passkeys').set({ counter, usedAt: at }).where('id', '=', id))),
      remove: (person, id) =>
        run(async () => {
          const own = db.deleteFrom('passkeys').where('person', '=', person).where('id', '=', id);
          return (await written(own)) > 0;
        }),
    },
  };
}
