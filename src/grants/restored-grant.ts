import { SidekeyError } from '../lib/errors.ts';
import type { Vault } from '../store/vault/vault.ts';
import type { Grant } from '../domain/grant.ts';
import { sealContext } from './sealed-text.ts';
import { readSealed } from './sealed-text.ts';

type SealedGrant = Pick<Grant, 'id' | 'name' | 'user' | 'provider' | 'revision'> & {
  readonly state: string;
  readonly sealed: Uint8Array;
};

interface Restoring<G> {
  /** Grant of the backup, and the vault that opens it. */
  readonly theirs: G;
  readonly from: Pick<Vault, 'open'>;
  /** Grant of the store (null: none), and its vault. */
  readonly mine: G | null;
  readonly to: Pick<Vault, 'open' | 'seal'>;
  /** True: an older credential may replace a newer one. */
  readonly rollBack: boolean;
}

/** Decision about a grant of a backup. */
interface RestoredGrant<G> {
  /** Grant to write; null: the store's grant is kept. */
  readonly write: G | null;
  /**
   * - `none`: no action is required.
   * - `newer`: the store's grant was changed since the backup, and is kept.
   * - `check`: the refresh token may have been used since the backup.
   * - `consent`: the refresh token was replaced since the backup, or the credential does not open.
   */
  readonly attention: 'none' | 'newer' | 'check' | 'consent';
}

/**
 * Decides about a grant of a backup. The store's grant is kept if it opens and is not older: its refresh
 * token may be the only valid one. If revoked, it is always kept. A written grant has a higher revision than
 * both, so that a running refresh does not replace it.
 */
export function restoreGrant<G extends SealedGrant>(restoring: Restoring<G>): RestoredGrant<G> {
  const { theirs, from, mine, to, rollBack } = restoring;
  const present = mine === null ? null : refreshTokenOf(to, mine);
  if (mine !== null && present !== null) {
    if (mine.revision === theirs.revision) return { write: null, attention: 'none' };
    if (mine.state === 'revoked' || (mine.revision > theirs.revision && !rollBack))
      return { write: null, attention: 'newer' };
  }
  const revision = mine === null ? theirs.revision : Math.max(mine.revision, theirs.revision) + 1;
  const opened = openOrNull(from, theirs);
  if (opened === null) return { write: mine === null ? theirs : null, attention: 'consent' };
  const next = { ...theirs, revision };
  const write = { ...next, sealed: to.seal(sealContext(next), opened) };
  opened.fill(0);
  const token = refreshTokenOf(to, write);
  if (token === '' || token === present) return { write, attention: 'none' };
  const isOlder = present !== null && mine !== null && mine.revision > theirs.revision;
  return { write, attention: token === null || isOlder ? 'consent' : 'check' };
}

/** Returns the refresh token of a grant; empty: none; null: the credential does not open. */
function refreshTokenOf(vault: Pick<Vault, 'open'>, grant: SealedGrant): string | null {
  const opened = openOrNull(vault, grant);
  if (opened === null) return null;
  try {
    const { credential } = readSealed(opened, grant.id);
    return credential.type === 'oauth2' ? (credential.refreshToken ?? '') : '';
  } catch (error) {
    if (error instanceof SidekeyError) return null;
    throw error;
  } finally {
    opened.fill(0);
  }
}

function openOrNull(vault: Pick<Vault, 'open'>, grant: SealedGrant): Buffer | null {
  try {
    return vault.open(sealContext(grant), grant.sealed);
  } catch (error) {
    if (error instanceof SidekeyError) return null;
    throw error;
  }
}
