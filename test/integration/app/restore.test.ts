import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, watch } from 'node:fs';
import { appendFile, copyFile, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { registerNode } from '../../../src/app/own-node.ts';
import { restore } from '../../../src/app/restore.ts';
import { openAuthority } from '../../../src/ca/authority.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { openClient } from '../../../src/lib/postgres.ts';
import { newNodeKey, writeNodeKey } from '../../../src/store/vault/node-key.ts';
import { keyIdText, newMasterKey } from '../../../src/store/vault/key-source.ts';
import { keyNames, nodeKeyName } from '../../../src/store/vault/ring.ts';
import { type Home, program } from '../../support/command-line.ts';
import {
  engines,
  addGrants,
  identity,
  log,
  machine,
  type Machine,
  ok,
  opened,
} from '../../support/backup-machine.ts';
import { createDatabase, postgresMissing } from '../../support/postgres.ts';

const many = 800;

async function makeCa(at: Home): Promise<void> {
  const state = await opened(at);
  await openAuthority({ ...state.config.ca, vault: state.vault, now: Date.now });
  await state.close();
}

async function agent(at: Home): Promise<void> {
  expect(await at.run(['agent', 'create', 'bot', '--everything'])).toMatchObject(ok);
}

async function events(at: Home): Promise<readonly (readonly unknown[])[]> {
  const lines = (await readFile(at.at('data', 'audit.jsonl'), 'utf8')).trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as { event: string; reason?: string })
    .filter(({ event }) => event.startsWith('store.') && event !== 'store.created')
    .map(({ event, reason }) => [event, reason]);
}

