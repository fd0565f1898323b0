/**
 * A cache error lifted a rate limit: where it could not be counted, everything passed. Here nothing passes
 * that is limited and cannot be counted, and what is not limited needs no count.
 */
import { chmod, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import type { RuleLimit } from '../../src/proxy/policy/rule.ts';
import type { QuotaKey, Quota } from '../../src/agents/quota/quota.ts';
import { createSharedQuota, quotaFileOf } from '../../src/agents/quota/shared-quota.ts';
import { tempFolder } from '../support/temp-folder.ts';

const now = Date.UTC(2026, 10, 21, 12);
const ci: QuotaKey = { agent: 'ci', grant: 'grant-1' };
const rate: RuleLimit = { kind: 'rate', key: 'r', per: 'agent', count: 1, perMs: 3_600_000, burst: 3 };
const bytes: RuleLimit = { kind: 'budget', key: 'b', per: 'agent', requests: null, bytes: 1_000 };

function openAt(path: string): Quota {
  const quota = createSharedQuota(path, { busyTimeoutMs: 0 });
  onTestFinished(() => quota.close());
  return quota;
}

async function place(): Promise<string> {
  return quotaFileOf(join(await tempFolder(), 'data', 'sidekey.db'));
}

/** The file as it is when one request was counted and its process has ended. */
async function used(): Promise<string> {
  const path = await place();
  const quota = createSharedQuota(path);
  quota.take([rate], ci, now);
  quota.close();
  return path;
}

const take = (quota: Quota, limits: readonly RuleLimit[] = [rate]) => quota.take(limits, ci, now);

async function refuses(quota: Quota, path: string): Promise<void> {
  expect(() => take(quota)).toThrow(
    expect.objectContaining({
      code: 'store_unavailable',
      message: expect.stringContaining(path),
      hint: expect.stringMatching(/./),
    }),
  );
  expect(take(quota, [])).toEqual({ ok: true });
}

const edit = (path: string, sql: string) => {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
};

test.each<[string, (path: string) => Promise<unknown> | void]>([
  ['is no database', (path) => writeFile(path, 'x'.repeat(8_192))],
  ['is empty', (path) => truncate(path)],
  ['was cut short', (path) => truncate(path, 4_096)],
  [
    'has a page of something else',
    async (path) => {
      const content = await readFile(path);
      await writeFile(path, content.fill(0xff, 4_096, 8_192));
    },
  ],
  [
    'is a folder',
    async (path) => {
      await rm(path);
      await mkdir(path);
    },
  ],
  ['is another program’s', (path) => edit(path, 'pragma application_id = 1')],
  ['is another version’s', (path) => edit(path, 'pragma user_version = 2')],
  ['has no table', (path) => edit(path, 'drop table counts')],
  ['can be used by other users', (path) => chmod(path, 0o606)],
])('a file that %s makes limited requests fail, and is left unchanged', async (_how, damage) => {
  const path = await used();
  await damage(path);
  const before = await stat(path);
  const quota = openAt(path);
  await refuses(quota, path);
  await refuses(quota, path);
  expect(await stat(path)).toMatchObject({ size: before.size, ino: before.ino, mode: before.mode });
});

test('limited requests fail if the file cannot be created', async () => {
  const path = await place();
  await writeFile(dirname(path), 'a file where the folder should be');
  await refuses(openAt(path), path);
});

test('limited requests fail while the file is locked, and count again afterwards', async () => {
  const path = await used();
  const quota = openAt(path);
  const other = new DatabaseSync(path);
  onTestFinished(() => other.close());
  other.exec('begin immediate');
  await refuses(quota, path);
  other.exec('rollback');
  expect(take(quota)).toEqual({ ok: true });
  expect(take(quota)).toEqual({ ok: true });
  expect(take(quota)).toMatchObject({ ok: false });
});

test('bytes that cannot be recorded at once are charged before the next request', async () => {
  const path = await place();
  const quota = openAt(path);
  expect(take(quota, [bytes])).toEqual({ ok: true });
  const other = new DatabaseSync(path);
  onTestFinished(() => other.close());
  other.exec('begin immediate');
  quota.spend([bytes], ci, 600, now);
  quota.spend([bytes], ci, 400, now);
  quota.spend([bytes], { ...ci, agent: 'cd' }, 1, now);
  other.exec('rollback');
  expect(take(quota, [bytes])).toMatchObject({ ok: false, limit: bytes });
  expect(take(openAt(path), [bytes])).toMatchObject({ ok: false, limit: bytes });
  expect(quota.take([bytes], { ...ci, agent: 'cd' }, now)).toEqual({ ok: true });
  quota.spend([bytes], { ...ci, agent: 'cd' }, 998, now);
  expect(quota.take([bytes], { ...ci, agent: 'cd' }, now)).toEqual({ ok: true });
});

test('a stream whose counter is unreadable gets at most its budget once more', async () => {
  const path = await used();
  const quota = openAt(path);
  await writeFile(path, 'no database');
  expect(quota.spend([bytes], ci, 1_000, now)).toEqual({ ok: true });
  expect(quota.spend([bytes], ci, 1, now)).toMatchObject({
    ok: false,
    limit: bytes,
    retryAfterMs: 43_200_000,
  });
});

test('a write of another process blocks a stream once instead of at each step', async () => {
  const path = await used();
  const quota = createSharedQuota(path, { busyTimeoutMs: 100 });
  onTestFinished(() => quota.close());
  const other = new DatabaseSync(path);
  onTestFinished(() => other.close());
  other.exec('begin immediate');
  const begun = performance.now();
  for (let step = 0; step < 50; step += 1) quota.spend([bytes], ci, 1, now);
  expect(performance.now() - begun).toBeLessThan(2_500);
  other.exec('rollback');
  expect(quota.spend([bytes], ci, 951, now + 100)).toMatchObject({ ok: false });
});

test.each<[string, (path: string) => Promise<unknown>]>([
  ['removed', (path) => rm(path)],
  ['moved away', (path) => rename(path, `${path}.bak`)],
  [
    'replaced',
    async (path) => {
      await rename(path, `${path}.bak`);
      await writeFile(path, await readFile(`${path}.bak`), { mode: 0o600 });
    },
  ],
])(
  'limited requests fail after the file was %s in use, because others would count elsewhere',
  async (_how, change) => {
    const path = await place();
    const quota = openAt(path);
    take(quota);
    await change(path);
    await refuses(quota, path);
  },
);

test('a closed quota refuses every request', async () => {
  const path = await place();
  const quota = openAt(path);
  take(quota);
  quota.close();
  quota.close();
  await refuses(quota, path);
});

test('a config without limits creates no file, and the file belongs to its owner only', async () => {
  const path = await place();
  const quota = openAt(path);
  take(quota, []);
  quota.spend([rate], ci, 10, now);
  await expect(stat(dirname(path))).rejects.toMatchObject({ code: 'ENOENT' });
  take(quota);
  const files = await readdir(dirname(path));
  expect(files.toSorted()).toEqual(['sidekey-quota.db', 'sidekey-quota.db-shm', 'sidekey-quota.db-wal']);
  for (const file of files) expect((await stat(join(dirname(path), file))).mode & 0o777).toBe(0o600);
});

test('counts persist across a restart', async () => {
  const quota = openAt(await used());
  expect(take(quota)).toEqual({ ok: true });
  expect(take(quota)).toEqual({ ok: true });
  expect(take(quota)).toMatchObject({ ok: false });
});
