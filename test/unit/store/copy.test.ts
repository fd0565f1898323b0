import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { copyStore, type StoreTables } from '../../../src/store/copy.ts';
import { openPostgresStore, openPostgresTables } from '../../../src/store/postgres.ts';
import { openSqliteStore, openSqliteTables } from '../../../src/store/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { createDatabase, postgresMissing } from '../../support/postgres.ts';
import { agentRecord, leaseRecord } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = () => 1_700_000_000_000;

async function inFile() {
  const path = join(await tempFolder(), 'sidekey.db');
  return place(
    () => openSqliteStore(path, { now }),
    () => openSqliteTables(path),
  );
}

async function inPostgres() {
  const { address, drop } = await createDatabase();
  onTestFinished(drop);
  return place(
    () => openPostgresStore({ address, password: null }, { now }),
    () => openPostgresTables({ address, password: null }),
  );
}

interface Place {
  within<T>(use: (store: Store) => Promise<T>): Promise<T>;
  tables(): Promise<StoreTables>;
}

function place(open: () => Promise<Store>, tables: () => Promise<StoreTables>): Place {
  return {
    async within(use) {
      const store = await open();
      try {
        return await use(store);
      } finally {
        await store.close();
      }
    },
    tables,
  };
}

async function copied(from: Place, to: Place, keysOf = async () => [] as string[]): Promise<number> {
  const [a, b] = [await from.tables(), await to.tables()];
  try {
    return await copyStore(a, b, keysOf);
  } finally {
    await a.close();
    await b.close();
  }
}

const grants = Array.from({ length: 1_203 }, (_, index) =>
  grantRecord({
    name: `g${index}`,
    user: index % 2 === 0 ? 'Zoe' : 'ärger',
    sealed: Buffer.from([0, index % 256]),
  }),
);

async function fill(store: Store): Promise<void> {
  await store.meta.putIfAbsent('key_check', Buffer.from('the key'));
  for (const grant of grants) await store.grants.insert(grant);
  await store.agents.insert(agentRecord(), {
    bindings: [
      { kind: 'everything', value: '*' },
      { kind: 'user', value: 'Zoe' },
    ],
  });
  const lease = leaseRecord({ agent: agentRecord().name });
  await store.leases.insert(lease);
  await store.grants.insert(grantRecord({ name: 'of-a-lease', lease: lease.id }));
  await store.activity.note(grants[0]!.id, { failedAt: now(), failure: 'a\0b' });
  await store.auditHeads.put({ log: '/a', node: 'a/1', seq: 1, sealed: Buffer.from('x') });
}

const idsOf = (...names: string[]) => names.map((name) => Buffer.from(name).toString('hex'));
const keyCheck = (id: string) => Buffer.from(`SKE\u0002${id}, sealed`);

const ids = (store: Store) =>
  store.grants.find({}).then((all) => all.map(({ id, sealed }) => `${id} ${sealed[1]}`));

describe.skipIf(postgresMissing !== null)(`a copy of a store${postgresMissing ?? ''}`, () => {
  it('is equal in both directions, and may be repeated', async () => {
    const [file, database, back] = [await inFile(), await inPostgres(), await inFile()];
    await file.within(fill);
    const rows = await copied(file, database);
    expect(rows).toBe(1 + grants.length + 1 + 2 + 1 + 1 + 2);
    expect(await copied(database, back)).toBe(rows);
    expect(await copied(file, database)).toBe(rows);
    expect(await back.within(ids)).toEqual(await file.within(ids));
    expect(await database.within((store) => store.bindings.list())).toHaveLength(2);
  });

  it('continues after an interruption, and removes rows that the source no longer has', async () => {
    const [file, database] = [await inFile(), await inPostgres()];
    await file.within(fill);
    const [from, to] = [await file.tables(), await database.tables()];
    const cut = new Error('cut');
    const transaction = to.db.transaction.bind(to.db);
    to.db.transaction = () => {
      if ((breaks -= 1) < 0) throw cut;
      return transaction();
    };
    let breaks = 2;
    await expect(copyStore(from, to, async () => [])).rejects.toBe(cut);
    await Promise.all([from.close(), to.close()]);
    await file.within((store) => store.grants.remove(grants[7]!.id));
    await copied(file, database);
    expect(await database.within(ids)).toEqual(await file.within(ids));
  });

  it('is refused over a different store with the same master key', async () => {
    const [file, database] = [await inFile(), await inPostgres()];
    await file.within((store) => store.meta.putIfAbsent('key_check', keyCheck('aaaaaaaa')));
    const other = Buffer.concat([keyCheck('aaaaaaaa'), Buffer.from('again')]);
    await database.within((store) => store.meta.putIfAbsent('key_check', other));
    await expect(copied(file, database, async () => idsOf('aaaaaaaa'))).rejects.toMatchObject({
      code: 'input_invalid',
    });
  });

  it('is refused over a different store', async () => {
    const [file, database] = [await inFile(), await inPostgres()];
    await file.within(fill);
    await database.within((store) => store.meta.putIfAbsent('key_check', Buffer.from('another')));
    await expect(copied(file, database)).rejects.toMatchObject({ code: 'input_invalid' });
    expect(await database.within((store) => store.grants.find({}))).toEqual([]);
  });

  it('is allowed over an earlier copy with a key from before a rotation, and refused over a copy with a later key', async () => {
    const [file, database] = [await inFile(), await inPostgres()];
    await file.within(async (store) => {
      await fill(store);
      await store.meta.change('key_check', Buffer.from('the key'), { key_check: keyCheck('aaaaaaaa') });
    });
    await copied(file, database);
    const rotated = { key_check: keyCheck('bbbbbbbb') };
    await file.within((store) => store.meta.change('key_check', keyCheck('aaaaaaaa'), rotated));
    await expect(copied(database, file, async () => idsOf('aaaaaaaa'))).rejects.toThrow(
      /is another store, or its master key was rotated/,
    );
    await copied(file, database, async () => idsOf('bbbbbbbb', 'aaaaaaaa'));
    expect(await database.within((store) => store.meta.get('key_check'))).toEqual(rotated.key_check);
  });

  it('is refused over a grant that was refreshed after the first copy, because its old refresh token is used up', async () => {
    const [file, database] = [await inFile(), await inPostgres()];
    await file.within(fill);
    await copied(file, database);
    await database.within((store) => store.grants.replace({ ...grants[3]!, revision: 2 }, 1));
    await expect(copied(file, database)).rejects.toThrow('The grant g3 is newer');
    expect((await database.within((store) => store.grants.get(grants[3]!.id)))?.revision).toBe(2);
  });

  it('is refused from an empty store', async () => {
    await expect(copied(await inPostgres(), await inFile())).rejects.toMatchObject({ code: 'input_invalid' });
  });
});
