import { secretText, type SealedCredential } from '../grants/credential.ts';

/**
 * Says of a credential which one it was, and nothing else: the first 16 hex digits of a keyed hash of what is sent.
 *
 * @param mac the vault's keyed hash
 */
export function createFingerprint(mac: (secret: string) => string): (sealed: SealedCredential) => string {
  // The same object stands for the same credential until it is renewed: one hash for each, not for each request.
  const known = new WeakMap<SealedCredential, string>();
  return (sealed) => {
    let fingerprint = known.get(sealed);
    if (fingerprint === undefined) {
      fingerprint = mac(secretText(sealed.credential)).slice(0, 16);
      known.set(sealed, fingerprint);
    }
    return fingerprint;
  };
}
