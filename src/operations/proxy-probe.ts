import type { UnreadableReference } from '../grants/references.ts';
import type { Vault } from '../store/vault/vault.ts';

/** Answer at the address in the config. */
export type Health =
  /** `instance`: see `instanceOf`. */
  | { readonly kind: 'serving'; readonly instance: string }
  /** Nothing listens there, or the response is late. */
  | { readonly kind: 'silent'; readonly why: string }
  /** Another program responds. */
  | { readonly kind: 'stranger' }
  /** The port is chosen at start, and unknown here. */
  | { readonly kind: 'unknown' };

/** Questions to the proxy at the address in the config. No answer rejects. */
export interface ProxyProbe {
  readonly health: () => Promise<Health>;
  /** Returns the references that the running proxy cannot read; none without such a proxy. */
  readonly unreadable: (vault: Vault) => Promise<readonly UnreadableReference[]>;
}
