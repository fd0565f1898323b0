import { hash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import type { NodeRecord, Store } from '../store/store.ts';
import { nodeKeyId } from '../vault/node-key.ts';
import type { OpenVault } from '../vault/open.ts';

/** Milliseconds between two signs of life of a node. */
export const aliveMs = 20_000;

/**
 * Returns the id of a node with a copy of the master key: the processes of one config file, the same after each start.
 * Null: the store is a file, and its machine has one key source.
 */
export function copyIdOf({ file, store }: Pick<Config, 'file' | 'store'>): string | null {
  return store.kind === 'postgres' ? hash('sha256', `${hostname()}\0${file}`).slice(0, 16) : null;
}

/** Returns the id of the own node. */
export function ownNodeId(
  config: Pick<Config, 'file' | 'store'>,
  { member }: Pick<OpenVault, 'member'>,
): string | null {
  return member === null ? copyIdOf(config) : nodeKeyId(member);
}

/** Returns the nodes whose source gives another master key than this one. A node with a key of its own has it at once. */
export async function nodesBehind(
  store: Pick<Store, 'nodes'>,
  keyId: string,
): Promise<readonly NodeRecord[]> {
  return (await store.nodes.list()).filter((node) => node.source !== 'node' && node.keyId !== keyId);
}

/** Reports whether a node runs, and replaces the key at its source itself. */
export function followsByItself({ awayMs, source }: NodeRecord): boolean {
  return awayMs < 3 * aliveMs && source !== 'env' && source !== 'command';
}
