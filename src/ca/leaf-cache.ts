import { createSecureContext, type SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { CertificateAuthority } from './authority.ts';
import { issueLeaf } from './leaf.ts';

/** TLS server contexts by host. */
export interface LeafCache {
  /**
   * The context to serve this host with, TLS 1.2 and later. A hit costs a look-up; a miss makes a leaf.
   * @param host Canonical (see `policy/host.ts`).
   * @throws SidekeyError as `issueLeaf` does; nothing is kept then.
   */
  secureContextFor(host: string): SecureContext;
  /** How many hosts it holds. */
  readonly size: number;
}

/** What leaves are made with, and how many are kept. */
export interface LeafCacheOptions {
  /** Asked each time, so that a CA that was changed by a reload is used at once. */
  readonly authority: () => CertificateAuthority;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How many hosts at most; the one that was not used for the longest time goes first. Default: 1,000. */
  readonly capacity?: number | undefined;
}

interface Entry {
  readonly context: SecureContext;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Fingerprint of the CA. */
  readonly authority: string;
}

/** Makes an empty cache. */
export function createLeafCache(options: LeafCacheOptions): LeafCache {
  const entries = new LRUCache<string, Entry>({ max: options.capacity ?? 1_000 });
  return {
    secureContextFor(host) {
      const authority = options.authority();
      const now = options.now();
      const held = entries.get(host);
      if (held !== undefined && isFresh(held, authority, now)) return held.context;
      const { notBefore, notAfter, secureContextOptions } = issueLeaf(authority, host, now);
      const context = createSecureContext(secureContextOptions);
      entries.set(host, { context, notBefore, notAfter, authority: authority.fingerprint });
      return context;
    },
    get size() {
      return entries.size;
    },
  };
}

/** Of this CA, begun, and with a third of its life left, or as long as the CA can give any. */
function isFresh(entry: Entry, authority: CertificateAuthority, now: number): boolean {
  if (entry.authority !== authority.fingerprint) return false;
  if (now < entry.notBefore || now >= entry.notAfter) return false;
  return (
    entry.notAfter - now >= (entry.notAfter - entry.notBefore) / 3 || entry.notAfter >= authority.notAfter
  );
}
