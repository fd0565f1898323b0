import type { StoreConfig } from '../config/store-place.ts';
import { caughtFailure } from '../lib/errors.ts';
import type { ProxyParts } from './core.ts';
import { startWorker } from './worker-process.ts';

/**
 * Checks a SQLite file that was too large to be read whole at its open, in a process of its own. Returns a
 * promise that rejects with `store_damaged` and never resolves.
 */
export async function storeDamage(
  store: StoreConfig,
  { env, now, log }: Pick<ProxyParts, 'env' | 'now' | 'log'>,
  opened: AsyncDisposableStack,
): Promise<never> {
  const never = new Promise<never>(() => {});
  if (store.kind !== 'sqlite') return never;
  const { path } = store;
  const { isCheckedInPart } = await import('../store/sqlite.ts');
  if (!(await isCheckedInPart(path)) || opened.disposed) return never;
  const checker = startWorker(env, now, {
    config() {},
    used() {},
    body() {},
    serves() {},
    leaving() {},
  });
  let isEnding = false;
  opened.defer(() => {
    isEnding = true;
    checker.kill();
  });
  checker.send({ kind: 'check', path });
  try {
    await checker.ready;
  } catch (error) {
    if (caughtFailure(error).code === 'store_damaged') throw error;
    if (!isEnding) log.warn({ err: error, store: path }, 'the file of the store could not be checked');
  }
  return never;
}
