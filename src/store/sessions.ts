import type { Kysely } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import type { Run } from './agents.ts';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

export function sqlSessions(db: Kysely<Schema>, run: Run): Store['sessions'] {
  return {
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
  };
}
