import type { KeyObject } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { BackupHead } from '../store/backup.ts';
import { keyIdText, type OpenKeySource, parseKey } from '../store/vault/key-source.ts';
import { nodeKeyId } from '../store/vault/node-key.ts';
import { openKeySource } from '../store/vault/open.ts';
import { keyNames, type KeyRing, valuesIn } from '../store/vault/ring.ts';
import { openRing } from './backup.ts';
import { keySourceOf } from './keys.ts';

export interface Keys {
  /** The keys of the backup. */
  readonly from: KeyRing;
  /** The keys of the store. */
  readonly to: KeyRing;
  /** Nodes with a key of their own, which the new store lacks. */
  readonly rejoin: readonly string[];
}

export interface KeysParts {
  readonly head: BackupHead;
  /** Backup file, for messages. */
  readonly file: string;
  readonly config: Config;
  /** Key of the source; null: none, or it is in the store. */
  readonly placed: KeyObject | null;
  readonly location: string;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
}

type Values = Map<string, Uint8Array>;

/** Reads the key in place, before the state is opened. A variable is gone after a read. */
export async function placedKey({ key }: Config, source: OpenKeySource): Promise<KeyObject | null> {
  const value = key.source === 'env' ? process.env[key.name] : undefined;
  const placed = await source.read();
  if (key.source === 'env') process.env[key.name] = value;
  return placed;
}

/** Opens the keys of the backup and of a store in use. @throws SidekeyError `input_invalid` if they differ */
export async function usedStoreKeys(theirs: Values, mine: Values, parts: KeysParts): Promise<Keys> {
  const { config, placed, location, env, now } = parts;
  const { own, from } = await backupKeys(theirs, parts);
  const inStore = config.key.source === 'node' ? keySourceOf(config, { env }) : null;
  const held = inStore === null ? placed : await openKeySource(inStore, valuesIn(mine)).read();
  const to = await openRing(held ?? own, mine, location, now);
  // The first key identifies the store.
  const [first, other] = [to, from].map(({ vault }) => vault.generations.at(-1)!.keyId);
  if (first === other) return { from, to, rejoin: [] };
  throw inputInvalid(
    `The store at ${location} (first master key ${first}) is not the store of the backup (${other}).`,
    'move that store away, or name another place in "store" of the config; then restore again',
  );
}

/** Opens the keys of the backup, and changes its values `theirs` to those of a new store. */
export async function newStoreKeys(theirs: Values, parts: KeysParts): Promise<Keys> {
  const { config, placed, location, now } = parts;
  if (config.key.source === 'node') {
    throw new SidekeyError('input_invalid', 'A node cannot keep the master key of a store that is empty.', {
      hint: hintOf`restore with another source in "key" of the config, such as file; then let the nodes join: ${remedy('node.enroll', { name: null })}`,
    });
  }
  const { own, from } = await backupKeys(theirs, parts);
  const to = await openRing(own, theirs, location, now);
  const { members } = to.nodes();
  for (const member of members) await to.revoke(nodeKeyId(member));
  // The key in place wins, because the audit log may depend on it. A rotation to it begins.
  if (placed !== null && isNext(placed, to, theirs.has(keyNames.next)))
    await to.begin({ next: placed, by: null, hasCopies: true });
  return { from, to, rejoin: members.map(({ name }) => name).toSorted() };
}

async function backupKeys(theirs: Values, { head, file }: KeysParts) {
  const own = parseKey(head.key, `The backup ${file}`);
  // Keys retired shortly before the backup still open its records.
  return { own, from: await openRing(own, new Map(theirs), file, () => head.made) };
}

/**
 * Reports whether the key in place is new to the store. If `isOpen`, the previous key still
 * opens the store, so the rotation of the backup continues.
 * @throws SidekeyError `key_mismatch` for an earlier key, which must not become the current one again
 */
function isNext(placed: KeyObject, { vault }: KeyRing, isOpen: boolean): boolean {
  const id = keyIdText(placed);
  const at = vault.generations.findIndex(({ keyId }) => keyId === id);
  if (at < 1) return at === -1;
  if (at === 1 && isOpen) return false;
  throw new SidekeyError('key_mismatch', `The key in place (${id}) is an earlier key of this store.`, {
    hint: 'move that key away, and restore again: the backup has the current key',
  });
}
