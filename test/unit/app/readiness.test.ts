import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createReadiness } from '../../../src/app/readiness.ts';
import { type Timers, systemTimers } from '../../../src/lib/timers.ts';
import { newMasterKey } from '../../../src/store/vault/key-source.ts';
import { keyNames, openKeyRing, sealKeyCheck } from '../../../src/store/vault/ring.ts';
import { sqliteUnderTest } from '../../support/sqlite-under-test.ts';
import { tempFolder } from '../../support/temp-folder.ts';

type Parts = Parameters<typeof createReadiness>[0];

/** A proxy with a store, a proven key and an audit log, and the sentences that it logs. */
async function proxy(timers: Timers = systemTimers) {
  const time = { now: 0 };
  const now = () => time.now;
  const { store, cleanup } = await sqliteUnderTest(now);
  onTestFinished(cleanup);
  const folder = await tempFolder();
  const file = join(folder, 'audit.jsonl');
  await writeFile(file, '');
  const key = newMasterKey();
  const ringParts = { values: store.meta, location: store.location, now, self: null };
  const ring = await openKeyRing(key, ringParts);
  await store.meta.putIfAbsent(keyNames.check, sealKeyCheck(ring.vault));
  const logged: string[] = [];
  const readiness = createReadiness({
    store,
    vault: ring.vault,
    audit: { file, failure: () => null } as Parts['audit'],
    accepts: () => true,
    now,
    timers,
    log: { warn: (fields) => logged.push((fields as { err: Error }).err.message) },
  });
  /** Asks anew, not for the answer that is remembered. */
  const ask = async () => {
    time.now += 1_000;
    return (await readiness())?.message ?? 'ready';
  };
  return { ask, key, ringParts, store, file, logged };
}

it('a proxy stays ready after another process rotated the master key', async () => {
  const { ask, key, ringParts } = await proxy();
  const other = await openKeyRing(key, ringParts);
  await other.begin({ next: newMasterKey(), by: null, hasCopies: true });
  expect(await ask()).toBe('ready');
});

it('a refusal names the codes of the failures, and the log names each failing part once', async () => {
  const { ask, store, file, logged } = await proxy();
  await rm(file);
  await store.close();
  for (let times = 0; times < 2; times += 1)
    expect(await ask()).toBe('The proxy cannot serve requests now: store_unavailable, audit_unavailable.');
  expect(logged).toEqual([expect.stringContaining(store.location), expect.stringContaining(file)]);
});

it('a store that does not answer within two seconds is reported as a store failure, with its location in the log', async () => {
  const waits: number[] = [];
  const late: Timers = {
    after(ms, run) {
      waits.push(ms);
      run();
      return () => {};
    },
  };
  const { ask, store, logged } = await proxy(late);
  store.meta.get = () => new Promise(() => {});
  expect(await ask()).toBe('The proxy cannot serve requests now: store_unavailable.');
  expect(waits).toEqual([2_000]);
  expect(logged).toEqual([`The store ${store.location} does not answer.`]);
});
