import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createReadiness } from '../../../src/app/readiness.ts';
import { systemTimers } from '../../../src/lib/timers.ts';
import { newMasterKey, openKeyRing, proveKey } from '../../../src/vault/ring.ts';
import { sqliteUnderTest } from '../../support/sqlite-under-test.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = () => 0;

it('a proxy stays ready after another process rotated the master key', async () => {
  const { store, cleanup } = await sqliteUnderTest(now);
  onTestFinished(cleanup);
  const file = join(await tempFolder(), 'audit.jsonl');
  await writeFile(file, '');
  const key = newMasterKey();
  const parts = { meta: store.meta, location: store.location, now, reread: async () => null, self: null };
  const [own, other] = [await openKeyRing(key, parts), await openKeyRing(key, parts)];
  await proveKey(own.vault, store.meta, store.location);
  const readiness = createReadiness({
    store,
    vault: own.vault,
    audit: { file, failure: () => null } as Parameters<typeof createReadiness>[0]['audit'],
    accepts: () => true,
    now,
    timers: systemTimers,
  });
  expect(await other.begin({ next: newMasterKey(), by: null, hasCopies: true })).toBe(true);
  expect(await readiness()).toBeNull();
});
