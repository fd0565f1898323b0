import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import type * as FileSystem from 'node:fs/promises';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { Decrypter, Encrypter } from 'age-encryption';
import { sql } from 'kysely';
import { describe, expect, it, vi } from 'vitest';
import { everything } from '../../../src/domain/lease.ts';
import { backUp, partsOf } from '../../../src/app/backup.ts';
import { openTables } from '../../../src/app/state.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { type BackupPart, rowsOf, writeLines } from '../../../src/store/backup.ts';
import type { StoreTables, Untyped } from '../../../src/store/copy.ts';
import { sealWithAge } from '../../../src/store/vault/age.ts';
import { program } from '../../support/command-line.ts';
import {
  engines,
  identity,
  addGrants,
  machine,
  type Machine,
  ok,
  opened,
  openedStore,
  recipient,
} from '../../support/backup-machine.ts';
import { postgresMissing } from '../../support/postgres.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { agentRecord, leaseRecord, tokenRecord } from '../../support/rights.ts';
import { startTwoWorkers } from '../../support/two-workers.ts';

const linkless = vi.hoisted(() => new Set<unknown>());

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof FileSystem>();
  const link: typeof real.link = async (from, to) => {
    if (linkless.has(to)) throw Object.assign(new Error('no links'), { code: 'EPERM', syscall: 'link' });
    return real.link(from, to);
  };
  return { ...real, link };
});

const keyOfEnv = { key: { source: 'env', name: 'SIDEKEY_KEY' } };

async function decrypted(file: string): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  return decrypter.decrypt(await readFile(file), 'text');
}

describe.each(engines)('a backup of a store in %s during concurrent writes', (_name, engine) => {
  const isMissing = engine === 'postgres' && postgresMissing !== null;

  it.skipIf(isMissing)('contains a consistent snapshot of the store', { timeout: 120_000 }, async () => {
    const at = await machine(engine);
    await at.connect('desk', 'r-1');
    const { store, close } = await openedStore(at);
    const [record] = await store.grants.find({});
    const load = new AbortController();
    const writes = (async () => {
      for (let revision = record!.revision + 1; !load.signal.aborted; revision += 1) {
        await store.grants.replace({ ...record!, revision }, revision - 1);
        const token = tokenRecord({ agent: `a-${revision}` });
        await store.agents.insert(agentRecord({ name: token.agent }), {
          tokens: [token],
          bindings: [everything],
        });
      }
    })();
    for (const file of ['1.age', '2.age', '3.age']) expect(await at.backup(at.at(file))).toMatchObject(ok);
    load.abort();
    await writes;
    await close();
    for (const file of ['1.age', '2.age', '3.age']) {
      const rows: Record<string, readonly unknown[]> = {};
      for await (const part of partsOf(at.at(file), { identities: [identity] }))
        if (part.kind === 'rows') rows[part.table] = [...(rows[part.table] ?? []), ...part.rows];
      const names = (table: string, column: string) =>
        (rows[table] ?? []).map((row) => String((row as Record<string, unknown>)[column])).toSorted();
      const agents = names('agents', 'name');
      expect(names('agentTokens', 'agent')).toEqual(agents);
      expect(names('bindings', 'agent')).toEqual(agents);
      // The agent of a revision is added after it.
      const [revision] = names('grants', 'revision').map(Number);
      expect([agents.length, agents.length + 1]).toContain(revision! - record!.revision);
    }
  });
});

