/**
 * The only room that sees key bytes. Everything else asks it to seal, to open, or to make a keyed hash.
 */
export interface Vault {
  /** First 8 bytes, in hex, of a hash of the master key: tells keys apart and gives nothing away. */
  readonly keyId: string;

  /**
   * Seals with a fresh data key (AES-256-GCM), itself sealed by the master key. What comes out opens only under
   * the same `context`: a text that names the record and its revision, such as `grant/ID/7`.
   */
  seal(context: string, plaintext: Uint8Array): Uint8Array;

  /**
   * @throws SidekeyError `key_mismatch` where another master key sealed it; `record_tampered` where it was
   * changed, belongs to another record, or is of another revision.
   */
  open(context: string, sealed: Uint8Array): Buffer;

  /** HMAC-SHA256 with a key derived (HKDF, RFC 5869) from the master key for this purpose alone; 64 hex digits. */
  mac(purpose: MacPurpose, data: string | Uint8Array): string;
}

/** Each purpose has a key of its own. */
export type MacPurpose =
  | 'audit-chain'
  | 'audit-head'
  | 'audit-anchor'
  | 'audit-retention'
  | 'audit-end'
  | 'credential-fingerprint'
  | 'approval-link'
  | 'placeholder';
