/**
 * `npm run scale:figures -- 10000`: measures what so many grants and their use cost a PostgreSQL of this
 * machine, and the processes beside it; and what a process costs with them, beside the same with 100.
 * docs/internals/scale.md computes with the figures. Needs PostgreSQL.
 */
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { createActivityNotes } from '../../src/grants/activity.ts';
import type { OAuth2Credential } from '../../src/domain/credential.ts';
import { openRegistry } from '../../src/grants/registry.ts';
import { createTokenSource } from '../../src/grants/token-source.ts';
import { systemTimers } from '../../src/lib/timers.ts';
import { createNodesQuota } from '../../src/agents/quota/nodes-quota.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { channel } from '../../src/store/change-log.ts';
import { masterKey } from '../../src/store/vault/key-source.ts';
import { createVault } from '../../src/store/vault/vault.ts';
import { oauth2Credential } from '../support/oauth2-credential.ts';
import { createDatabase, postgresMissing } from '../support/postgres.ts';
import { aProvider } from '../support/provider.ts';
import { type Figures, measureStored } from './stored.ts';
import { allGrants } from '../support/all-grants.ts';

/** Grants of the figures of stored grants. */
const many = Number(process.argv[2] ?? 10_000);
/** Grants that are added one by one. */
const count = Math.min(many, 10_000);
const refreshes = Math.min(count, 500);
const audience = ['api.acme.test'];
const vault = createVault(masterKey(randomBytes(32)));
const text = (bytes: number) => randomBytes(bytes).toString('base64url');
const figures: Record<string, number> = { grants: count };
const hour = 3_600_000;

if (postgresMissing !== null) {
  console.error(`skipped${postgresMissing}`);
  process.exit(0);
}
await printStored();
const database = await createDatabase();
const access = { address: database.address, password: null };
const [a, b] = [await openProcess(), await openProcess()];
try {
  await measureGrants();
  await measureChange();
  await measureRefreshes();
  await measureListeners();
  await measureLimits();
  for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(48)} ${rounded(value)}`);
} finally {
  await a.store.close();
  await b.store.close();
  await database.drop();
}
process.exit(0);

async function openProcess() {
  const store = await openPostgresStore(access, { now: Date.now });
  return { store, registry: openRegistry({ store, vault, now: Date.now }) };
}

/** Prints the figures of stored grants, with 100 and with `many`. */
async function printStored(): Promise<void> {
  for (const kind of ['SQLite', 'PostgreSQL'] as const) {
    const columns = [];
    for (const stored of [100, many]) {
      const database = kind === 'SQLite' ? null : await createDatabase();
      const { host = '', port = 0, database: name = '' } = database?.address ?? {};
      const store =
        database === null ? 'sqlite:sidekey.db' : `postgres://sidekey@:${port}/${name}?host=${host}`;
      columns.push(await measureStored(store, stored));
      await database?.drop();
    }
    const [before, after] = columns as [Figures, Figures];
    console.log(`\n${kind.padEnd(48)} ${'100'.padStart(10)} ${rounded(many).padStart(12)}`);
    for (const [figure, value] of Object.entries(after))
      console.log(
        `${figure.padEnd(48)} ${rounded(before[figure]!).padStart(10)} ${rounded(value).padStart(12)}`,
      );
  }
  console.log('');
}

function rounded(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 10 ? 2 : 0 });
}

/** An access token of the size of a JWT, valid for an hour, and a refresh token. */
function credential(): OAuth2Credential {
  const now = Date.now();
  const tokens = { accessToken: text(750), refreshToken: text(150) };
  return oauth2Credential({ ...tokens, obtainedAt: now, expiresAt: now + hour });
}

async function sizeOf(table: string): Promise<number> {
  const { rows } = await database.query(`select pg_total_relation_size('${table}')::int as bytes`);
  return (rows[0] as { bytes: number }).bytes;
}

async function transactions(): Promise<number> {
  // Backends report their counts at intervals.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const { rows } = await database.query(
    `select xact_commit::int as count from pg_stat_database where datname = current_database()`,
  );
  return (rows[0] as { count: number }).count;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

async function measureGrants(): Promise<void> {
  const batch = 8;
  for (let index = 0; index < count; index += batch) {
    await Promise.all(
      Array.from({ length: Math.min(batch, count - index) }, async (_, offset) => {
        const grant = { name: `g${index + offset}`, user: 'default', provider: 'acme', scopes: ['read'] };
        const { id } = await a.registry.add(grant, { credential: credential(), audience });
        await a.store.activity.note(id, { usedAt: Date.now() });
      }),
    );
  }
  await database.query('vacuum full grants, grant_activity');
  figures['bytes of a grant, with indexes'] = (await sizeOf('grants')) / count;
  figures['bytes of its activity'] = (await sizeOf('grant_activity')) / count;
  globalThis.gc?.();
  const before = process.memoryUsage();
  figures['ms to read all grants'] = await timed(() => allGrants(b.store));
  globalThis.gc?.();
  const after = process.memoryUsage();
  const used = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  figures['bytes of a grant in the memory of a process'] = used / count;
}