describe.each(engines)('a backup of a store in %s with a passphrase', (_name, engine) => {
  const isMissing = engine === 'postgres' && postgresMissing !== null;

  it.skipIf(isMissing)(
    'derives its key before the database transaction begins',
    { timeout: 60_000 },
    async () => {
      const at = await machine(engine);
      await at.connect('desk', 'r-1');
      const state = await opened(at);
      const [tables, watch] = [await openTables(state.config, {}), await openTables(state.config, {})];
      const events: string[] = [];
      const begin = tables.db.transaction.bind(tables.db);
      vi.spyOn(tables.db, 'transaction').mockImplementation(() => {
        events.push('transaction');
        return begin();
      });
      const encrypt = Reflect.get(Encrypter.prototype, 'encrypt') as (
        file: ReadableStream,
      ) => Promise<ReadableStream>;
      const spy = vi.spyOn(Encrypter.prototype, 'encrypt').mockImplementation(async function (
        this: Encrypter,
        file: unknown,
      ) {
        const sealed = await encrypt.call(this, file as ReadableStream);
        const open =
          engine === 'sqlite'
            ? []
            : await watch.db
                .selectFrom(sql<{ state: string }>`pg_stat_activity`.as('activity'))
                .where(sql<boolean>`datname = current_database() and state like 'idle in transaction%'`)
                .select('state')
                .execute();
        events.push('key', ...open.map((row) => row.state));
        return sealed as never;
      });
      try {
        const lock = { passphrase: 'correct horse' };
        const file = at.at('x.age');
        await backUp(state, tables, { file, lock, force: false, version: '1', now: Date.now });
        expect(events).toEqual(['key', 'transaction']);
      } finally {
        spy.mockRestore();
        await watch.close();
        await tables.close();
        await state.close();
      }
    },
  );
});

describe('a backup during the work of a proxy with two workers', () => {
  it('causes no failed request, and a restored grant works at once', { timeout: 120_000 }, async () => {
    const { at, url, upstream } = await startTwoWorkers();
    const target = `https://${upstream.authority}/under-load`;
    const load = new AbortController();
    const answers: { readonly status: number }[] = [];
    const callers = Array.from({ length: 4 }, async () => {
      while (!load.signal.aborted) answers.push((await proxiedGet(url, target)) as { status: number });
    });
    expect(await at.program(['backup', at.at('x.age'), '--recipient', recipient])).toMatchObject(ok);
    load.abort();
    await Promise.all(callers);
    expect(answers.length).toBeGreaterThan(20);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));

    await at.run(['grant', 'remove', 'work', '--local']);
    expect(((await proxiedGet(url, target)) as { status: number }).status).not.toBe(200);
    await writeFile(at.at('identity'), identity, { mode: 0o600 });
    const words = ['restore', at.at('x.age'), '--identity', at.at('identity'), '--replace'];
    expect(await at.run(words)).toMatchObject(ok);
    expect(await proxiedGet(url, target)).toMatchObject({ status: 200 });
    expect((await at.run(['audit', 'verify'])).stdout).toContain('is intact');
  });
});

function comparable(row: object): object {
  const members = Object.entries(row).map(([name, value]: [string, unknown]) => {
    const bytes = value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
    return [name, name === 'sealed' ? null : bytes];
  });
  return Object.fromEntries(members) as object;
}

/**
 * The rows of a store in each table, without what each store has of its own: seals, keys, ends of its log.
 */
async function rowsIn(at: Machine): Promise<Readonly<Record<string, readonly unknown[]>>> {
  const tables = await openTables(await loadConfig(at.configFile, { env: {} }), {});
  const found: Record<string, unknown[]> = {};
  for await (const [table, rows] of rowsOf(tables.db as unknown as Untyped))
    if (table !== 'meta')
      for (const row of rows)
        if (row['log'] !== at.at('data', 'audit.jsonl')) (found[table] ??= []).push(comparable(row));
  await tables.close();
  return found;
}