describe.each(engines)('a backup of a store in %s', (_name, engine) => {
  const isMissing = engine === 'postgres' && postgresMissing !== null;

  it.skipIf(isMissing)(
    'is restored completely on a new machine, with the master key and the CA',
    async () => {
      const [old, fresh] = [await machine(engine), await machine(engine)];
      await old.connect('desk', 'r-1');
      await old.grant('key', { api_key: 'secret-of-the-key' });
      await agent(old);
      await makeCa(old);
      const file = old.at('backup.age');
      const made = await old.backup(file);
      expect(made.stdout).toContain('2 grants, 1 agent, 0 leases, 0 API keys, the master key');
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      for (const secret of ['r-1', 'secret-of-the-key', 'acme'])
        expect((await readFile(file)).includes(secret)).toBe(false);

      const restored = await fresh.restore(file);
      expect(restored).toMatchObject(ok);
      expect(restored.stdout).toContain('refresh token that may have been used since: desk.');
      expect(await fresh.tokens()).toEqual({ desk: 'r-1', key: 'api_key' });
      expect((await fresh.run(['agent', 'list'])).stdout).toContain('bot');
      for (const path of [
        ['data', 'master.key'],
        ['certs', 'ca.crt'],
      ])
        expect(await readFile(fresh.at(...path))).toEqual(await readFile(old.at(...path)));
      expect((await stat(fresh.at('data', 'master.key'))).mode & 0o777).toBe(0o600);
      expect(await fresh.run(['ca', 'show'])).toMatchObject(ok);
      expect((await fresh.run(['audit', 'verify'])).stdout).toContain('is intact');
      expect((await events(old)).map(([event]) => event)).toEqual(['store.backed_up']);
      expect((await events(fresh)).map(([event]) => event)).toEqual(['store.restored']);
    },
  );

  it.skipIf(isMissing)(
    'lists the nodes that have to join again, and contains no master key for them',
    async () => {
      const [old, fresh] = [await machine(engine), await machine(engine)];
      await old.connect('desk', 'r-1');
      const node = newNodeKey({ name: 'edge', secret: 's'.repeat(42) + 'A', enrolment: 'e-1' });
      const { privateKey: _, ...member } = node;
      const before = await opened(old);
      expect(await before.keys.admit(member)).toBe(true);
      await before.close();
      await old.backup(old.at('backup.age'));
      const restored = await fresh.restore(old.at('backup.age'));
      expect(restored.stdout).toContain('until they join again: edge.');
      const after = await opened(fresh);
      expect(after.keys.nodes()).toMatchObject({ members: [], revoked: ['e-1'] });
      expect(await after.store.meta.get(nodeKeyName('edge'))).toBeNull();
      await after.close();
      expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
    },
  );

  it.skipIf(isMissing)('is restored under a master key that is already installed', async () => {
    const [old, fresh] = [await machine(engine), await machine(engine)];
    await old.connect('desk', 'r-1');
    await makeCa(old);
    await old.backup(old.at('backup.age'));
    // A key that another start has made.
    const other = await machine('sqlite');
    await other.connect('x', 'r-0');
    await copyFile(other.at('data', 'master.key'), fresh.at('master.key'));
    expect(await fresh.run(['grant', 'list'])).toMatchObject(ok);
    await rm(fresh.at('data'), { recursive: true, force: true });
    const key = await readFile(other.at('data', 'master.key'), 'utf8');
    await mkdir(fresh.at('data'), { mode: 0o700 });
    await rename(fresh.at('master.key'), fresh.at('data', 'master.key'));

    const restored = await fresh.restore(old.at('backup.age'));
    expect(restored).toMatchObject(ok);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
    expect(await readFile(fresh.at('data', 'master.key'), 'utf8')).toBe(key);
    const { keys, ...status } = (await fresh.json(['key', 'status'])) as {
      readonly keys: readonly { readonly key_id: string }[];
    };
    // In PostgreSQL the other machine may come back with the key of the backup.
    expect(status).toMatchObject({ rotating: engine === 'postgres', left: 0 });
    for (const { key_id: id } of keys) expect(restored.stdout).toContain(id);
    expect(await fresh.run(['ca', 'show'])).toMatchObject(ok);
  });

  it.skipIf(isMissing)('is not restored over a store in use or over another store', async () => {
    const [old, other] = [await machine(engine), await machine(engine)];
    for (const at of [old, other]) await at.connect('desk', 'r-1');
    await old.backup(old.at('backup.age'));
    const before = await old.tokens();
    expect(await old.restore(old.at('backup.age'))).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is a store at'),
    });
    expect(await other.restore(old.at('backup.age'), '--replace')).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('is not the store of the backup'),
    });
    expect([await old.tokens(), await other.tokens()]).toEqual([before, before]);
  });

  it.skipIf(isMissing)(
    'restores what was removed, and keeps what is newer or was revoked since',
    async () => {
      const at = await machine(engine);
      for (const name of ['newer', 'removed', 'revoked', 'same']) await at.connect(name, `${name}-1`);
      await agent(at);
      await at.run(['api-key', 'create', 'app', '--role', 'operator']);
      await at.backup(at.at('backup.age'));
      await at.connect('newer', 'newer-2');
      await at.run(['grant', 'revoke', 'revoked', '--local']);
      await at.run(['grant', 'remove', 'removed', '--local']);
      await at.run(['agent', 'remove', 'bot']);
      await at.run(['api-key', 'revoke', 'app']);

      const expected = { newer: 'newer-2', removed: 'removed-1', revoked: 'revoked', same: 'same-1' };
      const restored = await at.json([
        'restore',
        at.at('backup.age'),
        '--identity',
        at.at('identity'),
        '--replace',
      ]);
      expect(restored).toMatchObject({
        new: false,
        written: ['removed'],
        newer: ['newer', 'revoked'],
        check: ['removed'],
        consent: [],
      });
      expect(await at.tokens()).toEqual(expected);
      expect((await at.run(['agent', 'list'])).stdout).not.toContain('bot');
      expect((await at.run(['api-key', 'list'])).stdout).not.toContain('app');

      const rolled = await at.restore(at.at('backup.age'), '--roll-back');
      expect(rolled.stdout).toContain('Restored 1 grant (newer) to');
      expect(rolled.stdout).toContain('These grants need a new consent: newer.');
      expect(await at.tokens()).toEqual({ ...expected, newer: 'newer-1' });
      expect((await at.run(['agent', 'list'])).stdout).not.toContain('bot');
      // The revision is higher than that of the credential that was replaced.
      expect(await at.restore(at.at('backup.age'), '--replace')).toMatchObject(ok);
      expect(await at.tokens()).toEqual({ ...expected, newer: 'newer-1' });
    },
  );

  it.skipIf(isMissing)('omits a grant if another grant now has its name', async () => {
    const at = await machine(engine);
    await at.connect('desk', 'r-1');
    await at.backup(at.at('backup.age'));
    await at.run(['grant', 'remove', 'desk', '--local']);
    await at.connect('desk', 'r-2');
    const restored = await at.restore(at.at('backup.age'), '--replace');
    expect(restored.stdout).toContain('left as they are: desk.');
    expect(await at.tokens()).toEqual({ desk: 'r-2' });
  });

  it.skipIf(isMissing)('restores the master key of a store that lost its key', async () => {
    const at = await machine(engine);
    await at.connect('desk', 'r-1');
    await at.backup(at.at('backup.age'));
    await at.connect('desk', 'r-2');
    await rm(at.at('data', 'master.key'));
    expect((await at.run(['grant', 'refresh', 'desk'])).stderr).toContain('is missing');
    expect(await at.restore(at.at('backup.age'), '--replace')).toMatchObject(ok);
    expect(await at.tokens()).toEqual({ desk: 'r-2' });
  });

  it.skipIf(isMissing)('is restored after a rotation of the master key', async () => {
    const at = await machine(engine);
    await at.connect('desk', 'r-1');
    await at.connect('gone', 'g-1');
    await at.backup(at.at('backup.age'));
    await at.run(['grant', 'remove', 'gone', '--local']);
    for (let count = 0; count < 2; count += 1) expect(await at.run(['key', 'rotate'])).toMatchObject(ok);
    const restored = await at.restore(at.at('backup.age'), '--replace');
    expect(restored).toMatchObject(ok);
    expect(restored.stdout).toContain('which is retired: whoever holds it can make such a file');
    expect(await at.tokens()).toEqual({ desk: 'r-1', gone: 'g-1' });
  });
});

