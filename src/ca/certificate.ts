import { hash, type KeyObject, randomBytes } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import { bareHost, canonicalHost, isAddress } from '../proxy/policy/authority.ts';
import {
  bitString,
  bytesOf,
  decode,
  encode,
  integer,
  isObjectId,
  isTrue,
  itemsOf,
  objectId,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
  wrapped,
} from './asn1.ts';
import { type Asn1 } from 'node-forge/lib/asn1.js';

/** An X.509 v3 certificate with a P-256 key (RFC 5280), encoded here and signed by `node:crypto`. */
interface Certificate {
  readonly issuer: Issuer;
  /** A Name, see `commonName`. */
  readonly subject: Asn1;
  /** Milliseconds since the epoch, rounded down to seconds. The validity includes both ends. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** P-256. */
  readonly publicKey: KeyObject;
  readonly extensions: readonly Asn1[];
}

/** The signer of a certificate. */
export interface Issuer {
  /** The issuer's own subject, a Name. */
  readonly name: Asn1;
  /** See `keyIdentifier`. */
  readonly keyIdentifier: Buffer;
  /** ECDSA with SHA-256, in DER. */
  readonly sign: (data: Uint8Array) => Buffer;
}

/** Creates and signs a certificate. Returns its DER. */
export function signCertificate(certificate: Certificate): Buffer {
  // RFC 5758 §3.2: ecdsa-with-SHA256 has no parameters, not even NULL.
  const algorithm = sequence(objectId('1.2.840.10045.4.3.2'));
  const key = point(certificate.publicKey);
  const toBeSigned = sequence(
    wrapped(0, integer(2)), // v3
    integer(serialNumber()),
    algorithm,
    certificate.issuer.name,
    sequence(time(certificate.notBefore), time(certificate.notAfter)),
    certificate.subject,
    subjectPublicKey(key),
    wrapped(
      3,
      sequence(
        ...certificate.extensions,
        extension('2.5.29.14', octetString(identifierOf(key))),
        extension('2.5.29.35', sequence(tagged(0, certificate.issuer.keyIdentifier))),
      ),
    ),
  );
  const signature = certificate.issuer.sign(encode(toBeSigned));
  return encode(sequence(toBeSigned, algorithm, bitString(signature)));
}

/** Creates a Name that has only a common name. */
export function commonName(text: string): Asn1 {
  return sequence(set(sequence(objectId('2.5.4.3'), utf8String(text))));
}

/** Returns the first 160 bits of the SHA-256 of the public key (RFC 7093 §2, method 1). */
export function keyIdentifier(publicKey: KeyObject): Buffer {
  return identifierOf(point(publicKey));
}

function identifierOf(key: Buffer): Buffer {
  return hash('sha256', key, 'buffer').subarray(0, 20);
}

/** Returns the extensions of a CA's certificate: it signs leaves of TLS servers, and no other CA. */
export function authorityExtensions(permitted: readonly PermittedName[]): readonly Asn1[] {
  return [
    criticalExtension('2.5.29.19', sequence(isTrue(), integer(0))), // cA, pathLenConstraint 0
    criticalExtension('2.5.29.15', bitString(Buffer.of(0b0000_0100), 2)), // keyCertSign
    serverAuthentication(),
    ...(permitted.length === 0 ? [] : [criticalExtension(nameConstraintsId, nameConstraintsDer(permitted))]),
  ];
}

/** Returns the extensions of a TLS server's certificate for one name. */
export function leafExtensions(name: GeneralName): readonly Asn1[] {
  return [
    criticalExtension('2.5.29.19', sequence()), // no cA
    criticalExtension('2.5.29.15', bitString(Buffer.of(0b1000_0000), 7)), // digitalSignature
    serverAuthentication(),
    extension('2.5.29.17', sequence(generalNameDer(name))),
  ];
}

/** Returns DER as PEM (RFC 7468), with a line break at the end. */
export function certificatePem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function serverAuthentication(): Asn1 {
  return extension('2.5.29.37', sequence(objectId('1.3.6.1.5.5.7.3.1')));
}

function extension(id: string, value: Asn1): Asn1 {
  return sequence(objectId(id), octetString(encode(value)));
}

