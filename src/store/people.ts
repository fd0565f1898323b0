import type { Kysely } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Run } from './agents.ts';
import { type ApiKeyRow, compare, parseTexts, type Schema } from './schema.ts';
import type { ApiKeyRecord, Store } from './store.ts';

export function sqlApiKeys(db: Kysely<Schema>, run: Run): Store['apiKeys'] {
  const all = () => db.selectFrom('apiKeys').selectAll();
  return {
    insert: (key) =>
      run(
        async () => {
          const scopes = key.scopes === null ? null : JSON.stringify(key.scopes);
          await db
            .insertInto('apiKeys')
            .values({ ...key, scopes })
            .execute();
        },
        () =>
          new SidekeyError('already_exists', `There is an API key ${key.name} already.`, {
            hint: hintOf`use another name, or: ${remedy('api_key.revoke', { key: key.name })}`,
          }),
      ),
    find: (hash) =>
      run(async () => {
        const row = await all().where('hash', '=', hash).executeTakeFirst();
        return row === undefined ? null : fromRow(row);
      }),
    list: () => run(async () => byName(await all().execute()).map(fromRow)),
    remove: (name) =>
      run(async () => {
        const { numDeletedRows } = await db
          .deleteFrom('apiKeys')
          .where('name', '=', name)
          .executeTakeFirstOrThrow();
        return numDeletedRows > 0n;
      }),
    noteUse: (name, at) =>
      run(async () => {
        await db
          .updateTable('apiKeys')
          .set({ usedAt: at })
          .where('name', '=', name)
          .where((row) => row.or([row('usedAt', 'is', null), row('usedAt', '<', at)]))
          .execute();
      }),
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
  const passkeys = () => db.selectFrom('passkeys').selectAll();
  return {
    insert: (person) =>
      run(
        async () => {
          await db.insertInto('people').values(person).execute();
        },
        () =>
          new SidekeyError('already_exists', `There is a person ${person.name} already.`, {
            hint: remedy('person.change', { person: person.name, role: null }),
          }),
      ),
    get: (name) =>
      run(async () => {
        const row = await db.selectFrom('people').selectAll().where('name', '=', name).executeTakeFirst();
        return row ?? null;
      }),
    find: (identity) =>
      run(async () => {
        const row = await db
          .selectFrom('people')
          .selectAll()
          .where('identity', '=', identity)
          .executeTakeFirst();
        return row ?? null;
      }),
    list: () => run(async () => byName(await db.selectFrom('people').selectAll().execute())),
    change: (name, change, endsAt) =>
      run(
        () =>
          db.transaction().execute(async (inside) => {
            const { numUpdatedRows } = await inside
              .updateTable('people')
              .set((row) =>
                endsAt === undefined ? change : { ...change, generation: row('generation', '+', 1) },
              )
              .where('name', '=', name)
              .executeTakeFirstOrThrow();
            if (endsAt === undefined) return numUpdatedRows > 0n;
            await inside
              .updateTable('apiKeys')
              .set({ expiresAt: endsAt })
              .where('person', '=', name)
              .where((row) => row.or([row('expiresAt', 'is', null), row('expiresAt', '>', endsAt)]))
              .execute();
            return numUpdatedRows > 0n;
          }),
        () =>
          new SidekeyError('already_exists', 'This account signs in another person already.', {
            hint: hintOf`${remedy('person.list')} names it; remove that person first`,
          }),
      ),
    remove: (name) =>
      run(async () => {
        const { numDeletedRows } = await db
          .deleteFrom('people')
          .where('name', '=', name)
          .executeTakeFirstOrThrow();
        return numDeletedRows > 0n;
      }),
    passkeys: {
      insert: (passkey) =>
        run(
          async () => {
            await db.insertInto('passkeys').values(passkey).execute();
          },
          () => new SidekeyError('already_exists', 'This passkey is registered already.'),
        ),
      get: (id) =>
        run(async () => {
          const row = await passkeys().where('id', '=', id).executeTakeFirst();
          return row ?? null;
        }),
      list: (person) =>
        run(() => passkeys().where('person', '=', person).orderBy('createdAt').orderBy('id').execute()),
      used: (id, { counter, at }) =>
        run(async () => {
          await db.updateTable('passkeys').set({ counter, usedAt: at }).where('id', '=', id).execute();
        }),
      remove: (person, id) =>
        run(async () => {
          const { numDeletedRows } = await db
            .deleteFrom('passkeys')
            .where('person', '=', person)
            .where('id', '=', id)
            .executeTakeFirstOrThrow();
          return numDeletedRows > 0n;
        }),
    },
  };
}