/** Runs a restore, and kills it when its transaction has written to the write-ahead log. */
async function restoreUntilKilled(at: Machine, file: string, args: readonly string[]): Promise<unknown> {
  const wal = at.at('data', 'sidekey.db-wal');
  const words = [
    program,
    'restore',
    file,
    '--identity',
    at.at('identity'),
    ...args,
    '--config',
    at.configFile,
  ];
  const child = spawn(process.execPath, words, { cwd: at.folder, env: { HOME: at.folder }, stdio: 'ignore' });
  const changes = watch(at.at('data'), () => {
    if ((statSync(wal, { throwIfNoEntry: false })?.size ?? 0) > 1_000_000) child.kill('SIGKILL');
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  changes.close();
  return signal;
}

describe('a restore on a machine with an earlier key of the store', () => {
  it('is refused if the earlier key is retired', async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    await mkdir(fresh.at('data'), { mode: 0o700 });
    await copyFile(old.at('data', 'master.key'), fresh.at('data', 'master.key'));
    expect(await old.run(['key', 'rotate'])).toMatchObject(ok);
    await old.backup(old.at('backup.age'));
    const refused = await fresh.restore(old.at('backup.age'));
    expect([refused.exit, refused.stderr]).toEqual([
      expect.any(Number),
      expect.stringContaining('is an earlier key of this store'),
    ]);
    expect(await fresh.tokens()).toEqual({});
    await rm(fresh.at('data', 'master.key'));
    expect(await fresh.restore(old.at('backup.age'))).toMatchObject(ok);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
  });

  it('continues the rotation of the backup', async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    await mkdir(fresh.at('data'), { mode: 0o700 });
    await copyFile(old.at('data', 'master.key'), fresh.at('data', 'master.key'));
    const state = await opened(old);
    await state.keys.begin({ next: newMasterKey(), by: null, hasCopies: true });
    const { keyId } = state.vault;
    await state.close();
    await old.backup(old.at('backup.age'));
    expect(await fresh.restore(old.at('backup.age'))).toMatchObject(ok);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
    expect(await fresh.json(['key', 'status'])).toMatchObject({
      rotating: false,
      keys: [{ key_id: keyId }, { state: 'retired' }],
    });
  });
});

