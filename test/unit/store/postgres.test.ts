import { randomUUID } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { type Kysely, sql } from 'kysely';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { PostgresAccess } from '../../../src/lib/postgres.ts';
import { openPostgresStore, openPostgresTables, postgresFault } from '../../../src/store/postgres.ts';
import { channel, ofGrant } from '../../../src/store/change-log.ts';
import { HeldGrants } from '../../../src/store/held-grants.ts';
import { maxOutageMs, news } from '../../../src/store/postgres-epoch.ts';
import { postgresMigrations } from '../../../src/store/postgres-migrations.ts';
import type { Store } from '../../../src/store/store.ts';
import { cutProxy } from '../../support/cut-proxy.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { createDatabase, postgresMissing, postgresServer } from '../../support/postgres.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { agentRecord } from '../../support/rights.ts';

const now = () => 1_700_000_000_000;

async function emptyDatabase() {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  return database;
}

async function open(access: PostgresAccess, options: Partial<Parameters<typeof openPostgresStore>[1]> = {}) {
  const store = await openPostgresStore(access, { now, ...options });
  onTestFinished(() => store.close());
  return store;
}

/** A store behind a connection that can be cut. */
async function behindProxy(options: Parameters<typeof open>[1] = {}) {
  const [{ address }, { port }] = [await emptyDatabase(), await postgresServer()];
  const proxy = await cutProxy(port);
  const behind = { ...address, host: '127.0.0.1', port: proxy.port };
  return { proxy, address, store: await open({ address: behind, password: null }, options) };
}

const changes = (store: Store, before: number) =>
  vi.waitFor(() => expect(store.epoch()).not.toBe(before), { timeout: 1_000, interval: 5 });

