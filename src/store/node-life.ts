import type { NodeRecord, Store } from './store.ts';

/** Milliseconds between two heartbeats of a node. */
export const aliveMs = 20_000;

/** Milliseconds since the last heartbeat for which a node counts as running. */
export const runningMs = 3 * aliveMs;

/** Returns the nodes whose source has another master key. A node with its own key is never behind. */
export async function nodesBehind(
  store: Pick<Store, 'nodes'>,
  keyId: string,
): Promise<readonly NodeRecord[]> {
  return (await store.nodes.list()).filter((node) => node.source !== 'node' && node.keyId !== keyId);
}

/** Reports whether a node runs, and replaces the key at its source itself. */
export function followsByItself({ awayMs, source }: NodeRecord): boolean {
  return awayMs < runningMs && source !== 'env' && source !== 'command';
}