describe('a restore on a node with its own key', () => {
  it('is refused into an empty store, and restores grants into a store in use', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    await at.backup(at.at('backup.age'));
    await at.run(['grant', 'remove', 'desk', '--local']);
    const node = newNodeKey({ name: 'edge', secret: 's'.repeat(42) + 'A', enrolment: 'e-1' });
    const { privateKey: _, ...member } = node;
    const state = await opened(at);
    expect(await state.keys.admit(member)).toBe(true);
    await state.close();
    // No copy of the master key of the backup is left.
    expect(await at.run(['key', 'rotate'])).toMatchObject(ok);
    await rm(at.at('data', 'master.key'));
    await writeNodeKey(at.at('data', 'node.key'), node);
    await appendFile(at.configFile, '\nkey: { source: node }\n');
    expect(await at.restore(at.at('backup.age'), '--replace')).toMatchObject(ok);
    expect(await at.tokens()).toEqual({ desk: 'r-1' });

    const fresh = await machine('sqlite', { key: { source: 'node' } });
    expect(await fresh.restore(at.at('backup.age'))).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('restore with another source in "key" of the config'),
    });
  });
});

describe('a restore that fails', () => {
  it('at the CA leaves the store empty, and can be repeated', async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    await makeCa(old);
    await old.backup(old.at('backup.age'));
    await writeFile(fresh.at('certs'), 'not a folder');
    expect((await fresh.restore(old.at('backup.age'))).exit).not.toBe(0);
    expect(await fresh.tokens()).toEqual({});
    await rm(fresh.at('certs'));
    expect(await fresh.restore(old.at('backup.age'))).toMatchObject(ok);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
    expect(await fresh.run(['ca', 'show'])).toMatchObject(ok);
  });

  it('at its audit record still reports that the store is restored', async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    await old.backup(old.at('backup.age'));
    await mkdir(fresh.at('data', 'audit.jsonl'), { recursive: true, mode: 0o700 });
    const { exit, stdout } = await fresh.restore(old.at('backup.age'));
    expect([exit, stdout]).toEqual([1, expect.stringContaining('Restored 1 grant')]);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
  });
});

describe('a restore that is killed', () => {
  it('leaves the store unchanged, and can be repeated', { timeout: 120_000 }, async () => {
    const at = await machine('sqlite');
    await addGrants(at, many);
    expect(await at.backup(at.at('backup.age'))).toMatchObject(ok);
    const database = new DatabaseSync(at.at('data', 'sidekey.db'));
    database.exec("delete from grants where name <> 'g-7'");
    database.exec('pragma wal_checkpoint(truncate)');
    database.close();
    expect(await restoreUntilKilled(at, at.at('backup.age'), ['--replace'])).toBe('SIGKILL');
    expect(await at.tokens()).toEqual({ 'g-7': 'api_key' });
    expect(await at.restore(at.at('backup.age'), '--replace')).toMatchObject(ok);
    expect(Object.keys(await at.tokens())).toHaveLength(many);

    const fresh = await machine('sqlite');
    await mkdir(fresh.at('data'), { mode: 0o700 });
    expect(await restoreUntilKilled(fresh, at.at('backup.age'), [])).toBe('SIGKILL');
    expect(await fresh.restore(at.at('backup.age'))).toMatchObject(ok);
    expect(Object.keys(await fresh.tokens())).toHaveLength(many);
  });
});

describe('a restore into a SQLite store in use', () => {
  it('lets other processes write while it reads the backup', async () => {
    const at = await machine('sqlite');
    await addGrants(at, 5);
    await at.backup(at.at('backup.age'));
    using other = new DatabaseSync(at.at('data', 'sidekey.db'), { timeout: 0 });
    other.exec("delete from grants where name = 'g-3'");
    let writes = 0;
    const restored = await restore(await loadConfig(at.configFile, { env: {} }), {
      file: at.at('backup.age'),
      key: { identities: [identity] },
      replace: true,
      rollBack: false,
      env: {},
      now: Date.now,
      onRows() {
        other.exec('begin immediate; rollback');
        writes += 1;
      },
    });
    expect(writes).toBeGreaterThan(1);
    expect(restored).toMatchObject({ written: ['g-3'], newer: [] });
    expect(Object.keys(await at.tokens())).toHaveLength(5);
  });
});

