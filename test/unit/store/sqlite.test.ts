import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { agentRecord } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = (): number => 1_700_000_000_000;

describe('a SQLite store', () => {
  it('returns its path', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now });
    expect(store.location).toBe(path);
    await store.close();
  });

  it('refuses every call after close', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now });
    await store.close();
    const closed = { code: 'store_unavailable', message: `The store at ${path} is closed.` };
    await expect(store.grants.find({})).rejects.toMatchObject(closed);
    expect(() => store.epoch()).toThrow(expect.objectContaining(closed));
  });

  it('fails to write while another program locks it, and works after the lock is released', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now, busyTimeoutMs: 0 });
    const other = new DatabaseSync(path);
    other.exec('begin immediate');
    const record = grantRecord();
    await expect(store.grants.insert(record)).rejects.toMatchObject({
      code: 'store_unavailable',
      message: `The store at ${path} cannot be used: another program has locked it.`,
    });
    expect(await store.grants.find({})).toEqual([]);
    other.exec('rollback');
    other.close();
    await store.grants.insert(record);
    expect(await store.grants.get(record.id)).toEqual(record);
    await store.close();
  });

  it('completes a transaction if changes are asked for and another process writes before its first write', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now });
    const other = new DatabaseSync(path, { timeout: 0 });
    let time = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (time += 10));
    onTestFinished(() => clock.mockRestore());
    // The first write comes some steps after the begin.
    for (let steps = 0; steps < 20; steps += 1) {
      const insert = store.agents.insert(agentRecord({ name: `agent-${steps}` }));
      for (let step = 0; step < steps; step += 1) await Promise.resolve();
      store.epoch();
      try {
        other.exec('update revisions set value = value + 1');
      } catch (error) {
        // The transaction has the lock.
        expect(error).toMatchObject({ errcode: 5 });
      }
      await insert;
    }
    other.close();
    await store.close();
  });

  it('without its tables is reported as damaged instead of empty', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now });
    expect(await store.grants.find({})).toEqual([]);
    const other = new DatabaseSync(path);
    other.exec('drop table grants');
    other.close();
    await expect(store.grants.find({})).rejects.toMatchObject({
      code: 'store_damaged',
      // A write-ahead log that stays behind is damage too.
      hint: expect.stringContaining(`move all files ${path}* away`),
    });
    await store.close();
  });

  it.skipIf(process.getuid?.() === 0)(
    'that is read-only fails to open and stays unchanged (not as root)',
    async () => {
      const folder = await tempFolder();
      const path = join(folder, 'sidekey.db');
      await (await openSqliteStore(path, { now })).close();
      const before = await readFile(path);
      await chmod(path, 0o400);
      await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'file_unwritable' });
      await chmod(path, 0o600);
      await chmod(folder, 0o500);
      await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'file_unwritable' });
      await expect(openSqliteStore(join(folder, 'new.db'), { now })).rejects.toMatchObject({
        code: 'file_unwritable',
      });
      await chmod(folder, 0o700);
      expect((await readFile(path)).equals(before)).toBe(true);
    },
  );
});
