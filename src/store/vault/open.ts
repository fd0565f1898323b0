import type { KeyObject } from 'node:crypto';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { type KeyFormat, openKeyFile, plainKey } from './key-file.ts';
import { keyIdText, type OpenKeySource, parseKey, readKeyVariable } from './key-source.ts';
import { type NodeKey, type NodeMember, openForNode, readNodeKey } from './node-key.ts';
import { type KeyRing, nodeKeyName, openKeyRing, type RingValues, valuesIn } from './ring.ts';
import { openSecretService, type SecretServiceParts } from './secret-service.ts';

/** The source of the master key. Paths are absolute. */
export type KeySource =
  | { readonly source: 'file'; readonly path: string }
  | { readonly source: 'env'; readonly name: string }
  | { readonly source: 'command'; readonly run: () => Promise<string> }
  | ({ readonly source: 'keyring' } & SecretServiceParts)
  | { readonly source: 'node'; readonly path: string }
  | { readonly source: 'passphrase' | 'transit'; readonly path: string; readonly format: KeyFormat };

interface OpenVaultOptions {
  /** True if a missing key may be created: only if nothing was ever sealed. */
  readonly mayCreate: boolean;
  /** Location of the store, for the message about a missing key. */
  readonly store: string;
  /** Stored values of the key ring. Null: the store cannot be read, so a rotation cannot be detected. */
  readonly meta: RingValues | null;
  readonly now: () => number;
  /** Id of this node, if the store has several. */
  readonly nodeId: string | null;
  /** Called after a key was created. */
  readonly onCreate?: (() => void) | undefined;
}

export interface OpenVault extends KeyRing {
  readonly source: OpenKeySource;
  /** Id of the key that the source gave. */
  readonly sourceKeyId: string;
  /** The key of this node; null: the node has a copy of the master key. */
  readonly member: NodeMember | null;
}

/**
 * Opens the vault with the key of this source and the ring of the store, and creates the key if it may.
 * @throws SidekeyError `key_invalid`, `key_mismatch`, `permissions_unsafe`, `secret_missing`,
 * `file_unwritable`
 */
export async function openVault(from: KeySource, options: OpenVaultOptions): Promise<OpenVault> {
  const { meta, now, nodeId, store: location } = options;
  const source = openKeySource(from, meta);
  const key = await keyFrom(source, options);
  const member = from.source === 'node' ? await nodeKeyAt(from.path) : null;
  const self = member ?? (nodeId === null ? null : { id: nodeId });
  // A variable is gone after the first read, and a prompt would ask again.
  const reread = from.source === 'env' || from.source === 'passphrase' ? undefined : source.read;
  const values = meta ?? valuesIn(new Map());
  const ring = await openKeyRing(key, { values, location, now, reread, self });
  return { ...ring, source, sourceKeyId: keyIdText(key), member };
}

async function keyFrom(source: OpenKeySource, options: OpenVaultOptions): Promise<KeyObject> {
  const key = await source.read();
  if (key !== null) return key;
  if (options.mayCreate && source.create !== null) {
    const made = await source.create();
    options.onCreate?.();
    return made;
  }
  throw new SidekeyError(
    'key_invalid',
    `${source.place} is missing, and the store at ${options.store} needs the key it was sealed with.`,
    { hint: 'restore it from your backup' },
  );
}

/** Opens a source without reading it. */
export function openKeySource(from: KeySource, meta: RingValues | null = null): OpenKeySource {
  const keptByPerson = { create: null, replace: null };
  switch (from.source) {
    case 'file':
      return openKeyFile(from.path, plainKey);
    case 'passphrase':
    case 'transit':
      return openKeyFile(from.path, from.format);
    case 'keyring':
      return openSecretService(from);
    case 'env':
      return {
        ...keptByPerson,
        read: async () => readKeyVariable(from.name, process.env),
        place: `The environment variable ${from.name}`,
      };
    case 'command':
      return {
        ...keptByPerson,
        read: async () => parseKey(await from.run(), 'The key command'),
        place: 'The output of the key command',
      };
    case 'node':
      return {
        read: async () => {
          const node = await nodeKeyAt(from.path);
          if (meta === null)
            throw new SidekeyError('key_invalid', 'The master key of a node is in its store.');
          const sealed = await meta.get(nodeKeyName(node.name));
          if (sealed === null) throw new SidekeyError('node_revoked');
          return openForNode(node, sealed);
        },
        create: null,
        // A rotation seals the new key for each node.
        replace: async () => {},
        place: `The node key ${from.path}`,
      };
  }
}

async function nodeKeyAt(path: string): Promise<NodeKey> {
  const node = await readNodeKey(path);
  if (node !== null) return node;
  throw new SidekeyError('key_invalid', `This machine has not joined the store: ${path} is missing.`, {
    hint: hintOf`make a token on a node that runs with "${remedy('node.enroll', { name: null })}", then join here: ${remedy('node.join')}`,
  });
}