/** A store in a database whose grant is newer than its backup, with a client of the database. */
async function usedStore() {
  const { address, query, drop } = await createDatabase();
  onTestFinished(drop);
  const url = `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}`;
  const at = await machine('sqlite', { store: url });
  await at.connect('desk', 'r-1');
  await at.backup(at.at('backup.age'));
  await at.connect('desk', 'r-2');
  const proxy = await openClient({ address, password: null }, 10_000);
  await proxy.connect();
  const waiting = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = '${address.database}'`;
  return { at, query, proxy, waiting };
}

describe.skipIf(postgresMissing !== null)(`a restore into PostgreSQL${postgresMissing ?? ''}`, () => {
  it('under another key keeps the key of the backup until the last node has the new key', async () => {
    const [old, fresh, other] = [
      await machine('postgres'),
      await machine('postgres'),
      await machine('sqlite'),
    ];
    await old.connect('desk', 'r-1');
    await old.backup(old.at('backup.age'));
    await other.connect('x', 'r-0');
    await mkdir(fresh.at('data'), { mode: 0o700 });
    await copyFile(other.at('data', 'master.key'), fresh.at('data', 'master.key'));
    expect(
      await fresh.json(['restore', old.at('backup.age'), '--identity', old.at('identity')]),
    ).toMatchObject({
      rotated: { finished: false },
    });
    const state = await opened(fresh);
    expect((await state.store.nodes.list()).filter(({ keyId }) => keyId !== state.vault.keyId)).toHaveLength(
      1,
    );
    // A process that follows does not retire it either.
    const third = await registerNode('third', state, { log, now: Date.now, env: {} });
    await third.follow();
    expect(await state.store.meta.get(keyNames.next)).not.toBeNull();
    await state.store.nodes.remove('third');
    await state.close();
    // The other machine comes back, with its key and the restored store.
    await copyFile(fresh.configFile, old.configFile);
    expect(await old.json(['key', 'rotate'])).toMatchObject({ resumed: true, finished: true });
    const key = await readFile(fresh.at('data', 'master.key'), 'utf8');
    expect(await readFile(old.at('data', 'master.key'), 'utf8')).toBe(key);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
  });
});

describe.skipIf(postgresMissing !== null)(`a roll-back in PostgreSQL${postgresMissing ?? ''}`, () => {
  it('does not change a grant that a proxy refreshes at the same time', async () => {
    const { at, query, proxy, waiting } = await usedStore();
    // The seal is for another revision, so the new row does not open. That is of no importance here.
    await proxy.query('begin; update grants set revision = revision + 1');
    const rolled = at.restore(at.at('backup.age'), '--roll-back');
    while ((await query(waiting)).rowCount === 0);
    await proxy.query('commit');
    expect((await rolled).stdout).toContain('left as they are: desk.');
    expect((await query('select revision::int from grants')).rows).toEqual([{ revision: 3 }]);
    await proxy.end();
  });

  it('makes a rotation of the master key wait', async () => {
    const { at, query, proxy, waiting } = await usedStore();
    const state = await opened(at);
    await proxy.query('begin; update grants set revision = revision');
    const rolled = at.restore(at.at('backup.age'), '--roll-back');
    while ((await query(waiting)).rowCount !== 1);
    const done: string[] = [];
    const next = newMasterKey();
    const begun = state.keys
      .begin({ next, by: null, hasCopies: true })
      .then(() => done.push(state.vault.keyId));
    while (done.length === 0 && (await query(waiting)).rowCount !== 2);
    expect(done).toEqual([]);
    await proxy.query('commit');
    expect(await rolled).toMatchObject(ok);
    await begun;
    expect(done).toEqual([keyIdText(next)]);
    await state.close();
    await proxy.end();
    expect(await at.tokens()).toEqual({ desk: 'r-1' });
  });
});
