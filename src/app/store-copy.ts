import { stat } from 'node:fs/promises';
import type { Config } from '../config/config.ts';
import { type StoreConfig, storeName } from '../config/store-place.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Call } from '../operations/operation.ts';
import { copyStore } from '../store/copy.ts';
import { openVault } from '../store/vault/open.ts';
import type { RingValues } from '../store/vault/ring.ts';
import { keySourceOf } from './keys.ts';
import { openTables } from './state.ts';

/**
 * Copies the store at one place to another one, and compares both. The key source is that of the config.
 *
 * @throws SidekeyError `not_found`, `input_invalid`; errors of `copyStore`, the stores and the key source
 */
export async function copyBetween(
  config: Config,
  { from: fromPlace, to: toPlace }: { readonly from: StoreConfig; readonly to: StoreConfig },
  { env, now }: Pick<Call, 'env' | 'now'>,
): Promise<{ readonly from: string; readonly to: string; readonly rows: number }> {
  if (fromPlace.kind === 'sqlite' && (await stat(fromPlace.path).catch(() => null)) === null) {
    throw new SidekeyError('not_found', `There is no store at ${fromPlace.path}.`, {
      hint: hintOf`${remedy('config.path')} shows where the store is`,
    });
  }
  const keysOf = async (meta: RingValues) => {
    const opened = { mayCreate: false, store: storeName(fromPlace), meta, now, nodeId: null };
    const { vault } = await openVault(keySourceOf(config, { env }), opened);
    return vault.generations.map(({ keyId }) => keyId);
  };
  await using tables = new AsyncDisposableStack();
  const open = async (store: StoreConfig) =>
    tables.adopt(await openTables({ file: config.file, store }, env), (each) => each.close());
  const [from, to] = [await open(fromPlace), await open(toPlace)];
  if (from.location === to.location) throw inputInvalid('FROM and TO are the same store.', 'name two stores');
  return { from: from.location, to: to.location, rows: await copyStore(from, to, keysOf) };
}