describe.skipIf(postgresMissing !== null)(`a backup of SQLite${postgresMissing ?? ''}`, () => {
  it('can be restored into PostgreSQL, and a backup of that into SQLite, with equal rows', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const { store, close } = await openedStore(at);
    const [grant] = await store.grants.find({});
    const bot = { agent: 'bot' };
    await store.agents.insert(agentRecord({ name: 'bot', labels: ['a"b'] }), {
      tokens: [tokenRecord(bot)],
      bindings: [everything],
    });
    await store.leases.insert(leaseRecord({ ...bot, grants: [grant!.id] }));
    await store.grantPolicies.set(grant!.id, { labels: ['x'] });
    await store.activity.note(grant!.id, { failedAt: 5, failure: 'ä' });
    await store.auditHeads.put({ log: '/other', node: 'n/1', seq: 7, sealed: Buffer.of(0, 255) });
    await store.people.insert({
      name: 'ann',
      role: 'viewer',
      user: null,
      identity: null,
      disabledAt: null,
      generation: 2,
      createdAt: 1,
    });
    await store.people.passkeys.insert({
      id: 'p',
      person: 'ann',
      publicKey: Buffer.of(10, 13),
      counter: 0,
      label: 'key',
      createdAt: 1,
      usedAt: null,
    });
    await close();
    expect(await at.run(['api-key', 'create', 'app', '--role', 'operator'])).toMatchObject(ok);
    const expected = await rowsIn(at);
    expect(Object.keys(expected)).toHaveLength(11);

    const [middle, last] = [await machine('postgres'), await machine('sqlite')];
    expect(await at.backup(at.at('x.age'))).toMatchObject(ok);
    expect(await middle.restore(at.at('x.age'))).toMatchObject(ok);
    expect(await middle.backup(at.at('y.age'))).toMatchObject(ok);
    expect(await last.restore(at.at('y.age'))).toMatchObject(ok);
    for (const each of [middle, last]) {
      const rows = await rowsIn(each);
      // Each machine adds its chain and, in PostgreSQL, itself.
      const own = { auditEnds: [], nodes: [] };
      expect({ ...rows, ...own }).toEqual({ ...expected, ...own });
      expect(rows['auditEnds']).toEqual(expect.arrayContaining(expected['auditEnds'] as unknown[]));
      expect(await each.tokens()).toEqual({ desk: 'r-1' });
    }
  });
});

/** Backs up with a store that does `meanwhile` after its rows were read. */
async function backedUp(at: Machine, meanwhile: () => void, audit?: () => Promise<void>): Promise<unknown> {
  const state = await opened(at);
  const tables = await openTables(state.config, {});
  const execute: unknown = async (use: (db: unknown) => Promise<unknown>) => {
    const result = await tables.db.transaction().execute(use);
    meanwhile();
    return result;
  };
  const db = { transaction: () => ({ setIsolationLevel: () => ({ execute }) }) };
  const options = {
    file: at.at('x.age'),
    lock: { recipients: [recipient] },
    force: false,
    version: '1',
    now: Date.now,
  };
  const log = audit === undefined ? state.audit : { ...state.audit, append: audit };
  try {
    return await backUp({ ...state, audit: log }, { ...tables, db } as unknown as StoreTables, options);
  } finally {
    await tables.close();
    await state.close();
  }
}

