import type { KeyObject } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { readHeads } from '../audit/live-file.ts';
import { type OpenAuditLog, rekeyLog } from '../audit/log.ts';
import { rewrapAuthority } from '../ca/authority.ts';
import type { Config } from '../config/config.ts';
import { sealContext } from '../grants/sealed-text.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { inPages } from '../store/queries.ts';
import { pause, systemTimers } from '../lib/timers.ts';
import type { GrantRecord, NodeRecord, Reseal, SessionRecord, Store } from '../store/store.ts';
import { sealedKeyId } from '../store/vault/envelope.ts';
import { keyIdText, newMasterKey } from '../store/vault/key-source.ts';
import { isRotating } from '../store/vault/ring.ts';
import type { OpenVault } from '../store/vault/open.ts';
import type { Vault } from '../store/vault/vault.ts';
import { ownNodeId } from '../store/node-id.ts';
import { followsByItself, nodesBehind } from '../store/node-life.ts';

interface SealedRecord {
  readonly table: 'grants' | 'sessions';
  readonly id: string;
  readonly was: Uint8Array;
  readonly context: string;
}

type SealedTables = Pick<Store, 'grants' | 'sealed'>;

/** Records that one transaction re-wraps. It takes milliseconds, in which other processes wait to write. */
const batchSize = 64;

/** Returns all sealed records in batches, each of one table. */
async function* sealedBatches({ grants, sealed }: SealedTables): AsyncGenerator<readonly SealedRecord[]> {
  const pages = inPages<GrantRecord>(batchSize, (after) => grants.find({ after, limit: batchSize }));
  for await (const some of pages)
    yield some.map((it) => ({ table: 'grants', id: it.id, was: it.sealed, context: sealContext(it) }));
  const sessions = inPages<SessionRecord>(batchSize, (after) =>
    sealed.sessions({ after: after?.id, limit: batchSize }),
  );
  for await (const some of sessions)
    yield some.map((it) => ({ table: 'sessions', id: it.id, was: it.sealed, context: it.id }));
}

/** Counts the sealed records of a store by the id of their master key. */
export async function countSealed(store: SealedTables): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for await (const batch of sealedBatches(store)) {
    for (const { was } of batch) counts.set(sealedKeyId(was), (counts.get(sealedKeyId(was)) ?? 0) + 1);
    await setImmediate();
  }
  return counts;
}

/**
 * Seals the data keys of all records with the current master key. Skips a record that another process has
 * just written. May be interrupted and called again. Returns the number of records.
 */
async function rewrapStore(
  store: SealedTables,
  vault: Pick<Vault, 'rewrap' | 'refresh'>,
  onProgress: (done: number, of: number) => void = () => {},
): Promise<number> {
  const total = await store.sealed.count();
  await vault.refresh();
  let [seen, done] = [0, 0];
  for await (const batch of sealedBatches(store)) {
    const seals = batch.flatMap(({ id, was, context }): Reseal[] => {
      const sealed = rewrapped(vault, context, was);
      return sealed === null ? [] : [{ id, was, sealed }];
    });
    if (seals.length > 0) done += await store.sealed.replace(batch[0]!.table, seals);
    seen += batch.length;
    if (batch.length > 0) onProgress(seen, Math.max(seen, total));
    await setImmediate();
  }
  return done;
}

/** Returns null for a record to leave as it is: it has the current key, or no key opens it. */
function rewrapped(vault: Pick<Vault, 'rewrap'>, context: string, was: Uint8Array): Uint8Array | null {
  try {
    return vault.rewrap(context, was);
  } catch (error) {
    if (error instanceof SidekeyError && lostCodes.has(error.code)) return null;
    throw error;
  }
}

const lostCodes: ReadonlySet<string> = new Set(['key_mismatch', 'record_tampered']);

export interface RotatingState {
  readonly config: Pick<Config, 'audit' | 'ca' | 'file' | 'store'>;
  readonly store: Store;
  readonly vault: Vault;
  readonly keys: OpenVault;
  readonly audit: OpenAuditLog;
}

export interface RotationResult {
  /** Ids of the previous and of the current key. */
  readonly from: string;
  readonly to: string;
  /** True if an earlier call began the rotation. */
  readonly resumed: boolean;
  readonly rewrapped: number;
  /** False while the previous key still opens the store, until all sources have the new key. */
  readonly finished: boolean;
  /** Nodes whose source still has the previous key. */
  readonly behind: readonly NodeRecord[];
}

interface RotationParts {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The new key, if a person changes the source; null: creates one. */
  readonly next: KeyObject | null;
  /** Retires the previous key of a resumed rotation, even if other nodes still have it at their source. */
  readonly retire: boolean;
  readonly onProgress: (done: number, of: number) => void;
}

/**
 * Rotates the master key, or resumes an interrupted rotation. All processes seal with the new key, all
 * records are re-wrapped, the sources get the new key, and the previous key is retired.
 *
 * @throws SidekeyError `input_invalid` if the source needs the new key from a person, if that key is not new,
 * or if there is nothing to retire; errors of the source and the store
 */
