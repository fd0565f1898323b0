import { createHash, createHmac, hash, randomBytes, X509Certificate } from 'node:crypto';
import { getCACertificates } from 'node:tls';
import { inputInvalid } from '../lib/errors.ts';
import { certificatePem } from './certificate.ts';
import {
  bmpString,
  encode,
  integer,
  nothing,
  objectId,
  octetString,
  sequence,
  set,
  wrapped,
} from './asn1.ts';
import { type Asn1 } from 'node-forge/lib/asn1.js';

const data = '1.2.840.113549.1.7.1';
const certificateBag = '1.2.840.113549.1.12.10.1.3';
const x509Certificate = '1.2.840.113549.1.9.22.1';
const friendlyName = '1.2.840.113549.1.9.20';
const sha256 = '2.16.840.1.101.3.4.2.1';
/** Object identifier of `trustedKeyUsage`. Java trusts only certificates with this attribute. */
const trustedKeyUsage = '2.16.840.1.113894.746875.1.1';
const anyExtendedKeyUsage = '2.5.29.37.0';

/** Number of iterations, as Java's keytool uses. */
const macIterations = 10_000;

/**
 * Returns a PKCS#12 trust store (RFC 7292) for Java, with Sidekey's CA as `sidekey-ca`. It includes the
 * machine's roots, because `javax.net.ssl.trustStore` replaces Java's own list. Certificates are not
 * encrypted. The password, which Java requires, only keys the integrity check (HMAC-SHA256: Java 8u301,
 * 11.0.12 and later).
 * @throws SidekeyError `input_invalid` if the password is empty or not ASCII, which Java does not accept
 */
export function pkcs12TrustStore(caPem: string, password: string, roots?: RootSources): Buffer {
  if (!/^[\x20-\x7e]+$/.test(password)) {
    throw inputInvalid(
      'The password of a trust store is one or more ASCII characters.',
      'Give another, such as changeit, which Java takes by default: there is nothing secret in the store.',
    );
  }
  const [ours, ...others] = trustedCertificates(caPem, roots);
  const bags = [
    bag('sidekey-ca', ours),
    // Names are unique, because Java merges entries with equal names.
    ...others.map((root) => bag(`root-${root.fingerprint.slice(0, 16)}`, root)),
  ];
  const safe = encode(sequence(content(encode(sequence(...bags)))));
  return encode(sequence(integer(3), content(safe), macData(safe, password)));
}

function bag(alias: string, { der }: TrustedCertificate): Asn1 {
  return sequence(
    objectId(certificateBag),
    wrapped(0, sequence(objectId(x509Certificate), wrapped(0, octetString(der)))),
    set(
      sequence(objectId(friendlyName), set(bmpString(alias))),
      sequence(objectId(trustedKeyUsage), set(objectId(anyExtendedKeyUsage))),
    ),
  );
}

/** Creates a ContentInfo of type data. */
function content(bytes: Buffer): Asn1 {
  return sequence(objectId(data), wrapped(0, octetString(bytes)));
}

/** Creates the MacData of a store (RFC 7292 §4). */
function macData(safe: Buffer, password: string): Asn1 {
  const salt = randomBytes(20);
  const digest = createHmac('sha256', macKey(password, salt)).update(safe).digest();
  return sequence(
    sequence(sequence(objectId(sha256), nothing()), octetString(digest)),
    octetString(salt),
    integer(macIterations),
  );
}

/** Derives the MAC key (RFC 7292 appendix B.2). One SHA-256 output is the whole key: no steps 6B and 6C. */
function macKey(password: string, salt: Buffer): Buffer {
  const block = 64;
  const filled = (bytes: Buffer) => Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes);
  const text = Buffer.from(`${password}\0`, 'utf16le').swap16();
  let key = Buffer.concat([Buffer.alloc(block, 3), filled(salt), filled(text)]);
  for (let round = 0; round < macIterations; round += 1) key = hash('sha256', key, 'buffer');
  return key;
}

/**
 * A certificate that clients trust: a root of this machine, or Sidekey's CA. Clients need both: most settings
 * for a CA file (`SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `javax.net.ssl.trustStore`) replace their default
 * roots. With Sidekey's CA alone, tunnels and connections that bypass the proxy would fail.
 */
interface TrustedCertificate {
  readonly der: Buffer;
  /** SHA-256 in lower-case hex. */
  readonly fingerprint: string;
}

/** PEM texts of the roots that this machine trusts. */
interface RootSources {
  /** Roots of the operating system; empty in many containers. */
  readonly system: readonly string[];
  /** Roots if the system has none: Node's copy of Mozilla's list. */
  readonly fallback: readonly string[];
}

/** Returns the roots of this machine, as Node finds them. */
export function machineRoots(): RootSources {
  return { system: getCACertificates('system'), fallback: getCACertificates('default') };
}

/**
 * Returns Sidekey's CA, then the roots, each once.
 * @throws Error if `caPem` is not a certificate
 */
export function trustedCertificates(
  caPem: string,
  roots: RootSources = machineRoots(),
): readonly [TrustedCertificate, ...TrustedCertificate[]] {
  const ours = trusted(new X509Certificate(caPem).raw);
  const othersOf = (pems: readonly string[]): TrustedCertificate[] => {
    const all = pems.flatMap(certificatesIn).map(trusted);
    return [...new Map(all.map((one) => [one.fingerprint, one])).values()].filter(
      ({ fingerprint }) => fingerprint !== ours.fingerprint,
    );
  };
  // SSL_CERT_FILE may name Sidekey's own ca.crt. The "system" roots are then this certificate only.
  const system = othersOf(roots.system);
  return [ours, ...(system.length > 0 ? system : othersOf(roots.fallback))];
}

/** Returns the trusted certificates as PEM, for OpenSSL and programs that read the same files. */
export function pemBundle(caPem: string, roots?: RootSources): string {
  return trustedCertificates(caPem, roots)
    .map(({ der }) => certificatePem(der))
    .join('');
}

function trusted(der: Buffer): TrustedCertificate {
  return { der, fingerprint: createHash('sha256').update(der).digest('hex') };
}

/**
 * Returns the DER of the certificates in a PEM text. Does not parse them: the machine may trust roots that
 * this version of OpenSSL cannot parse.
 */
export function certificatesIn(pem: string): Buffer[] {
  return [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)].map(
    ([, body = '']) => Buffer.from(body, 'base64'),
  );
}