describe('a backup', () => {
  it('is removed if the disk corrupted the written file', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const spoil = () => {
      const draft = readdirSync(at.folder).find((name) => name.startsWith('.x.age'))!;
      truncateSync(at.at(draft), statSync(at.at(draft)).size - 20);
    };
    await expect(backedUp(at, spoil)).rejects.toMatchObject({ code: 'record_tampered' });
    expect(readdirSync(at.folder).filter((name) => name.includes('age'))).toEqual([]);
  });

  it('does not replace a file that appears at its path in the meantime', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const other = () => writeFileSync(at.at('x.age'), 'of another');
    await expect(backedUp(at, other)).rejects.toMatchObject({ code: 'already_exists' });
    expect(await readFile(at.at('x.age'), 'utf8')).toBe('of another');
  });

  it('can be written to a file system without hard links, without replacing a file there', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    linkless.add(at.at('x.age'));
    expect(await at.backup(at.at('x.age'))).toMatchObject(ok);
    const before = await readFile(at.at('x.age'));
    expect(before.subarray(0, 21).toString()).toBe('age-encryption.org/v1');
    await expect(backedUp(at, () => {})).rejects.toMatchObject({ code: 'already_exists' });
    expect(await readFile(at.at('x.age'))).toEqual(before);
    expect(readdirSync(at.folder).filter((name) => name.includes('age'))).toEqual(['x.age']);
  });

  it('is not restored if its list of database migrations differs', async () => {
    const [at, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await at.connect('desk', 'r-1');
    await at.backup(at.at('x.age'));
    const lines = (await decrypted(at.at('x.age'))).replace('"0001-first",', '');
    const { stream } = await sealWithAge(ReadableStream.from([Buffer.from(lines)]), {
      recipients: [recipient],
    });
    await writeFile(at.at('y.age'), await new Response(stream).bytes());
    const refused = await fresh.restore(at.at('y.age'));
    expect([refused.exit, refused.stderr]).toEqual([2, expect.stringContaining('with other tables')]);
  });

  it('can be restored under a new key from the environment', { timeout: 120_000 }, async () => {
    const [at, fresh] = [await machine('sqlite'), await machine('sqlite', keyOfEnv)];
    await at.connect('desk', 'r-1');
    await at.backup(at.at('x.age'));
    const env = { SIDEKEY_KEY: randomBytes(32).toString('base64') };
    const words = ['restore', at.at('x.age'), '--identity', at.at('identity')];
    expect(await fresh.program(words, { env })).toMatchObject(ok);
    const status = await fresh.program(['key', 'status', '--json'], { env });
    expect(JSON.parse(status.stdout)).toMatchObject({ source: 'env', rotating: false, left: 0 });
    expect((await fresh.program(['grant', 'show', 'desk'], { env })).stdout).toContain('active');
  });

  it('is removed if its audit record cannot be written', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const full = new SidekeyError('audit_unavailable');
    await expect(
      backedUp(
        at,
        () => {},
        async () => Promise.reject(full),
      ),
    ).rejects.toBe(full);
    expect(readdirSync(at.folder).filter((name) => name.includes('age'))).toEqual([]);
  });

  it('contains no sign-in of a person', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const state = await opened(at);
    await state.store.sessions.insert({
      id: 'of-alice',
      expiresAt: Date.now() + 60_000,
      sealed: Buffer.of(1),
    });
    await state.close();
    await at.backup(at.at('x.age'));
    const tables = new Set<string>();
    for await (const part of partsOf(at.at('x.age'), { identities: [identity] }))
      if (part.kind === 'rows') tables.add(part.table);
    expect(tables).not.toContain('sessions');
    expect(tables).toContain('grants');
  });
});