export async function rotateKey(
  state: RotatingState,
  { next, now, retire, onProgress }: RotationParts,
): Promise<RotationResult> {
  const { vault, keys, store, audit, config } = state;
  const node = ownNodeId(config, keys);
  await vault.refresh();
  const resumed = isRotating(vault.generations);
  if (!resumed && retire) {
    throw inputInvalid('No rotation is open, so there is no key to retire.', remedy('key.status'));
  }
  if (!resumed) await begin(state, next, node);
  const to = vault.keyId;
  const from = vault.generations[1]?.keyId ?? to;
  audit.rekey();
  await store.sessions.removeEnded(now());
  let count = await rewrapStore(store, vault, onProgress);
  if (await rewrapAuthority(config.ca.directory, vault)) count += 1;
  const isReplaced = keys.source.replace !== null || keys.sourceKeyId === to;
  if (keys.source.replace !== null) {
    await replaceAtSource(keys, keys.source.replace);
    if (node !== null) await store.nodes.seen(node, to);
  }
  // Running nodes have up to 5 s to replace the key.
  const ask = () => nodesBehind(store, to);
  const others = await waitUntil(50, ask, (nodes) => !nodes.some(followsByItself));
  const behind = others.filter(({ id }) => id !== node);
  const finished = isReplaced && (behind.length === 0 || retire);
  if (finished) count += await finishRotation(state, now);
  return { from, to, resumed, rewrapped: count, finished, behind };
}

/**
 * Retires the previous key once all sources have the current one. First re-wraps the remaining records,
 * because a retired key opens nothing. Returns the number of records.
 */
export async function finishRotation(
  { vault, keys, store, audit, config }: RotatingState,
  now: () => number,
): Promise<number> {
  const from = vault.generations[1]?.keyId;
  const before = await rewrapStore(store, vault);
  await audit.append({
    event: 'key.rotated',
    outcome: 'allow',
    reason: `master key ${from} to ${vault.keyId}`,
  });
  await rekeyLog({ ...config.audit, vault, store, now });
  // Running processes have up to 3 s to link their chains to the new key. Stopped ones do so later.
  const ask = () => readHeads(config.audit.file, vault);
  await waitUntil(30, ask, (all) => all.every((it) => it.kind !== 'head' || it.key.keyId === vault.keyId));
  await keys.retire();
  // A process may have sealed a record with the previous key shortly before its retirement.
  return before + (await rewrapStore(store, vault));
}

/** Calls `ask` every 100 ms until `isDone`, at most `times` + 1 times. Returns the last answer. */
async function waitUntil<T>(
  times: number,
  ask: () => T | Promise<T>,
  isDone: (answer: T) => boolean,
): Promise<T> {
  for (let waits = 0; ; waits += 1) {
    const answer = await ask();
    if (waits === times || isDone(answer)) return answer;
    await pause(systemTimers, 100);
  }
}

/** Another process may finish this rotation and begin the next. The source gets the newest key. */
export async function replaceAtSource(
  { vault, current }: Pick<OpenVault, 'vault' | 'current'>,
  replace: (key: KeyObject) => Promise<void>,
): Promise<void> {
  let placed;
  do {
    placed = vault.keyId;
    await replace(current());
    await vault.refresh();
  } while (vault.keyId !== placed);
}

async function begin(
  { vault, keys, audit, store }: RotatingState,
  next: KeyObject | null,
  node: string | null,
): Promise<void> {
  if (next === null && keys.source.replace === null) {
    // A node retires the previous key on its own once all sources have the new one.
    const last = vault.generations[1];
    const finished =
      last === undefined ? '' : `The rotation from ${last.keyId} is finished. For another one: `;
    throw inputInvalid(
      `${finished}${keys.source.place} is kept by you, so the new key has to come from you.`,
      hintOf`make one with "openssl rand -base64 32", keep it, and name it: ${remedy('key.rotate', { new: 'env:NAME' })} (or file:PATH, command:…)`,
    );
  }
  if (next !== null && keys.source.replace !== null) {
    throw inputInvalid(
      '--new is for a key that you keep yourself: this source makes and keeps the new key.',
      remedy('key.rotate'),
    );
  }
  const nextId = next === null ? null : keyIdText(next);
  if (vault.generations.some(({ keyId }) => keyId === nextId)) {
    throw new SidekeyError('input_invalid', `The key ${nextId} is, or was, a master key of this store.`, {
      hint: 'make a new one with "openssl rand -base64 32", keep it, and name it with --new',
    });
  }
  await audit.append({
    event: 'key.rotation_started',
    outcome: 'allow',
    reason: `from the master key ${vault.keyId}`,
  });
  const others = node === null ? [] : await store.nodes.list();
  const hasCopies = keys.member === null || others.some(({ source }) => source !== 'node');
  await keys.begin({ next: next ?? newMasterKey(), by: node, hasCopies });
}
