import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { LRUCache } from 'lru-cache';
import { SidekeyError } from '../lib/errors.ts';
import type { CertificateAuthority } from './authority.ts';
import {
  certificatePem,
  commonName,
  generalNameOf,
  leafExtensions,
  permits,
  signCertificate,
} from './certificate.ts';

/** TLS server contexts by host. */
export type LeafCache = ReturnType<typeof createLeafCache>;

interface LeafCacheOptions {
  /** Returns the current CA. Called for each context, so that a reloaded CA is used at once. */
  readonly authority: () => CertificateAuthority;
  readonly now: () => number;
  /** Maximum number of hosts; the least recently used one is removed first. Default: 1,000. */
  readonly capacity?: number | undefined;
  /** Default: new keys for this cache. */
  readonly tickets?: TicketKeys | undefined;
}

interface Entry {
  readonly leaf: Leaf;
  /** Fingerprint of the CA. */
  readonly authority: string;
  readonly context: SecureContext;
  /** Period of the ticket keys. */
  readonly period: number;
}

export function createLeafCache(options: LeafCacheOptions) {
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
    /**
     * Returns the TLS context for connections to this host (TLS 1.2 or later). A miss creates a leaf. A later
     * context of a host accepts the session tickets of an earlier one until the ticket keys change.
     * @param host canonical (see `canonicalHost`)
     * @throws SidekeyError as `issueLeaf`; nothing is cached then
     */
    secureContextFor(host: string): SecureContext {
      const authority = options.authority();
      const now = options.now();
      const held = entries.get(host);
      if (held === undefined || !isFresh(held, authority, now))
        return make(host, issueLeaf(authority, host, now), authority, now).context;
      // Node cannot change the ticket keys of a context.
      if (held.period !== tickets.periodAt(now)) return make(host, held.leaf, authority, now).context;
      return held.context;
    },
    /**
     * Creates the context that `secureContextFor` would create now or within `aheadMs` milliseconds. Returns
     * false if the cached one is still valid then.
     * @throws as `secureContextFor`
     */
    prepare(host: string, aheadMs: number): boolean {
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
    /** Maximum number of hosts. */
    capacity,
  };
}

/**
 * Reports whether a leaf is from this CA, is valid at `now`, and has at least a third of its lifetime left.
 * One that ends with the CA may have less, because a new one would not last longer.
 */
function isFresh({ leaf, authority: made }: Entry, authority: CertificateAuthority, now: number): boolean {
  const { notBefore, notAfter } = leaf;
  if (made !== authority.fingerprint) return false;
  if (now < notBefore || now >= notAfter) return false;
  return notAfter - now >= (notAfter - notBefore) / 3 || notAfter >= authority.notAfter;
}

interface LeafPrefetchOptions {
  readonly leaves: Pick<LeafCache, 'prepare' | 'capacity'>;
  /** Runs a function once, after the work that is due now. The returned function cancels it. */
  readonly soon: (run: () => void) => () => void;
  /** Runs a function once, after `ms` milliseconds. The returned function cancels it. */
  readonly later: (ms: number, run: () => void) => () => void;
}

/** Milliseconds between searches for leaves that are due. */
const lookMs = 3_600_000;

/**
 * Returns a prefetch without hosts, which creates leaves before their first use. It creates one leaf (under
 * 1 ms) at a time and yields in between, so no exchange waits longer. It skips hosts for which no leaf can be
 * created: a later request gets the error.
 */
export function createLeafPrefetch({ leaves, soon, later }: LeafPrefetchOptions) {
  let wanted: readonly string[] = [];
  let isClosed = false;
  /** Cancels the scheduled work. */
  let cancel: (() => void) | null = null;

  function look(): void {
    let at = 0;
    const next = (): void => {
      // Hosts with a valid leaf need no pause.
      for (; at < wanted.length; at += 1) {
        if (!made(wanted[at]!)) continue;
        at += 1;
        cancel = soon(next);
        return;
      }
      cancel = later(lookMs, look);
    };
    cancel = soon(next);
  }

  function made(host: string): boolean {
    try {
      // Two intervals, so that no leaf becomes due before the search after the next one.
      return leaves.prepare(host, 2 * lookMs);
    } catch {
      return false;
    }
  }

  return {
    /** Keeps leaves ready for these hosts, in this order, instead of those of an earlier call. */
    prepare(hosts: Iterable<string>): void {
      if (isClosed) return;
      cancel?.();
      // Hosts of wildcard patterns need places in the cache too.
      wanted = [...new Set(hosts)].slice(0, Math.floor(leaves.capacity / 2));
      if (wanted.length > 0) look();
    },
    /** Stops the creation of leaves. Idempotent. */
    close(): void {
      isClosed = true;
      cancel?.();
    },
  };
}

