import { createHash, createHmac, hash, randomBytes, X509Certificate } from 'node:crypto';
import { getCACertificates } from 'node:tls';
import { SidekeyError } from '../lib/errors.ts';
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
/** Java takes a certificate for a trusted one only where it carries this: `trustedKeyUsage`, for any purpose. */
const trustedKeyUsage = '2.16.840.1.113894.746875.1.1';
const anyExtendedKeyUsage = '2.5.29.37.0';

/** The number that Java's own keytool writes. */
const macIterations = 10_000;

/**
 * A PKCS#12 trust store (RFC 7292) for Java, with the machine's roots, because `javax.net.ssl.trustStore` replaces
 * Java's own list. Our CA is the entry `sidekey-ca`. The certificates are public and stand in the clear; the password
 * only keys the check of integrity (HMAC-SHA256: Java 8u301, 11.0.12 and later), and Java wants one.
 * @throws SidekeyError `input_invalid` where the password is empty or not ASCII, which Java does not take.
 */
export function pkcs12TrustStore(caPem: string, password: string, roots?: RootSources): Buffer {
  if (!/^[\x20-\x7e]+$/.test(password)) {
    throw new SidekeyError(
      'input_invalid',
      'The password of a trust store is one or more ASCII characters.',
      {
        hint: 'Give another, such as changeit, which Java takes by default: there is nothing secret in the store.',
      },
    );
  }
  const [ours, ...others] = trustedCertificates(caPem, roots);
  const bags = [
    bag('sidekey-ca', ours),
    // Java folds entries with the same name into one.
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

/** ContentInfo of type data. */
function content(bytes: Buffer): Asn1 {
  return sequence(objectId(data), wrapped(0, octetString(bytes)));
}

/** RFC 7292 §4. */
function macData(safe: Buffer, password: string): Asn1 {
  const salt = randomBytes(20);
  const digest = createHmac('sha256', macKey(password, salt)).update(safe).digest();
  return sequence(
    sequence(sequence(objectId(sha256), nothing()), octetString(digest)),
    octetString(salt),
    integer(macIterations),
  );
}

/** RFC 7292 appendix B.2 for SHA-256, whose one block is the whole key: so nothing of the second step is needed. */
function macKey(password: string, salt: Buffer): Buffer {
  const block = 64;
  const filled = (bytes: Buffer) => Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes);
  const text = Buffer.from(`${password}\0`, 'utf16le').swap16();
  let key = Buffer.concat([Buffer.alloc(block, 3), filled(salt), filled(text)]);
  for (let round = 0; round < macIterations; round += 1) key = hash('sha256', key, 'buffer');
  return key;
}

/**
 * The certificates that clients trust: the roots of this machine and our CA. Most settings that name a CA file
 * (`SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `javax.net.ssl.trustStore`) replace what the client trusts by default, so
 * that our CA alone would break every connection that does not go through the proxy, and every tunnel that does.
 */
interface TrustedCertificate {
  readonly der: Buffer;
  /** SHA-256 in lower-case hex. */
  readonly fingerprint: string;
}

/** PEM texts of the roots that this machine trusts. */
interface RootSources {
  /** The operating system's; empty in many containers. */
  readonly system: readonly string[];
  /** The roots if the system has none: Node's own copy of Mozilla's list. */
  readonly fallback: readonly string[];
}

/** The roots of this machine, as Node finds them. */
export function machineRoots(): RootSources {
  return { system: getCACertificates('system'), fallback: getCACertificates('default') };
}

/**
 * Our CA first, then the roots, each once.
 * @throws Error where `caPem` is no certificate.
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
  // SSL_CERT_FILE may name our own ca.crt: the "system" then has that one certificate and no root.
  const system = othersOf(roots.system);
  return [ours, ...(system.length > 0 ? system : othersOf(roots.fallback))];
}

/** The trust bundle as PEM, for OpenSSL and everything that reads files as it does. */
export function pemBundle(caPem: string, roots?: RootSources): string {
  return trustedCertificates(caPem, roots)
    .map(({ der }) => certificatePem(der))
    .join('');
}

function trusted(der: Buffer): TrustedCertificate {
  return { der, fingerprint: createHash('sha256').update(der).digest('hex') };
}

/**
 * DER of the certificates in a PEM text, by their frames alone: a root that this OpenSSL cannot parse is still one
 * that the machine trusts.
 */
export function certificatesIn(pem: string): Buffer[] {
  return [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)].map(
    ([, body = '']) => Buffer.from(body, 'base64'),
  );
}
