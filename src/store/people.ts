import type { Kysely } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { all, done, first, type Run, written } from './queries.ts';
import { type ApiKeyRow, compare, parseTexts, type Schema } from './schema.ts';
import type { ApiKeyRecord, Store } from './store.ts';

export function sqlApiKeys(db: Kysely<Schema>, run: Run): Store['apiKeys'] {
  const keys = () => db.selectFrom('apiKeys').selectAll();
  return {
    insert: (key) => {
      const scopes = key.scopes === null ? null : JSON.stringify(key.scopes);
      return run(
        () => done(db.insertInto('apiKeys').values({ ...key, scopes })),
        () =>
          new SidekeyError('already_exists', `There is an API key ${key.name} already.`, {
            hint: hintOf`use another name, or: ${remedy('api_key.revoke', { key: key.name })}`,
          }),
      );
    },
    find: (hash) => run(() => first(keys().where('hash', '=', hash), fromRow)),
    list: () => run(async () => byName(await all(keys(), fromRow))),
    remove: (name) => run(async () => (await written(db.deleteFrom('apiKeys').where('name', '=', name))) > 0),
    noteUse: (name, at) =>
      run(() =>
        done(
          db
            .updateTable('apiKeys')
            .set({ usedAt: at })
            .where('name', '=', name)
            .where((row) => row.or([row('usedAt', 'is', null), row('usedAt', '<', at)])),
        ),
      ),
  };
}

/** Sorts here: databases differ in their collation of text. */
function byName<Row extends { readonly name: string }>(rows: readonly Row[]): Row[] {
  return rows.toSorted((a, b) => compare(a.name, b.name));
}

function fromRow(row: ApiKeyRow): ApiKeyRecord {
  const { scopes, name } = row;
  return { ...row, scopes: scopes === null ? null : parseTexts(scopes, `the API key "${name}"`, 'scopes') };
}

export function sqlPeople(db: Kysely<Schema>, run: Run): Store['people'] {
  const people = () => db.selectFrom('people').selectAll();
  const passkeys = () => db.selectFrom('passkeys').selectAll();
  return {
    insert: (person) =>
      run(
        () => done(db.insertInto('people').values(person)),
        () =>
          new SidekeyError('already_exists', `There is a person ${person.name} already.`, {
            hint: remedy('person.change', { person: person.name, role: null }),
          }),
      ),
    get: (name) => run(() => first(people().where('name', '=', name))),
    find: (identity) => run(() => first(people().where('identity', '=', identity))),
    list: () => run(async () => byName(await people().execute())),
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
        () =>
          new SidekeyError('already_exists', 'This account signs in another person already.', {
            hint: hintOf`${remedy('person.list')} names it; remove that person first`,
          }),
      ),
    remove: (name) => run(async () => (await written(db.deleteFrom('people').where('name', '=', name))) > 0),
    passkeys: {
      insert: (passkey) =>
        run(
          () => done(db.insertInto('passkeys').values(passkey)),
          () => new SidekeyError('already_exists', 'This passkey is registered already.'),
        ),
      get: (id) => run(() => first(passkeys().where('id', '=', id))),
      list: (person) =>
        run(() => passkeys().where('person', '=', person).orderBy('createdAt').orderBy('id').execute()),
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
