import { caughtFailure } from '../lib/errors.ts';
import { inPages } from '../store/queries.ts';
import { noPolicy } from '../store/schema.ts';
import type { GrantPolicy, Store } from '../store/store.ts';
import type { OpenedGrant } from '../domain/credential.ts';
import type { Registry } from './registry.ts';

/**
 * Plaintext metadata of an earlier version. The registry now seals metadata with the credential; see
 * `docs/decisions/0123-sealed-metadata.md`.
 */

/** Returns the settings of a grant with its metadata, both sealed and plaintext. */
export function settingsOf({ grant, sealed }: OpenedGrant, policy: GrantPolicy | null): GrantPolicy {
  const set = policy ?? noPolicy(grant.id);
  return { ...set, metadata: { ...sealed.metadata, ...set.metadata } };
}

/** Key in `meta` of a store without plaintext metadata in its files. */
export const sealedMark = 'metadata_sealed';

/**
 * Seals the plaintext metadata of an earlier version, and purges the store's files. May be interrupted and
 * repeated. If a grant cannot be opened, its metadata stays plaintext. Returns false if the purge failed.
 */
export async function sealClearMetadata(
  { meta, grantPolicies, purge }: Pick<Store, 'meta' | 'grantPolicies' | 'purge'>,
  grants: Pick<Registry, 'changeMetadata'>,
): Promise<boolean> {
  if ((await meta.get(sealedMark)) !== null) return true;
  let isWhole = true;
  const clear = inPages<GrantPolicy>(batchSize, (after) =>
    grantPolicies.withMetadata({ after: after?.grantId, limit: batchSize }),
  );
  for await (const some of clear) await Promise.all(some.map(seal));
  if (!(await purge())) return false;
  if (isWhole) await meta.putIfAbsent(sealedMark, Uint8Array.of(1));
  return true;

  async function seal({ grantId, metadata }: GrantPolicy): Promise<void> {
    try {
      await grants.changeMetadata(grantId, metadata);
      await grantPolicies.set(grantId, { metadata: {} });
    } catch (error) {
      if (!unopened.has(caughtFailure(error).code)) throw error;
      isWhole = false;
    }
  }
}

/** Grants that are sealed concurrently. */
const batchSize = 64;

const unopened: ReadonlySet<string> = new Set(['key_mismatch', 'record_tampered']);
