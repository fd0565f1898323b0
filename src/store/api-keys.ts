import type { Kysely } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import type { Run } from './agents.ts';
import { type ApiKeyRow, parseTexts, type Schema } from './schema.ts';
import type { ApiKeyRecord, Store } from './store.ts';

/** Queries for the keys of the API. */
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
            hint: `use another name, or: sidekey api-key revoke ${key.name}`,
          }),
      ),
    find: (hash) =>
      run(async () => {
        const row = await all().where('hash', '=', hash).executeTakeFirst();
        return row === undefined ? null : fromRow(row);
      }),
    list: () => run(async () => (await all().orderBy('name').execute()).map(fromRow)),
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

function fromRow(row: ApiKeyRow): ApiKeyRecord {
  const { scopes, name } = row;
  return { ...row, scopes: scopes === null ? null : parseTexts(scopes, `the API key "${name}"`, 'scopes') };
}
