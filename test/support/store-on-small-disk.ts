/**
 * Program of test/integration/app/small-disk.test.ts: fills the file system at its argument, uses a store
 * there, and prints each failure as a line of JSON.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SidekeyError } from '../../src/lib/errors.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';

const folder = process.argv[2] ?? '';
const filling = join(folder, 'filling');
const path = join(folder, 'data', 'sidekey.db');
const open = () => openSqliteStore(path, { now: () => 0 });

/** Writes at most so many bytes, until the disk is full. */
function fill(bytes: number): void {
  try {
    writeFileSync(filling, Buffer.alloc(bytes));
  } catch {
    // The disk is full.
  }
}

async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
  const failure = await work().then(
    () => null,
    (error: unknown) => error,
  );
  const { code, message, hint } = failure instanceof SidekeyError ? failure : { code: String(failure) };
  console.log(JSON.stringify({ what, ...(failure === null ? { code: 'ok' } : { code, message, hint }) }));
}

const insert = (store: Store, id: string) =>
  store.sessions.put({ id, expiresAt: 1, sealed: new Uint8Array(20_000) });
const change = (store: Store) => store.meta.change('guard', null, { large: new Uint8Array(20_000) });

for (let kilobytes = 600; kilobytes <= 1_050; kilobytes += 15) {
  fill(kilobytes * 1_024);
  await attempt(`create beside ${kilobytes} kB`, async () => (await open()).close());
  rmSync(filling);
  rmSync(join(folder, 'data'), { recursive: true, force: true });
}
const store = await open();
await insert(store, 'before');
fill(2_000_000);
for (let time = 1; time <= 3; time += 1) {
  await attempt(`insert ${time}`, () => insert(store, `full-${time}`));
  await attempt(`transaction ${time}`, () => change(store));
  await attempt(`open ${time}`, async () => (await open()).close());
}
await store.close();
for (let time = 1; time <= 3; time += 1)
  await attempt(`open alone ${time}`, async () => (await open()).close());
rmSync(filling);
const after = await open();
await attempt('read after', async () => {
  if ((await after.sessions.get('before')) === undefined) throw new Error('lost');
});
await attempt('insert after', () => insert(after, 'after'));
await attempt('transaction after', () => change(after));
await after.close();