function criticalExtension(id: string, value: Asn1): Asn1 {
  return sequence(objectId(id), isTrue(), octetString(encode(value)));
}

/** Creates the SubjectPublicKeyInfo: ecPublicKey on prime256v1 (RFC 5480 §2). */
function subjectPublicKey(key: Buffer): Asn1 {
  return sequence(sequence(objectId('1.2.840.10045.2.1'), objectId('1.2.840.10045.3.1.7')), bitString(key));
}

/** Returns the uncompressed point: the last 65 bytes of a P-256 SubjectPublicKeyInfo. */
function point(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
}

/**
 * Returns 16 bytes, 126 bits of them random. The first two bits are 01, which makes the number positive and
 * its length constant (RFC 5280 §4.1.2.2).
 */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}

/** Object identifier of the extension for name constraints. */
export const nameConstraintsId = '2.5.29.30';

/**
 * One entry of `ca.permitted_names`. A DNS name permits itself and all names below it (RFC 5280 §4.2.1.10).
 * An address permits itself. A block (CIDR) permits its addresses.
 */
export type PermittedName =
  | { readonly kind: 'dns'; readonly text: string; readonly name: string }
  | { readonly kind: 'address'; readonly text: string; readonly bytes: Buffer; readonly prefix: number };

/**
 * Parses `ca.permitted_names`. Removes duplicates and sorts, so that the order in the config has no meaning.
 * @throws SidekeyError `config_invalid`
 */
export function parsePermittedNames(texts: readonly string[]): readonly PermittedName[] {
  const byText = new Map(texts.map(parsePermittedName).map((name) => [name.text, name]));
  return [...byText.values()].toSorted((a, b) => (a.text < b.text ? -1 : 1));
}

/** Reports whether the CA may sign a leaf for this name. Without entries it may sign for all names. */
export function permits(permitted: readonly PermittedName[], name: GeneralName): boolean {
  return permitted.length === 0 || permitted.some((entry) => covers(entry, name));
}

/**
 * Creates the value of the extension. Kinds without an entry are excluded, because a constraint applies only
 * to its own kind (RFC 5280 §4.2.1.10): only `acme.test` would permit all IP addresses.
 */
export function nameConstraintsDer(permitted: readonly PermittedName[]): Asn1 {
  const excluded: Asn1[] = [];
  if (!permitted.some((entry) => entry.kind === 'dns')) excluded.push(subtree({ kind: 'dns', name: '' }));
  for (const length of [4, 16]) {
    if (!permitted.some((entry) => entry.kind === 'address' && entry.bytes.length === length))
      excluded.push(subtree({ kind: 'address', bytes: Buffer.alloc(length * 2) }));
  }
  const bases = permitted.map((entry) =>
    entry.kind === 'dns'
      ? subtree({ kind: 'dns', name: entry.name })
      : subtree({
          kind: 'address',
          bytes: Buffer.concat([entry.bytes, mask(entry.prefix, entry.bytes.length)]),
        }),
  );
  return sequence(wrapped(0, ...bases), ...(excluded.length === 0 ? [] : [wrapped(1, ...excluded)]));
}

/** Returns the permitted names in the extensions of a certificate, as sorted texts; empty: no constraint. */
export function permittedTextsOf(extensions: readonly Asn1[]): readonly string[] {
  const extension = extensions.find((candidate) => isObjectId(itemsOf(candidate)[0], nameConstraintsId));
  if (extension === undefined) return [];
  const [permitted] = itemsOf(decode(bytesOf(itemsOf(extension).at(-1))));
  return itemsOf(permitted)
    .map((entry) => itemsOf(entry)[0])
    .map((base) => (base?.type === 2 ? bytesOf(base).toString('latin1') : blockText(bytesOf(base))))
    .toSorted();
}

