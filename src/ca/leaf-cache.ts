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
  /** The number of hosts in the cache. */
  readonly size: number;
  /** The maximum number of hosts. */
  readonly capacity: number;
}

interface LeafCacheOptions {
  /** Asked each time, so that a CA that was changed by a reload is used at once. */
  readonly authority: () => CertificateAuthority;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The maximum number of hosts; the least recently used one is dropped first. Default: 1,000. */
  readonly capacity?: number | undefined;
  /** Default: of this cache alone. */
  readonly tickets?: TicketKeys | undefined;
}

interface Entry {
  readonly leaf: Leaf;
  /** Fingerprint of the CA. */
  readonly authority: string;
  readonly context: SecureContext;
  /** The period of the ticket keys. */
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

/** Returns whether a leaf is of this CA, has begun, and has a third of its life left, or ends with the CA. */
function isFresh({ leaf, authority: made }: Entry, authority: CertificateAuthority, now: number): boolean {
  const { notBefore, notAfter } = leaf;
  if (made !== authority.fingerprint) return false;
  if (now < notBefore || now >= notAfter) return false;
  return notAfter - now >= (notAfter - notBefore) / 3 || notAfter >= authority.notAfter;
}

/** Leaves that are made before anybody asks for them. */
interface LeafPrefetch {
  /** From now on these hosts have leaves, and no others. The first come first. */
  prepare(hosts: Iterable<string>): void;
  /** Makes no more. Idempotent. */
  close(): void;
}

interface LeafPrefetchOptions {
  readonly leaves: Pick<LeafCache, 'prepare' | 'capacity'>;
  /** Runs a function once after the work that is due now, unless the returned function is called before. */
  readonly soon: (run: () => void) => () => void;
  /** Runs a function once, after so many milliseconds, unless the answer is called before. */
  readonly later: (ms: number, run: () => void) => () => void;
}

/** The interval of the search for due leaves. */
const lookMs = 3_600_000;

/**
 * Makes nothing yet. One leaf at a time, and in between the process does what else is due: a leaf takes less than a
 * millisecond, and no exchange waits for more than one. A host for which there can be no leaf is left out: who asks for
 * it is told why.
 */
export function createLeafPrefetch({ leaves, soon, later }: LeafPrefetchOptions): LeafPrefetch {
  let wanted: readonly string[] = [];
  let isClosed = false;
  /** Cancels the scheduled work. */
  let cancel: (() => void) | null = null;

  function look(): void {
    let at = 0;
    const next = (): void => {
      // Those that are ready cost nothing.
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
      // So that none is due before the look after the next one.
      return leaves.prepare(host, 2 * lookMs);
    } catch {
      return false;
    }
  }

  return {
    prepare(hosts) {
      if (isClosed) return;
      cancel?.();
      // The hosts that wildcards allow need places too.
      wanted = [...new Set(hosts)].slice(0, Math.floor(leaves.capacity / 2));
      if (wanted.length > 0) look();
    },
    close() {
      isClosed = true;
      cancel?.();
    },
  };
}

/** A certificate for one host, with a key of its own. */
interface Leaf {
  /** Without the CA's certificate: clients have that one, or do not trust it anyway (RFC 8446 §4.4.2). */
  readonly certificatePem: string;
  /** PKCS#8. It is only in memory, and at most as long as the certificate. */
  readonly privateKeyPem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** The options of `tls.createSecureContext` that serve it. */
  readonly secureContextOptions: SecureContextOptions;
}

const dayMs = 86_400_000;
/** From 2029 on browsers take no more than 47 days (CA/Browser Forum ballot SC-081v3). */
const lifetimeMs = 45 * dayMs;

/**
 * The subject of every leaf. Hosts are named in the alternative name alone: a common name ends at 64 characters,
 * and clients that read names there too would hold an IP address against the DNS constraints of the CA.
 */
const subject = commonName('Sidekey leaf');

/**
 * Makes a fresh P-256 key and a certificate for this host and no other: from a day ago (clients' clocks differ)
 * for 45 days, or until the CA ends. Costs about a fifth of a millisecond.
 * @param host Canonical (see `policy/host.ts`).
 * @param now Milliseconds since the epoch.
 * @throws SidekeyError `bad_request` where this is no canonical host; `domain_not_allowed` where the CA is not
 * permitted to sign for it; `clock_wrong` where the CA's life has not begun, `ca_mismatch` where it is over.
 */
export function issueLeaf(authority: CertificateAuthority, host: string, now: number): Leaf {
  const name = generalNameOf(host);
  if (!permits(authority.permittedNames, name)) {
    throw new SidekeyError('domain_not_allowed', `The CA of this proxy may not sign for ${host}.`, {
      hint: `Add ${host} to ca.permitted_names, and move ca.crt and ca.key away for a new CA, which clients have to trust.`,
    });
  }
  if (now < authority.notBefore) {
    throw new SidekeyError('clock_wrong', `This machine's clock stands before ${authority.name} begins.`, {
      hint: 'Set the clock.',
    });
  }
  if (now >= authority.notAfter) {
    throw new SidekeyError('ca_mismatch', `${authority.name} has ended.`, {
      hint: 'Move ca.crt and ca.key away and start again: this makes a new CA, which clients have to trust.',
    });
  }
  // Both ends belong to the life of a certificate (RFC 5280 §4.1.2.5), hence the second less.
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
 * Keys for session tickets of TLS (RFC 5077, RFC 8446 §4.6.1), with which a client's second handshake needs no
 * certificate. They are derived for each host: OpenSSL does not hold the server name of a TLS 1.3 handshake against that
 * of the session, so what keeps a ticket of one host from another is that the other cannot open it. So does a client
 * that came by another CA. Nothing of them is written anywhere.
 */
interface TicketKeys {
  /** Returns the period of the keys in use; keys of another period open no ticket of this one. */
  periodAt(now: number): number;
  /** 48 bytes, as `tls.createSecureContext` takes them: a name, a MAC key, a cipher key. The same for the same facts. */
  keysFor(facts: TicketFacts): Buffer;
}

interface TicketFacts {
  /** Canonical. */
  readonly host: string;
  /** Fingerprint of the CA. */
  readonly authority: string;
  /** See `periodAt`. */
  readonly period: number;
}

/** Bytes of the material that keys are derived from. */
export const ticketMaterialBytes = 48;

/** A day, by the clock, so that all processes change at once. Tickets live for two hours. */
const periodMs = 86_400_000;

/**
 * @param material At least 32 random bytes, which all workers of one proxy share. Default: fresh ones, so that tickets
 * end with the process.
 * @throws Error where the material is too short
 */
export function createTicketKeys(material: Uint8Array = randomBytes(ticketMaterialBytes)): TicketKeys {
  if (material.length < 32) throw new Error('The material of ticket keys is too short.');
  const secret = Buffer.from(material);
  return {
    periodAt: (now) => Math.floor(now / periodMs),
    // SHA-384 has as many bytes as are needed. No fact has a line break in it.
    keysFor: ({ host, authority, period }) =>
      createHmac('sha384', secret).update(`sidekey tls tickets\n${period}\n${authority}\n${host}`).digest(),
  };
}