async function connected({ host, port, user, database }: PostgresAccess['address']): Promise<Client> {
  const client = new Client({ host, port, user, database });
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** An ID whose hash begins with a digit. */
const idOf = (digit: string) => randomUUID().replace(/^..../, `000${digit}`);

const countRow = (name: string, used: number) => ({ name, at: 1, used, unit: 1, bytes: 0, stale: 2 });

const proposal = (id: string) => ({
  id,
  agent: null,
  lease: null,
  reason: 'r',
  client: 'c',
  askedAt: 1,
  expiresAt: 1_000,
  answer: null,
  usedAt: null,
  change: { kind: 'domain' as const, host: `${id}.test`, grant: null },
});

const error = (code: string) => Object.assign(new Error('says "hunter2"'), { severity: 'ERROR', code });

describe.skipIf(postgresMissing !== null)(`a store in PostgreSQL${postgresMissing ?? ''}`, () => {
  it('is migrated once when several processes start at the same time', async () => {
    const { address, query } = await emptyDatabase();
    const stores = await Promise.all(Array.from({ length: 6 }, () => open({ address, password: null })));
    await stores[0]!.grants.insert(grantRecord());
    expect(await stores[5]!.grants.find({})).toHaveLength(1);
    const { rows } = await query('select count(*)::int as count from kysely_migration');
    expect(rows[0].count).toBe(Object.keys(postgresMigrations).length);
  });

  it('is migrated without the time limit of other statements', async () => {
    const { address } = await emptyDatabase();
    const shown: unknown[] = [];
    const late = {
      async up(db: Kysely<unknown>) {
        shown.push((await sql`show statement_timeout`.execute(db)).rows);
      },
    };
    await open({ address, password: null }, { migrations: { ...postgresMigrations, '9999-late': late } });
    expect(shown).toEqual([[{ statement_timeout: '1h' }]]);
  });

  it('of a newer version is refused', async () => {
    const { address } = await emptyDatabase();
    const later = { ...postgresMigrations, '9999-later': { up: () => Promise.resolve() } };
    await open({ address, password: null }, { migrations: later });
    await expect(open({ address, password: null })).rejects.toMatchObject({ code: 'store_newer' });
  });

  it('is not created among the tables of another program, which stay unchanged', async () => {
    const { address, query } = await emptyDatabase();
    await query('create table grants (ours text)');
    await expect(open({ address, password: null })).rejects.toMatchObject({ code: 'store_damaged' });
    const { rows } = await query(
      `select table_name from information_schema.tables where table_name = 'meta'`,
    );
    expect(rows).toEqual([]);
  });

  it('stores NUL characters as U+FFFD', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const record = grantRecord({ stateReason: 'a\0b' });
    await store.grants.insert(record);
    expect((await store.grants.get(record.id))?.stateReason).toBe('a\ufffdb');
  });

  it('reports an unreachable server with its location, and without the password', async () => {
    const address = {
      user: 'u',
      host: '127.0.0.1',
      port: 1,
      database: 'd',
      tls: false,
      rootCertificate: null,
    };
    const opening = open({ address, password: () => Promise.resolve('hunter2') });
    await expect(opening).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    await expect(opening).rejects.toThrow('postgres://u@127.0.0.1:1/d');
  });

  it('opens only with the password that the server requires', async () => {
    const [{ address, query }, { port }] = [await emptyDatabase(), await postgresServer()];
    const role = `do $$ begin create role locked login superuser password 'right'; exception when others then null; end $$`;
    await query(role);
    const locked = { ...address, user: 'locked', host: '127.0.0.1', port };
    vi.stubEnv('PGPASSWORD', 'right');
    onTestFinished(() => void vi.unstubAllEnvs());
    await expect(open({ address: locked, password: null })).rejects.toMatchObject({ code: 'secret_missing' });
    const wrong = open({ address: locked, password: () => Promise.resolve('hunter2') });
    await expect(wrong).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.not.stringContaining('hunter2'),
    });
    await expect(wrong).rejects.toThrow('refuses this user or its password');
    await open({ address: locked, password: () => Promise.resolve('right') });
  });

  it('opens over TLS only with the certificate of its host', async () => {
    const [{ address }, { port, folder }] = [await emptyDatabase(), await postgresServer()];
    const rootCertificate = join(await tempFolder(), 'root.pem');
    copyFileSync(join(folder, 'data', 'server.crt'), rootCertificate);
    const over = (host: string, root: string | null) =>
      open({ address: { ...address, host, port, tls: true, rootCertificate: root }, password: null });
    const refused = { code: 'store_unavailable' };
    await expect(over('localhost', null)).rejects.toMatchObject(refused);
    await expect(over('127.0.0.1', rootCertificate)).rejects.toMatchObject(refused);
    await (await over('localhost', rootCertificate)).grants.find({});
    await expect(over('localhost', '/nowhere.pem')).rejects.toMatchObject({ code: 'config_invalid' });
  });

  it('fails while the database is unavailable, keeps its epoch, and recovers', async () => {
    const { proxy, store, address } = await behindProxy();
    const elsewhere = await open({ address, password: null });
    await store.grants.insert(grantRecord());
    // The own write of a grant and its names, and the notifications of both.
    await vi.waitFor(() => expect(store.epoch()).toBe(4));
    const before = store.epoch();
    proxy.cut();
    await expect(store.grants.find({})).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(store.agents.insert(agentRecord())).rejects.toMatchObject({ code: 'store_unavailable' });
    await elsewhere.agents.insert(agentRecord());
    expect(store.epoch()).toBe(before);
    proxy.mend();
    expect(await store.grants.find({})).toHaveLength(1);
    await changes(store, before);
  });

  it('receives no change while the connection is frozen, and all changes afterwards', async () => {
    const { proxy, store, address } = await behindProxy();
    const elsewhere = await open({ address, password: null });
    const before = store.epoch();
    proxy.freeze();
    await elsewhere.agents.insert(agentRecord());
    expect(store.epoch()).toBe(before);
    proxy.mend();
    await changes(store, before);
    expect(await store.agents.list()).toHaveLength(1);
  });

  it('receives changes after the listening connection has ended', async () => {
    const { address, query } = await emptyDatabase();
    const [store, elsewhere] = [
      await open({ address, password: null }),
      await open({ address, password: null }),
    ];
    await query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and (query like 'listen%' or query like 'select extract%')`,
    );
    for (let round = 0; round < 5; round += 1) {
      const before = store.epoch();
      await elsewhere.agents.insert(agentRecord({ name: `agent-${round}` }));
      await changes(store, before);
    }
  });

  it('reconnects at growing random intervals during an outage, and immediately when the connection is lost again', async () => {
    const waits: number[] = [];
    const { proxy, store, address } = await behindProxy({
      clock: {
        now: () => performance.now(),
        after: (ms, run) => {
          waits.push(ms);
          // Ten times as fast.
          const timer = setTimeout(run, ms / 10);
          return () => clearTimeout(timer);
        },
      },
    });
    const elsewhere = await open({ address, password: null });
    proxy.cut();
    const before = store.epoch();
    waits.length = 0;
    await vi.waitFor(() => expect(waits.length).toBeGreaterThan(12), { timeout: 10_000 });
    const last = waits.slice(-4);
    expect(Math.min(...last)).toBeGreaterThanOrEqual(750);
    expect(Math.max(...last)).toBeLessThanOrEqual(1_500);
    expect(new Set(last).size).toBe(last.length);
    proxy.mend();
    await vi.waitFor(() => expect(store.epoch()).not.toBe(before), { timeout: 1_000, interval: 5 });
    waits.length = 0;
    await elsewhere.agents.insert(agentRecord());
    await vi.waitFor(() => expect(waits).toContain(250));
  });

  it('with several servers uses the server that responds and accepts writes', async () => {
    const [{ address }, { port }] = [await emptyDatabase(), await postgresServer()];
    const [one, two] = [await cutProxy(port), await cutProxy(port)];
    const host = '127.0.0.1';
    const others = [{ host, port: two.port }];
    one.cut();
    const store = await open({ address: { ...address, host, port: one.port, others }, password: null });
    await store.agents.insert(agentRecord());
    one.mend();
    two.cut();
    await vi.waitFor(() => store.agents.list(), { timeout: 5_000 });
    await store.agents.insert(agentRecord({ name: 'second' }));
    const elsewhere = await open({ address, password: null });
    expect(await elsewhere.agents.list()).toHaveLength(2);
  });

  it('with several servers reports when no server accepts writes', async () => {
    const [{ address, query }, { port }] = [await emptyDatabase(), await postgresServer()];
    await query(`alter database ${address.database} set default_transaction_read_only = on`);
    const several = { ...address, host: '127.0.0.1', port, others: [{ host: 'localhost', port }] };
    await expect(open({ address: several, password: null })).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(
        /^No server of postgres:\/\/sidekey@127\.0\.0\.1:\d+,localhost:\d+\/\w+ takes writes\.$/,
      ),
    });
  });

  it('keeps its epoch valid for 15 minutes without the database, and no longer', async () => {
    let time = 0;
    const { proxy, store } = await behindProxy({
      clock: {
        now: () => time,
        after: (ms, run) => {
          const timer = setTimeout(run, ms);
          return () => clearTimeout(timer);
        },
      },
    });
    proxy.cut();
    time = maxOutageMs;
    expect(() => store.epoch()).not.toThrow();
    time += 1;
    expect(() => store.epoch()).toThrow(expect.objectContaining({ code: 'store_unavailable' }));
    proxy.mend();
    await vi.waitFor(() => store.epoch(), { timeout: 5_000, interval: 10 });
  });

  it('uses the clock of the database for locks, regardless of the clocks of its nodes', async () => {
    const { address } = await emptyDatabase();
    const ahead = await open({ address, password: null }, { now: () => Date.now() + 300_000 });
    const behind = await open({ address, password: null }, { now: () => Date.now() - 300_000 });
    expect(await behind.locks.acquire('refresh/1', 'behind', 10_000)).toBe(true);
    expect(await ahead.locks.acquire('refresh/1', 'ahead', 10_000)).toBe(false);
    const left = (await ahead.locks.look('refresh/1'))!.leftMs;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(10_000);
  });

  it('reports a refresh to the processes that poll, and notifies none', async () => {
    const { address } = await emptyDatabase();
    const [store, second] = [
      await open({ address, password: null }),
      await open({ address, password: null }),
    ];
    const client = await connected(address);
    const heard: string[] = [];
    client.on('notification', ({ payload = '' }) => heard.push(payload));
    const record = grantRecord();
    await store.grants.insert(record);
    await client.query(`listen ${channel}`);
    const before = second.epoch();
    const refresh = { name: `refresh/${record.id}`, holder: 'one', at: now() };
    second.held!.count(record.id, 1);
    await store.grants.replace({ ...record, revision: 2 }, 1, refresh);
    await vi.waitFor(() => expect(second.changesSince(before).grants).toContain(record.id));
    expect(heard).toEqual([]);
    await store.grants.replace({ ...record, revision: 3 }, 2);
    await vi.waitFor(() => expect(heard).toEqual([ofGrant(record.id)]));
  });

  it('reports a refresh that commits after a later one', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const [slow, fast] = [grantRecord({ name: 'slow' }), grantRecord({ name: 'fast' })];
    await store.grants.insert(slow, fast);
    for (const { id } of [slow, fast]) store.held!.count(id, 1);
    const changed = `update grants set sealed = 'x', changed_in = pg_current_xact_id()::text::bigint where name =`;
    const [first, second] = [await connected(address), await connected(address)];
    await vi.waitFor(() => expect(store.changesSince(0).names).toHaveLength(2));
    await first.query('begin');
    await first.query(`${changed} 'slow'`);
    let before = store.epoch();
    await second.query(`${changed} 'fast'`);
    await vi.waitFor(() => expect(store.changesSince(before).grants).toEqual([fast.id]));
    before = store.epoch();
    await first.query('commit');
    await vi.waitFor(() => expect(store.changesSince(before).grants).toEqual([slow.id]));
  });

  it('reports a restored grant, which has the transaction of an earlier refresh', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const record = grantRecord();
    await store.grants.insert(record);
    await vi.waitFor(() => expect(store.changesSince(0).names).toHaveLength(1));
    const before = store.epoch();
    await (await connected(address)).query(`update grants set sealed = 'x', changed_in = 5`);
    await vi.waitFor(() => expect(store.changesSince(before).grants).toEqual([record.id]));
  });

  it('ignores transactions of another server in a copied database', async () => {
    const { address } = await emptyDatabase();
    let polls = 0;
    const store = await open({ address, password: null }, { onTime: () => (polls += 1) });
    await store.grants.insert(grantRecord());
    await (await connected(address)).query('update grants set changed_in = 1000000000000000');
    const polledAgain = async () => {
      const polled = polls;
      await vi.waitFor(() => expect(polls).toBeGreaterThan(polled + 2), { timeout: 5_000 });
    };
    // The insert itself may be reported by several polls.
    await polledAgain();
    expect(store.changesSince(0).names).toHaveLength(1);
    const before = store.epoch();
    await polledAgain();
    expect(store.epoch()).toBe(before);
  });

  it('polls for refreshes by index', async () => {
    const { address } = await emptyDatabase();
    await open({ address, password: null });
    const client = await connected(address);
    await client.query('set enable_seqscan = off');
    const { rows } = await client.query(`explain ${news}`, ['10:20:10', Buffer.alloc(8), [], []]);
    expect(JSON.stringify(rows)).toMatch(/Index Cond: \(\(changed_in >= .* AND \(changed_in < /);
  });

  it('looks for references by index, even if all grants have one provider', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const records = Array.from({ length: 1_000 }, (_, n) => grantRecord({ name: `g${n}`, provider: 'acme' }));
    await store.grants.insert(...records);
    const client = await connected(address);
    await client.query('vacuum analyze grants');
    const query = vi.spyOn(Client.prototype, 'query');
    onTestFinished(() => query.mockRestore());
    expect([...(await store.grantChecks.existing(['acme', 'other', 'g1']))]).toEqual(['acme', 'g1']);
    const calls = query.mock.calls as unknown as [text: string, values: string[]][];
    const [text, values] = calls.find(([each]) => each.includes('as texts'))!;
    const { rows } = await client.query(`explain ${text}`, values);
    expect(JSON.stringify(rows)).not.toContain('Seq Scan');
  });

  it('lists agents with their leases by index', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const query = vi.spyOn(Client.prototype, 'query');
    onTestFinished(() => query.mockRestore());
    await store.agents.inList(1, { limit: 10 });
    const calls = query.mock.calls as unknown as [text: string, values: unknown[]][];
    const [text, values] = calls.find(([each]) => each.includes('agent_tokens'))!;
    const client = await connected(address);
    await client.query('set enable_seqscan = off');
    const { rows } = await client.query(`explain ${text}`, values);
    expect(JSON.stringify(rows)).not.toContain('Seq Scan');
  });

  it.each([
    ['0038-approval-lists', 'questions', 'leases'],
    ['0038-approval-lists', 'agent_tokens', 'agents'],
    ['0039-people', 'passkeys', 'people'],
    ['0039-people', 'people', 'api_keys'],
  ])('runs %s beside a process that reads %s, then %s', async (migration, first, second) => {
    const { address, query } = await emptyDatabase();
    const before = Object.entries(postgresMigrations).filter(([name]) => name < migration);
    await open({ address, password: null }, { migrations: Object.fromEntries(before) });
    const client = await connected(address);
    await client.query(`begin; select from ${first}`);
    const migrated = open({ address, password: null });
    await vi.waitFor(async () =>
      expect((await query('select from pg_locks where not granted')).rowCount).toBe(1),
    );
    const [read] = await Promise.allSettled([client.query(`select from ${second}; commit`), migrated]);
    expect(read.status).toBe('fulfilled');
    await migrated;
  });

  it('keeps the triggers of columns that got another collation', async () => {
    const { address, query } = await emptyDatabase();
    await open({ address, password: null });
    const { rows } = await query(
      `select tgname || ' on ' || tgrelid::regclass as name from pg_trigger where not tgisinternal
      and tgrelid::regclass::text in ('agent_tokens', 'bindings', 'leases', 'questions', 'proposals')`,
    );
    expect(rows.map((row) => (row as { name: string }).name).toSorted()).toEqual([
      'sidekey_tell on agent_tokens',
      'sidekey_tell on bindings',
      'sidekey_tell on leases',
      'sidekey_tell on proposals',
      'sidekey_tell on questions',
      'sidekey_tell_removed on leases',
      'sidekey_tell_row on agent_tokens',
      'sidekey_tell_row on bindings',
      'sidekey_tell_row on leases',
    ]);
  });

  it('reports refreshes of the grants that are held, and of those that changed after they were read', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const [held, read, other] = ['1', '2', '3'].map((digit) => grantRecord({ id: idOf(digit), name: digit }));
    await store.grants.insert(held!, read!, other!);
    store.held!.count(held!.id, 1);
    // The own writes of three grants and their names, and the notifications of both.
    await vi.waitFor(() => expect(store.epoch()).toBe(12));
    const before = store.epoch();
    const client = await connected(address);
    await client.query(`update grants set revision = 2, changed_in = pg_current_xact_id()::text::bigint`);
    await vi.waitFor(() => expect(store.changesSince(before).grants).toEqual([held!.id]));
    store.held!.read.push(read!, { ...other!, revision: 2 });
    await vi.waitFor(() => expect(store.changesSince(before).grants).toEqual([held!.id, read!.id]));
  });

  it('asks for any number of held grants in at most 8 KiB', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null });
    const records = Array.from({ length: 2_000 }, (_, index) =>
      grantRecord({ id: randomUUID(), name: `g${index}` }),
    );
    const notHex = grantRecord({ id: 'no-uuid' });
    await store.grants.insert(...records, notHex);
    const client = await connected(address);
    const snapshot = (await client.query('select pg_current_snapshot() as it')).rows[0].it as string;
    await client.query(`update grants set changed_in = pg_current_xact_id()::text::bigint`);
    for (const count of [0, 1, 30, 1_000, 2_000, 20_000]) {
      const ids = records.slice(0, count).map(({ id }) => id);
      const held = new HeldGrants();
      for (const id of ids) held.count(id, 1);
      for (let more = ids.length; more < count; more += 1) held.count(randomUUID(), 1);
      const mask = held.mask();
      expect(mask.byteLength).toBeLessThanOrEqual(8_192);
      const { rows } = await client.query(news, [snapshot, mask, [], []]);
      const changed = new Set((rows[0].changed as string).split(' '));
      expect([...ids, notHex.id].filter((id) => !changed.has(id))).toEqual([]);
      // Others have the hash of one that is held.
      if (count <= 1_000) expect(changed.size).toBeLessThan(ids.length + 400);
    }
  });

  it('has at most three connections, also while limits are counted', async () => {
    const { address, query } = await emptyDatabase();
    const store = await open({ address, password: null });
    await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        Promise.all([
          store.grants.insert(grantRecord({ id: randomUUID(), name: `g${index}` })),
          store.agents.insert(agentRecord({ name: `agent-${index}` })),
          store.changeCounts!([`c${index}`], ({ name }) => countRow(name, 1)),
          store.grantChecks.count(now()),
        ]),
      ),
    );
    const { rows } = await query(
      `select count(*)::int as count from pg_stat_activity
       where datname = current_database() and application_name = 'sidekey'`,
    );
    expect(rows[0].count).toBe(3);
  });

  it.each(['transactions', 'counts of all grants'] as const)(
    'answers statements while %s wait for a lock',
    async (kind) => {
      const { address } = await emptyDatabase();
      const store = await open({ address, password: null });
      const client = await connected(address);
      await client.query('begin');
      await client.query(
        kind === 'transactions'
          ? `update revisions set value = value`
          : 'lock grants in access exclusive mode',
      );
      const waiting = Array.from({ length: 4 }, (_, index) =>
        kind === 'transactions'
          ? store.agents.insert(agentRecord({ name: `agent-${index}` }))
          : store.grantChecks.count(now()),
      );
      const locks = () => client.query('select 1 from pg_locks where not granted');
      await vi.waitFor(async () => expect((await locks()).rows).not.toHaveLength(0));
      for (let round = 0; round < 20; round += 1) expect(await store.apiKeys.list()).toEqual([]);
      expect(await Promise.race([...waiting, store.apiKeys.list()])).toEqual([]);
      await client.query('commit');
      await Promise.all(waiting);
    },
  );

  it('waits at most 3 s for a process that is stopped inside of a transaction', async () => {
    const { address } = await emptyDatabase();
    const [stopped, store] = [
      await open({ address, password: null }),
      await open({ address, password: null }),
    ];
    const others: Promise<unknown>[] = [];
    const change = stopped.changeCounts!(['c'], () => {
      others.push(store.changeCounts!(['c'], ({ used }) => countRow('c', used + 5)));
      // Blocks the thread, as SIGSTOP does.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_500);
      return countRow('c', 1);
    });
    await expect(change).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await Promise.all(others)).toMatchObject([[{ used: 5 }]]);
  });

  it('refuses a transaction that waited 5 s for others, and continues after them', async () => {
    const { address } = await emptyDatabase();
    const late: (() => void)[] = [];
    const clock = {
      now: () => performance.now(),
      after: (ms: number, run: () => void) => {
        if (ms === 5_000) return (late.push(run), () => {});
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
    };
    const store = await open({ address, password: null }, { clock });
    const client = await connected(address);
    await client.query('begin');
    await client.query(`update revisions set value = value`);
    const insert = (name: string) => store.agents.insert(agentRecord({ name }));
    const [first, second] = [insert('first'), insert('second')];
    await vi.waitFor(() => expect(late).toHaveLength(2));
    late[1]!();
    await expect(second).rejects.toMatchObject({ code: 'store_unavailable' });
    await client.query('commit');
    await first;
    await insert('third');
    expect((await store.agents.list()).map(({ name }) => name)).toEqual(['first', 'third']);
  });

  it('completes statements inside of concurrent transactions that need a second connection', async () => {
    const { address } = await emptyDatabase();
    await open({ address, password: null });
    const tables = await openPostgresTables({ address, password: null });
    const { db } = tables;
    onTestFinished(() => tables.close());
    const nested = Array.from({ length: 6 }, () =>
      db.transaction().execute(async (inside) => {
        await inside.selectFrom('meta').select('name').execute();
        return db.selectFrom('agents').select('name').execute();
      }),
    );
    expect(await Promise.all(nested)).toHaveLength(6);
  });

  it('has a connection beside a transaction that waits, also if the config allows one', async () => {
    const { address } = await emptyDatabase();
    const store = await open({ address, password: null }, { connections: 1 });
    const tables = await openPostgresTables({ address, password: null });
    onTestFinished(() => tables.close());
    await store.changeCounts!(['c'], ({ used }) => countRow('c', used + 1));
    const waiting = await tables.db.transaction().execute(async (inside) => {
      await sql`select * from counts for update`.execute(inside);
      const changed = store.changeCounts!(['c'], ({ used }) => countRow('c', used + 1));
      const locked = sql<{ n: number }>`select count(*)::int as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      await expect.poll(async () => (await locked.execute(inside)).rows[0]?.n).toBe(1);
      expect(await store.grants.get('no-grant')).toBeNull();
      return { changed };
    });
    expect(await waiting.changed).toHaveLength(1);
  });

  it('returns a grant under its lock as the previous holder committed it, even if both overlap', async () => {
    const database = await emptyDatabase();
    const store = await open({ address: database.address, password: null });
    const record = grantRecord();
    await store.grants.insert(record);
    const lock = { name: `refresh/${record.id}`, holder: 'one', ttlMs: 1_000, silentMs: 0 };
    await store.locks.acquireFor(record.id, lock);
    const client = await connected(database.address);
    // The commit of the first holder.
    await client.query('begin');
    await client.query('update grants set revision = 2, sealed = $1', [Buffer.from('new')]);
    await client.query('delete from locks');
    const waiting = store.locks.acquireFor(record.id, { ...lock, holder: 'two' });
    await vi.waitFor(async () =>
      expect((await database.query('select 1 from pg_locks where not granted')).rows).toHaveLength(1),
    );
    await client.query('commit');
    expect((await waiting)?.record).toMatchObject({ revision: 2, sealed: Buffer.from('new') });
  });

  it('never accepts more proposals than may wait, even from nodes that propose at the same time', async () => {
    const { address } = await emptyDatabase();
    const stores = await Promise.all([1, 2, 3].map(() => open({ address, password: null })));
    const asked = Array.from({ length: 12 }, (_, index) =>
      stores[index % 3]!.proposals.propose(proposal(`p${index}`) as never, 4),
    );
    expect((await Promise.all(asked)).filter((it) => it !== null)).toHaveLength(4);
  });
});

describe('an error of PostgreSQL', () => {
  it.each(['23505'])('of a violated unique constraint is a duplicate', (code) => {
    expect(postgresFault('here', error(code))).toBe('duplicate');
  });

  it.each(['40P01', '40001', '23503'])('%s is a conflict, after which the query is repeated', (code) => {
    expect(postgresFault('here', error(code))).toBe('again');
  });

  it.each([
    ['42P01', 'store_damaged'],
    ['XX001', 'store_damaged'],
    ['57P01', 'store_unavailable'],
    ['25006', 'store_unavailable'],
    ['53300', 'store_unavailable'],
    ['42501', 'store_unavailable'],
    ['28P01', 'store_unavailable'],
    ['99999', 'store_unavailable'],
  ])('%s is %s, with a hint and without the text of the server', (code, expected) => {
    const fault = postgresFault('here', error(code));
    expect(fault).toMatchObject({ code: expected });
    expect((fault as Error).message).not.toContain('hunter2');
  });
});
