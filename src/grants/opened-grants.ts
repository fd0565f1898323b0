import type { GrantRecord } from '../store/store.ts';
import type { Vault } from '../vault/vault.ts';
import type { SealedCredential } from './credential.ts';
import type { Grant } from './grant.ts';
import { grantOf, sealContext } from './grant-record.ts';
import { readSealed } from './sealed-text.ts';

/** A grant and its credential in the clear. */
export interface OpenedGrant {
  readonly grant: Grant;
  readonly sealed: SealedCredential;
}

/** Opens records, and remembers what it opened last of each grant. */
export interface OpenedGrants {
  /** @throws SidekeyError `record_tampered`, `key_mismatch`. */
  open(id: string, record: GrantRecord | null): OpenedGrant | null;
}

/** How many grants are kept open at once; beyond it the one that was opened first goes. */
const maxOpen = 4_096;

/** Nothing is opened before it is asked for. */
export function createOpenedGrants(vault: Vault): OpenedGrants {
  const known = new Map<string, { readonly record: GrantRecord; readonly opened: OpenedGrant }>();
  return {
    open(id, record) {
      if (record === null) {
        known.delete(id);
        return null;
      }
      const last = known.get(record.id);
      if (last?.record === record) return last.opened;
      // The same bytes under the same seal hold the same credential; other columns may still have changed.
      const sealed =
        last !== undefined && isSameSeal(last.record, record)
          ? last.opened.sealed
          : readSealed(vault.open(sealContext(record), record.sealed), record.id);
      const opened = { grant: grantOf(record), sealed };
      known.delete(record.id);
      known.set(record.id, { record, opened });
      const [first] = known.size > maxOpen ? known.keys() : [];
      if (first !== undefined) known.delete(first);
      return opened;
    },
  };
}

function isSameSeal(a: GrantRecord, b: GrantRecord): boolean {
  return sealContext(a) === sealContext(b) && Buffer.compare(a.sealed, b.sealed) === 0;
}
