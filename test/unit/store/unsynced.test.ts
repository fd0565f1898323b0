import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresQueryCompiler,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from 'kysely';
import { describe, expect, it } from 'vitest';
import { type Schema, unsyncedMark } from '../../../src/store/schema.ts';
import { sqlStore } from '../../../src/store/sql-store.ts';
import { oauth2, processesForTest, start } from '../grants/processes.ts';
import { grantRecord } from '../../support/grant-record.ts';

const ignore = () => undefined;

/** A store whose database accepts every statement and returns nothing, with the statements it received. */
function recordedStore(writesInWith = false) {
  const statements: string[] = [];
  const db = new Kysely<Schema>({
    dialect: {
      createAdapter: () => (writesInWith ? new PostgresAdapter() : new SqliteAdapter()),
      createDriver: () => new DummyDriver(),
      createIntrospector: (kysely) => new SqliteIntrospector(kysely),
      createQueryCompiler: () => (writesInWith ? new PostgresQueryCompiler() : new SqliteQueryCompiler()),
    },
    log: ({ query }) => void statements.push(query.sql),
  });
  const store = sqlStore({
    db,
    location: 'nowhere',
    now: () => 1_700_000_000_000,
    lockClock: () => sql.val(1_700_000_000_000),
    epoch: () => 0,
    rightsWritten() {},
    held: null,
    changesSince: () => ({ grants: null, names: [], rights: null, others: true }),
    grantWritten: () => {},
    writesInWith,
    fault: (error) => {
      throw error;
    },
    synced: () => Promise.resolve(),
    close: () => Promise.resolve(),
  });
  return { store, statements };
}

describe('statements of the store', () => {
  it('are not synced when they write locks, activity, or a grant before `synced`', async () => {
    const { store, statements } = recordedStore();
    await store.locks.acquire('refresh/1', 'me', 1_000).catch(ignore);
    await store.locks.renew('refresh/1', 'me', 1_000).catch(ignore);
    await store.locks.release('refresh/1', 'me');
    await store.activity.note('1', { usedAt: 0 });
    await store.grants.replace(grantRecord({ revision: 2 }), 1).catch(ignore);
    expect(statements).toHaveLength(5);
    for (const statement of statements) expect(statement.endsWith(unsyncedMark)).toBe(true);
  });

  it('are synced in all other cases', async () => {
    const { store, statements } = recordedStore();
    await store.grants.insert(grantRecord());
    await store.grants.remove('1').catch(ignore);
    await store.sessions.insert({ id: 's', expiresAt: 0, sealed: new Uint8Array() });
    await store.auditHeads.put({ log: '/log', node: 'n', seq: 1, sealed: new Uint8Array() }).catch(ignore);
    await store.meta.putIfAbsent('key', new Uint8Array()).catch(ignore);
    expect(statements).toHaveLength(5);
    for (const statement of statements) expect(statement).not.toContain(unsyncedMark);
  });

  it('are two for a refresh in PostgreSQL', async () => {
    const at = await processesForTest();
    const calls: string[] = [];
    const observed = <Part extends object>(name: string, part: Part): Part =>
      new Proxy(part, {
        get(target, method: string) {
          const call: unknown = Reflect.get(target, method);
          if (typeof call !== 'function') return call;
          return (...args: unknown[]): unknown => {
            calls.push(`${name}.${method}`);
            return Reflect.apply(call, target, args);
          };
        },
      });
    const here = await at.process({
      wrapStore: (store) => ({
        ...store,
        grants: observed('grants', store.grants),
        locks: observed('locks', store.locks),
        activity: observed('activity', store.activity),
      }),
    });
    const { id } = await at.add(here.registry, oauth2({ expiresAt: start - 1 }));
    await here.registry.open(id);
    calls.length = 0;
    await here.source.tokenFor(id);
    expect(calls).toEqual(['locks.acquireFor', 'grants.replace']);

    const { store, statements } = recordedStore(true);
    const lock = { name: 'refresh/1', holder: 'me', ttlMs: 1_000, silentMs: 0 };
    await store.locks.acquireFor('1', lock);
    await store.grants.replace(grantRecord({ revision: 2 }), 1, { ...lock, at: 0 });
    expect(statements).toHaveLength(2);
  });
});