/** A certificate for one host, with its own key. */
interface Leaf {
  /** Excludes the CA's certificate: clients that trust it have it already (RFC 8446 §4.4.2). */
  readonly certificatePem: string;
  /** PKCS#8. Kept only in memory. */
  readonly privateKeyPem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Options of `tls.createSecureContext` for this leaf. */
  readonly secureContextOptions: SecureContextOptions;
}

const dayMs = 86_400_000;
/** Lifetime of a leaf. The maximum of browsers is 47 days from 2029 (CA/Browser Forum ballot SC-081v3). */
const lifetimeMs = 45 * dayMs;

/**
 * Subject of every leaf. The host is only in the subject alternative name: a common name has at most 64
 * characters, and some clients would check an IP address in it against the DNS constraints of the CA.
 */
const subject = commonName('Sidekey leaf');

/**
 * Creates a P-256 key and a certificate for this host only, in about 0.2 ms. It is valid from one day ago,
 * because clocks of clients differ, for 45 days or until the CA ends.
 * @param host canonical (see `canonicalHost`)
 * @param now milliseconds since the epoch
 * @throws SidekeyError `bad_request` if the host is not canonical; `domain_not_allowed` if the CA must not
 * sign it; `clock_wrong` if the CA is not valid yet; `ca_mismatch` if the CA has expired
 */
export function issueLeaf(authority: CertificateAuthority, host: string, now: number): Leaf {
  const name = generalNameOf(host);
  if (!permits(authority.permittedNames, name)) {
    throw new SidekeyError('domain_not_allowed', `The CA of this proxy may not sign for ${host}.`, {
      hint: `Add ${host} to ca.permitted_names, and move ca.crt and ca.key away for a new CA, which clients have to trust.`,
    });
  }
  if (now < authority.notBefore) {
    throw new SidekeyError(
      'clock_wrong',
      `The clock of this machine is earlier than the start of ${authority.name}.`,
      { hint: 'Set the clock.' },
    );
  }
  if (now >= authority.notAfter) {
    throw new SidekeyError('ca_mismatch', `${authority.name} has ended.`, {
      hint: 'Move ca.crt and ca.key away and start again: this makes a new CA, which clients have to trust.',
    });
  }
  // The validity includes both ends (RFC 5280 §4.1.2.5), so it ends one second earlier.
  const notBefore = wholeSeconds(Math.max(now - dayMs, authority.notBefore));
  const notAfter = wholeSeconds(Math.min(notBefore + lifetimeMs - 1_000, authority.notAfter));
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = signCertificate({
    issuer: authority.issuer,
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions: leafExtensions(name),
  });
  const leaf = {
    certificatePem: certificatePem(der),
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    notBefore,
    notAfter,
  };
  return {
    ...leaf,
    secureContextOptions: { cert: leaf.certificatePem, key: leaf.privateKeyPem, minVersion: 'TLSv1.2' },
  };
}

function wholeSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1_000) * 1_000;
}

/**
 * Keys for TLS session tickets (RFC 5077, RFC 8446 §4.6.1), with which a new handshake needs no certificate.
 * Each host and each CA has its own keys, so a ticket of one is useless for another. OpenSSL does not prevent
 * that: in TLS 1.3 it does not compare the server name with that of the session. Keys are never written to
 * disk.
 */
type TicketKeys = ReturnType<typeof createTicketKeys>;

interface TicketFacts {
  /** Canonical. */
  readonly host: string;
  /** Fingerprint of the CA. */
  readonly authority: string;
  /** See `periodAt`. */
  readonly period: number;
}

/** Bytes of the key material. */
export const ticketMaterialBytes = 48;

/** One day, counted from the epoch: all processes change keys together. Tickets are valid for two hours. */
const periodMs = 86_400_000;

/**
 * Creates ticket keys.
 * @param material at least 32 random bytes that all workers of one proxy share. Default: new ones, so tickets
 * end with the process.
 * @throws Error if the material is too short
 */
export function createTicketKeys(material: Uint8Array = randomBytes(ticketMaterialBytes)) {
  if (material.length < 32) throw new Error('The material of ticket keys is too short.');
  const secret = Buffer.from(material);
  return {
    /** Returns the period of the keys at `now`. Keys of one period cannot decrypt tickets of another. */
    periodAt: (now: number) => Math.floor(now / periodMs),
    // SHA-384 has exactly 48 bytes. No fact contains a line break, so the input is unambiguous.
    /** Returns 48 bytes for `tls.createSecureContext`: name, MAC key, cipher key. Deterministic. */
    keysFor: ({ host, authority, period }: TicketFacts) =>
      createHmac('sha384', secret).update(`sidekey tls tickets\n${period}\n${authority}\n${host}`).digest(),
  };
}
