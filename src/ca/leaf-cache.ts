import { createSecureContext, type SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { CertificateAuthority } from './authority.ts';
import { issueLeaf, type Leaf } from './leaf.ts';
import { createTicketKeys, type TicketKeys } from './ticket-keys.ts';

/** TLS server contexts by host. */
export interface LeafCache {
  /**
   * The context to serve this host with, TLS 1.2 and later. A hit costs a look-up; a miss makes a leaf. Session tickets
   * that one context of a host gave are good at its next ones, until the ticket keys change.
   * @param host Canonical (see `policy/host.ts`).
   * @throws SidekeyError as `issueLeaf` does; nothing is kept then.
   */
  secureContextFor(host: string): SecureContext;
  /**
   * Makes what `secureContextFor` would have to make for this host now or within `aheadMs` milliseconds; answers whether
   * there was anything to make.
   * @throws as `secureContextFor`
   */
  prepare(host: string, aheadMs: number): boolean;
  /** How many hosts it holds. */
  readonly size: number;
  /** How many hosts it holds at most. */
  readonly capacity: number;
}

/** What leaves are made with, and how many are kept. */
export interface LeafCacheOptions {
  /** Asked each time, so that a CA that was changed by a reload is used at once. */
  readonly authority: () => CertificateAuthority;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How many hosts at most; the one that was not used for the longest time goes first. Default: 1,000. */
  readonly capacity?: number | undefined;
  /** Default: of this cache alone. */
  readonly tickets?: TicketKeys | undefined;
}

interface Entry {
  readonly leaf: Leaf;
  /** Fingerprint of the CA. */
  readonly authority: string;
  readonly context: SecureContext;
  /** Of the ticket keys. */
  readonly period: number;
}

/** Makes an empty cache. */
export function createLeafCache(options: LeafCacheOptions): LeafCache {
  const { tickets = createTicketKeys(), capacity = 1_000 } = options;
  const entries = new LRUCache<string, Entry>({ max: capacity });

  function make(host: string, leaf: Leaf, { fingerprint }: CertificateAuthority, now: number): Entry {
    const period = tickets.periodAt(now);
    const ticketKeys = tickets.keysFor({ host, authority: fingerprint, period });
    const context = createSecureContext({ ...leaf.secureContextOptions, ticketKeys });
    const entry = { leaf, authority: fingerprint, context, period };
    entries.set(host, entry);
    return entry;
  }

  return {
    secureContextFor(host) {
      const authority = options.authority();
      const now = options.now();
      const held = entries.get(host);
      if (held === undefined || !isFresh(held, authority, now)) {
        return make(host, issueLeaf(authority, host, now), authority, now).context;
      }
      // Node has no way to put other keys into a context.
      if (held.period !== tickets.periodAt(now)) return make(host, held.leaf, authority, now).context;
      return held.context;
    },
    prepare(host, aheadMs) {
      const authority = options.authority();
      const now = options.now();
      const held = entries.peek(host);
      const isReady =
        held !== undefined && isFresh(held, authority, now) && isFresh(held, authority, now + aheadMs);
      if (isReady && held.period === tickets.periodAt(now)) return false;
      make(host, isReady ? held.leaf : issueLeaf(authority, host, now), authority, now);
      return true;
    },
    get size() {
      return entries.size;
    },
    capacity,
  };
}

/** Of this CA, begun, and with a third of its life left, or as long as the CA can give any. */
function isFresh({ leaf, authority: made }: Entry, authority: CertificateAuthority, now: number): boolean {
  const { notBefore, notAfter } = leaf;
  if (made !== authority.fingerprint) return false;
  if (now < notBefore || now >= notAfter) return false;
  return notAfter - now >= (notAfter - notBefore) / 3 || notAfter >= authority.notAfter;
}
