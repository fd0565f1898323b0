import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { rekeyLog } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import type { Log } from '../lib/log.ts';
import { packageVersion } from '../lib/package-files.ts';
import { nodeKeyId } from '../store/vault/node-key.ts';
import { openKeySource } from '../store/vault/open.ts';
import { isRotating } from '../store/vault/ring.ts';
import { answerJoins } from './enrolment.ts';
import { keySourceOf } from './keys.ts';
import { aliveMs, nodesBehind } from '../store/node-life.ts';
import { finishRotation, replaceAtSource, type RotatingState } from '../operations/rotation.ts';

/** An open state that follows changes by other nodes. */
export type FollowingState = RotatingState & { readonly config: Config };

export interface OwnNodeParts {
  readonly log: Log;
  readonly now: () => number;
  readonly env: NodeJS.ProcessEnv;
}

/** Milliseconds until another attempt to write a source. */
const againMs = 60_000;

/** Lists the nodes with a key of their own as the ring has them. A restored or copied store lists none. */
async function alignNodes({ vault, keys, store }: FollowingState): Promise<void> {
  const rows = await store.nodes.list();
  await vault.refresh();
  const members = new Map(keys.nodes().members.map((member) => [nodeKeyId(member), member.name]));
  for (const { id, name, source } of rows) {
    if (source === 'node' && members.get(id) === name) members.delete(id);
    else if (source === 'node' || members.has(id)) await store.nodes.remove(id);
  }
  for (const [id, name] of members)
    await store.nodes.register({ id, name, source: 'node', keyId: vault.keyId, version: '' });
}

/** Registers this node. The result does the due work on each call. */
export async function registerNode(
  id: string,
  state: FollowingState,
  { log, now, env }: OwnNodeParts,
): Promise<{ follow(): Promise<void> }> {
  const { config, vault, keys, store } = state;
  const { source } = config.key;
  /** Last known id of the key at the source. */
  let placed = keys.sourceKeyId;
  let toldAt = now();
  let tryAt = 0;
  const name = keys.member?.name ?? hostname();
  await alignNodes(state);
  await store.nodes.register({ id, name, source, keyId: placed, version: packageVersion() });

  /** Only the command that began a rotation replaces its node's key, because it may have a new passphrase. */
  async function replaceOwn(): Promise<void> {
    // A background process cannot prompt for a passphrase.
    const { replace } = openKeySource(keySourceOf(config, { env, keepsPassphrase: true }));
    if (replace === null || keys.nodes().by === id || now() < tryAt) return;
    const own = (await store.nodes.find(id)).find((each) => each.id === id);
    if (own?.keyId !== vault.keyId) {
      tryAt = now() + againMs;
      await replaceAtSource(keys, replace);
      await store.nodes.seen(id, vault.keyId);
      log.info({ key: vault.keyId }, 'the new master key is at the key source of this node');
      await rekeyLog({ ...config.audit, vault, store, now });
    }
    placed = vault.keyId;
    tryAt = 0;
  }

  /** Retires the previous key, in one process of all nodes, if no source has it any more. */
  async function finish(): Promise<void> {
    if (!isRotating(vault.generations) || (await nodesBehind(store, vault.keyId)).length > 0) return;
    const holder = randomUUID();
    if (!(await store.locks.acquire('key-retirement', holder, againMs))) return;
    try {
      await vault.refresh();
      if (isRotating(vault.generations)) await finishRotation(state, now);
    } finally {
      await store.locks.release('key-retirement', holder);
    }
  }

  return {
    async follow() {
      if (placed !== vault.keyId) await replaceOwn();
      if (Math.abs(now() - toldAt) >= aliveMs) {
        await store.nodes.seen(id, null);
        toldAt = now();
      }
      if (placed === vault.keyId) await finish();
      await answerJoins(state);
    },
  };
}