describe('a backup file', () => {
  it('changes nothing when restored if it was cut, changed or forged', { timeout: 120_000 }, async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    const file = old.at('backup.age');
    await old.backup(file);
    const whole = await readFile(file);
    const before = await fresh.everything();
    const flipped = (at: number) => {
      const copy = Buffer.from(whole);
      copy[at]! ^= 1;
      return copy;
    };
    const header = whole.indexOf('\n--- ');
    const broken: readonly (readonly [string, Buffer])[] = [
      ['empty', Buffer.alloc(0)],
      ['cut in its header', whole.subarray(0, header)],
      ['cut at its end', whole.subarray(0, -1)],
      ['without its last 100 bytes', whole.subarray(0, -100)],
      ['longer', Buffer.concat([whole, Buffer.alloc(1)])],
      ['flipped in its version', flipped(5)],
      ['flipped in a recipient', flipped(40)],
      ['flipped in the code of the header', flipped(header + 10)],
      ['flipped in its nonce', flipped(whole.indexOf('\n', header + 5) + 1)],
      ['flipped in its rows', flipped(whole.length - 200)],
      ['flipped in its last tag', flipped(whole.length - 1)],
    ];
    for (const [what, bytes] of broken) {
      await writeFile(fresh.at('broken.age'), bytes);
      const { exit, stderr } = await fresh.restore(fresh.at('broken.age'));
      expect([what, exit === 1 || exit === 2, stderr]).toEqual([
        what,
        true,
        expect.stringMatching(/was changed or cut short|does not open/),
      ]);
      await rm(fresh.at('broken.age'));
    }
    expect(await fresh.everything()).toEqual(before);
  });

  it('changes nothing when restored if it was made without the master key', async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    await old.backup(old.at('backup.age'));
    const parts: BackupPart[] = [];
    for await (const part of partsOf(old.at('backup.age'), { identities: [identity] })) parts.push(part);
    const [first] = parts;
    if (first?.kind !== 'head') throw new Error('no head');
    const rows = async function* () {
      for (const part of parts) if (part.kind === 'rows') yield [part.table as 'meta', part.rows] as const;
      const hash = Buffer.alloc(32, 7);
      const key = { name: 'evil', hash, role: 'operator', scopes: null, user: null, person: null };
      yield ['apiKeys', [{ ...key, createdAt: 0, expiresAt: null, usedAt: null }]] as const;
    };
    const mac = parts.findLast((part) => part.kind === 'end')?.mac ?? '';
    const forged = writeLines(first.head, rows(), () => mac);
    const { stream } = await sealWithAge(ReadableStream.from(forged), { recipients: [recipient] });
    await writeFile(fresh.at('forged.age'), await new Response(stream).bytes());
    expect((await fresh.restore(fresh.at('forged.age'))).stderr).toContain(
      'was not made with the master key',
    );
    expect(await fresh.tokens()).toEqual({});
    expect(await fresh.run(['key', 'status'])).toMatchObject({
      stdout: expect.stringContaining('There is no master key yet'),
    });
  });

  it('with a passphrase opens only with that passphrase', { timeout: 120_000 }, async () => {
    const [old, fresh] = [await machine('sqlite'), await machine('sqlite')];
    await old.connect('desk', 'r-1');
    const file = old.at('backup.age');
    const passphrase = ['--passphrase', 'env:P'];
    const made = await old.run(['backup', file, ...passphrase], { env: { P: 'correct horse' } });
    expect(made.stdout).toContain('sealed for a passphrase');
    expect(await fresh.run(['restore', file, ...passphrase], { env: { P: 'wrong' } })).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('does not open with this passphrase'),
    });
    expect(await fresh.run(['restore', file], {})).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('--passphrase env:NAME'),
    });
    const restored = await fresh.run(['restore', file, ...passphrase], { env: { P: 'correct horse' } });
    expect(restored).toMatchObject(ok);
    expect(await fresh.tokens()).toEqual({ desk: 'r-1' });
  });

  it('is removed if it does not fit on the disk', async () => {
    const at = await machine('sqlite');
    await addGrants(at, 50);
    const limited = ['-c', 'ulimit -f 64; exec "$@"', 'sh', process.execPath, program];
    const words = ['backup', at.at('x.age'), '--recipient', recipient, '--config', at.configFile];
    const child = spawn('sh', [...limited, ...words], { env: { HOME: at.folder }, cwd: at.folder });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    expect([code, stderr]).toEqual([1, expect.stringContaining('cannot be written (EFBIG)')]);
    expect([...(await at.everything()).keys()].filter((name) => name.includes('.age'))).toEqual([]);
  });

  it('is replaced only with --force, and no draft remains', async () => {
    const at = await machine('sqlite');
    await at.connect('desk', 'r-1');
    const file = at.at('backup.age');
    await writeFile(file, 'mine');
    expect((await at.backup(file)).stderr).toContain('exists');
    expect(await readFile(file, 'utf8')).toBe('mine');
    expect(await at.run(['backup', file, '--recipient', recipient, '--force'])).toMatchObject(ok);
    expect((await readFile(file, 'latin1')).slice(0, 21)).toBe('age-encryption.org/v1');
    expect((await at.run(['backup', at.at('no', 'x.age'), '--recipient', recipient])).stderr).toContain(
      'ENOENT',
    );
    expect(await at.run(['backup', at.at('x.age'), '--recipient', 'age1nonsense'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('A recipient is not valid'),
    });
    const names = [...(await at.everything()).keys()];
    expect(names.filter((name) => name.includes('.age'))).toEqual(['backup.age']);
  });
});
