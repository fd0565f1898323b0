import { rewrapAuthority } from '../ca/authority.ts';
import { SidekeyError } from '../lib/errors.ts';
import { ownNodeId } from '../store/node-id.ts';
import type { FollowingState, OwnNodeParts } from './own-node.ts';

interface FollowParts extends OwnNodeParts {
  /** Called when this node is revoked. */
  readonly onRevoked: (error: SidekeyError) => void;
}

/** Milliseconds until an idle process sees changes of others. Busy ones see them at the next access. */
const followMs = { oneMachine: 1_000, severalMachines: 500 };

/**
 * Follows rotations of the master key: links the audit chain to the new key, and re-wraps the key of the CA.
 * A node of several also records that it runs, and replaces the key at its source. The result stops it and
 * waits for its end.
 */
export async function followKeys(state: FollowingState, parts: FollowParts): Promise<() => Promise<void>> {
  const { vault, audit, config, keys } = state;
  const { log } = parts;
  const id = ownNodeId(config, keys);
  // A start with a store in a file skips the code of nodes.
  const node = id === null ? null : await (await import('./own-node.ts')).registerNode(id, state, parts);
  try {
    // The key may have been rotated while this machine was off.
    if (vault.generations.length > 1) await rewrapAuthority(config.ca.directory, vault);
  } catch (error) {
    log.warn({ err: error }, 'the key of the CA could not be sealed with the current master key');
  }
  let seen = vault.keyId;
  let isFollowing: Promise<void> | null = null;
  let told = '';
  const everyMs = node === null ? followMs.oneMachine : followMs.severalMachines;
  const timer = setInterval(() => {
    isFollowing ??= follow().finally(() => (isFollowing = null));
  }, everyMs).unref();
  async function follow(): Promise<void> {
    try {
      await vault.refresh();
      if (vault.keyId !== seen) {
        audit.rekey();
        await rewrapAuthority(config.ca.directory, vault);
        seen = vault.keyId;
      }
      await node?.follow();
      told = '';
    } catch (error) {
      const isRevoked = error instanceof SidekeyError && error.code === 'node_revoked';
      if (isRevoked) parts.onRevoked(error);
      const what = isRevoked
        ? 'this node was revoked'
        : 'the rotation of the master key could not be followed';
      if (told !== String(error)) log.warn({ err: error }, what);
      told = String(error);
    }
  }
  return async () => {
    clearInterval(timer);
    await isFollowing;
  };
}
