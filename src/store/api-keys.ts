import type { Kysely } from 'kysely';
import { hintOf, remedy } from '../lib/hint.ts';
import { all, done, first, pageOf, type Run, taken, written } from './queries.ts';
import { type ApiKeyRow, parseTexts, type Schema } from './schema.ts';
import type { ApiKeyRecord, Store } from './store.ts';

/** Queries for keys of the API. */
export function sqlApiKeys(db: Kysely<Schema>, run: Run): Store['apiKeys'] {
  const keys = () => db.selectFrom('apiKeys').selectAll();
  return {
    insert: (key) => {
      const scopes = key.scopes === null ? null : JSON.stringify(key.scopes);
      return run(
        () => done(db.insertInto('apiKeys').values({ ...key, scopes })),
        taken(
          `There is an API key ${key.name} already.`,
          hintOf`use another name, or: ${remedy('api_key.revoke', { key: key.name })}`,
        ),
      );
    },
    find: (hash) => run(() => first(keys().where('hash', '=', hash), fromRow)),
    get: (name) => run(() => first(keys().where('name', '=', name), fromRow)),
    list: ({ after, limit } = {}) =>
      run(() => all(pageOf(keys(), ['name'], after && [after.name], limit), fromRow)),
    remove: (name) => run(async () => (await written(db.deleteFrom('apiKeys').where('name', '=', name))) > 0),
    removeEnded: (person, prefix, at) =>
      run(() => {
        const ended = db.deleteFrom('apiKeys').where('person', '=', person).where('expiresAt', '<=', at);
        // All characters of a name sort before `~`.
        return done(ended.where('name', '>=', prefix).where('name', '<', `${prefix}~`));
      }),
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

function fromRow(row: ApiKeyRow): ApiKeyRecord {
  const { scopes, name } = row;
  return { ...row, scopes: scopes === null ? null : parseTexts(scopes, `the API key "${name}"`, 'scopes') };
}
