import type { Authority } from './authority.ts';

/**
 * The client identity in the TLS handshake, from the credential of a grant. A connection with it
 * authenticates all requests on it.
 */
export interface ClientIdentity {
  /** Unique in this process: each credential of each grant has its own. */
  readonly id: number;
  /** Aborted when the identity ends: its connections are closed. */
  readonly ended: AbortSignal;
  /**
   * PEM of the certificate chain and the key. A function, so that serialised objects do not contain the key.
   */
  material(): { readonly cert: string; readonly key: string };
}

/** Target of a connection, with our client identity; absent: none of a grant. */
export interface Peer extends Authority {
  readonly identity?: ClientIdentity | undefined;
}

/** Returns the authority itself without an identity. */
export function peerOf(authority: Authority, identity: ClientIdentity | undefined): Peer {
  return identity === undefined ? authority : { ...authority, identity };
}