function parsePermittedName(text: string): PermittedName {
  const [hostText = '', prefixText, ...more] = text.split('/');
  const host = canonicalHost(hostText) ?? canonicalHost(`[${hostText}]`);
  if (host === null || more.length > 0)
    throw unusable(text, 'is not a host name, an IP address or a block of them');
  if (!isAddress(host)) {
    if (prefixText !== undefined) throw unusable(text, 'has a path');
    return { kind: 'dns', text: host, name: host };
  }
  const bytes = addressBytes(bareHost(host));
  const bits = bytes.length * 8;
  const prefix = prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
  if (prefix < 0 || prefix > bits) throw unusable(text, `has a prefix that is not between 0 and ${bits}`);
  const ofPrefix = mask(prefix, bytes.length);
  if (bytes.some((byte, at) => (byte & ~(ofPrefix[at] ?? 0)) !== 0))
    throw unusable(text, 'is an address inside a block and not the block itself');
  return { kind: 'address', text: blockText(Buffer.concat([bytes, ofPrefix])), bytes, prefix };
}

function unusable(text: string, problem: string): SidekeyError {
  return new SidekeyError('config_invalid', `ca.permitted_names: ${JSON.stringify(text)} ${problem}.`, {
    hint: 'Write a name such as acme.test (which covers all names below it), an address, or a block such as 10.1.2.0/24.',
  });
}

function covers(entry: PermittedName, name: GeneralName): boolean {
  if (entry.kind === 'dns')
    return name.kind === 'dns' && (name.name === entry.name || name.name.endsWith(`.${entry.name}`));
  if (name.kind !== 'address' || name.bytes.length !== entry.bytes.length) return false;
  const ofPrefix = mask(entry.prefix, entry.bytes.length);
  return entry.bytes.every((byte, at) => byte === ((name.bytes[at] ?? 0) & (ofPrefix[at] ?? 0)));
}

function subtree(base: GeneralName): Asn1 {
  return sequence(generalNameDer(base));
}

/** Returns a network mask of `length` bytes with `prefix` leading ones. */
function mask(prefix: number, length: number): Buffer {
  return Buffer.from(
    Array.from({ length }, (_, at) => (0xff00 >> Math.min(8, Math.max(0, prefix - at * 8))) & 0xff),
  );
}

/** Formats an address followed by its mask in CIDR notation. */
function blockText(bytes: Buffer): string {
  const half = bytes.length / 2;
  const prefix = [...bytes.subarray(half)].reduce((ones, byte) => ones + Math.clz32(~(byte << 24)), 0);
  const address =
    half === 4
      ? [...bytes.subarray(0, 4)].join('.')
      : bareHost(
          canonicalHost(
            `[${Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(':')}]`,
          ) ?? '[::]',
        );
  return `${address}/${prefix}`;
}

/** The subject of a certificate: a DNS name or an IP address (RFC 5280 §4.2.1.6, GeneralName). */
type GeneralName =
  | { readonly kind: 'dns'; readonly name: string }
  /** 4 or 16 bytes, in network order. */
  | { readonly kind: 'address'; readonly bytes: Buffer };

/**
 * Returns the name of a canonical host (see `canonicalHost`; IPv6 in brackets). Checks again that the host is
 * canonical: programs have read a NUL, a comma, a line break or a `*` in a certificate's name differently
 * (CVE-2009-2408, CVE-2021-44532).
 * @throws SidekeyError `bad_request` if the host is not canonical
 */
export function generalNameOf(host: string): GeneralName {
  if (canonicalHost(host) !== host) {
    throw new SidekeyError(
      'bad_request',
      `No certificate is made for ${JSON.stringify(host)}: it is not a host.`,
      { hint: 'Ask for one host name or IP address, in lower case, without a wildcard.' },
    );
  }
  return isAddress(host)
    ? { kind: 'address', bytes: addressBytes(bareHost(host)) }
    : { kind: 'dns', name: host };
}

/** Encodes the name for a certificate: dNSName is `[2]`, iPAddress is `[7]`. */
function generalNameDer(name: GeneralName): Asn1 {
  return name.kind === 'dns' ? tagged(2, Buffer.from(name.name, 'latin1')) : tagged(7, name.bytes);
}

/** Parses a canonical address: dotted decimal, or IPv6 in hexadecimal groups with at most one `::`. */
export function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0);
  const bytes = Buffer.alloc(16);
  [...before, ...zeros, ...after].forEach((group, at) => bytes.writeUInt16BE(group, at * 2));
  return bytes;
}

function groups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}
