import type { Authority } from './authority.ts';

/**
 * Who Sidekey is to an upstream, where a grant's credential says it in the TLS handshake. A connection that was made so
 * belongs to it for good: it is a credential for whatever is sent on it.
 */
export interface ClientIdentity {
  /** One of a kind in this process, and never used again: another credential, or the same one of another grant, has another. */
  readonly id: number;
  /** Aborted when it is to be shown no more: what was kept with it is closed. */
  readonly ended: AbortSignal;
  /** PEM: the certificate with its chain, and the key. A function, so that whatever writes objects down has no key in it. */
  material(): { readonly cert: string; readonly key: string };
}

/** Whom a connection is made to, and who we are to it; absent: nobody that a grant says. */
export interface Peer extends Authority {
  readonly identity?: ClientIdentity | undefined;
}

/** The authority itself where no grant says who we are. */
export function peerOf(authority: Authority, identity: ClientIdentity | undefined): Peer {
  return identity === undefined ? authority : { ...authority, identity };
}