/** From a write in one process until another has read it. */
async function measureChange(): Promise<void> {
  const rounds = 50;
  const all = await allGrants(a.store);
  let ms = 0;
  const begun = process.cpuUsage();
  for (let round = 0; round < rounds; round += 1) {
    const { id } = all[round % all.length]!;
    const grant = (await a.registry.read(id))!;
    const changed = (await a.registry.replaceCredential(grant.grant, grant.sealed))!;
    ms += await timed(async () => {
      while ((await b.registry.open(id))?.grant.revision !== changed.revision)
        await new Promise((resolve) => setImmediate(resolve));
    });
  }
  const cpu = process.cpuUsage(begun);
  figures['ms until a change is read elsewhere'] = ms / rounds;
  figures['ms of CPU for a change, in two processes'] = (cpu.user + cpu.system) / 1_000 / rounds;
}

async function measureRefreshes(): Promise<void> {
  const provider = aProvider({ tokenEndpoint: 'https://api.acme.test/token', clientId: 'app', audience });
  const source = createTokenSource({
    registry: a.registry,
    store: a.store,
    providers: () => provider,
    refresh: async () => {
      const { accessToken, refreshToken, expiresAt, obtainedAt } = credential();
      return {
        kind: 'renewed',
        accessToken: accessToken!,
        refreshToken,
        expiresAt,
        obtainedAt,
        scope: null,
      };
    },
    readSecret: () => Promise.resolve(''),
    sources: { ask: () => Promise.reject(new Error('no grant has a source')) },
    now: Date.now,
    skewMs: 0,
    limits: { refresh_timeout: 10_000, refresh_wait: 60_000 },
    audit: { note: () => {} },
    activity: createActivityNotes({ store: a.store, now: Date.now, timers: systemTimers }),
    timers: systemTimers,
  });
  const grants = (await allGrants(a.store)).slice(0, refreshes);
  for (const { id } of grants) {
    const { grant, sealed } = (await a.registry.read(id))!;
    const ended = { ...sealed.credential, expiresAt: Date.now() - 1 } as OAuth2Credential;
    await a.registry.replaceCredential(grant, { ...sealed, credential: ended });
  }
  await allGrants(a.store);
  const before = await transactions();
  const ids = grants.map(({ id }) => id);
  const ms = await timed(() =>
    Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
          const result = await source.tokenFor(id);
          if (result.kind === 'refused') throw new Error(result.message);
        }
      }),
    ),
  );
  figures['refreshes a second, of one process'] = (refreshes * 1_000) / ms;
  figures['transactions of a refresh'] = ((await transactions()) - before) / refreshes;
}

/** Commits with a notification, by eight connections, while others listen. */
async function measureListeners(): Promise<void> {
  for (const listeners of [0, 20, 80]) {
    const listening = await Promise.all(
      Array.from({ length: listeners }, async () => {
        const client = await connected();
        let heard = 0;
        client.on('notification', () => (heard += 1));
        await client.query(`listen ${channel}`);
        return { client, heard: () => heard };
      }),
    );
    const writers = await Promise.all(Array.from({ length: 8 }, connected));
    const each = 250;
    const ms = await timed(async () => {
      await Promise.all(
        writers.map(async (client, writer) => {
          for (let n = 0; n < each; n += 1)
            await client.query(`select pg_notify($1, $2)`, [channel, `grants ${writer} ${n}`]);
        }),
      );
      while (listening.some(({ heard }) => heard() < 8 * each))
        await new Promise((resolve) => setTimeout(resolve, 1));
    });
    figures[`notifications a second, to ${listeners} listeners`] = (8 * each * 1_000) / ms;
    await Promise.all([...writers, ...listening.map(({ client }) => client)].map((client) => client.end()));
  }
}

async function connected(): Promise<Client> {
  const { host, port, user, database: name } = database.address;
  const client = new Client({ host, port, user, database: name });
  await client.connect();
  return client;
}

/** Requests under one limit, for three seconds. */
async function measureLimits(): Promise<void> {
  const quota = createNodesQuota(a.store.changeCounts!, a.store.location);
  const limit = { kind: 'rate', per: 'agent', count: 1e9, perMs: hour, burst: 1e9, key: 'all' } as const;
  const before = await transactions();
  const begun = Date.now();
  let taken = 0;
  while (Date.now() - begun < 3_000) {
    for (let n = 0; n < 100; n += 1) {
      quota.take([limit], { agent: 'robot', grant: 'acme' }, Date.now());
      taken += 1;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await quota.close();
  figures['limited requests a second, of one process'] = taken / 3;
  figures['transactions a second for them'] = ((await transactions()) - before) / 3;
}
