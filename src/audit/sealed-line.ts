/**
 * A JSON object on a line of its own that only who has the master key can have written: its last fields are the id of that
 * key and a keyed hash over all before. Pure.
 */
import type { AuditVault } from './head.ts';

/** What a seal is for; each has a key of its own. */
export type SealPurpose = 'audit-anchor' | 'audit-retention' | 'audit-end';

/** A line as read: what was sealed, one of another master key, or one that was changed. */
export type Unsealed =
  | { readonly kind: 'authentic'; readonly value: unknown }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** The line of `value`, without its newline. */
export function sealLine(value: object, purpose: SealPurpose, vault: AuditVault): string {
  const text = `${JSON.stringify(value).slice(0, -1)},"key":"${vault.keyId}"`;
  return `${text},"mac":"${vault.mac(purpose, text)}"}`;
}

/** Reads what `sealLine` made. The hash is made over the text as it stands: nothing is serialized again. */
export function unsealLine(line: string, purpose: SealPurpose, vault: AuditVault): Unsealed {
  const [, text = '', keyId = '', mac] =
    /^(\{.*,"key":"([^"\\]*)"),"mac":"([0-9a-f]{64})"\}$/s.exec(line) ?? [];
  if (mac === undefined) return { kind: 'broken' };
  if (keyId !== vault.keyId) return { kind: 'other-key', keyId };
  if (vault.mac(purpose, text) !== mac) return { kind: 'broken' };
  return { kind: 'authentic', value: JSON.parse(`${text}}`) };
}
