import { hash, randomBytes, type KeyObject } from 'node:crypto';
import {
  bitString,
  encode,
  integer,
  isTrue,
  objectId,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
  wrapped,
  type Der,
} from './der.ts';
import { generalNameDer, type GeneralName } from './general-name.ts';
import { nameConstraintsDer, nameConstraintsId, type PermittedName } from './name-constraints.ts';

/** X.509 v3 certificates with P-256 keys (RFC 5280): the ASN.1 is written here, and `node:crypto` signs. */
export interface Certificate {
  readonly issuer: Issuer;
  /** A Name, see `commonName`. */
  readonly subject: Der;
  /** Milliseconds since the epoch; the certificate has whole seconds. Both ends belong to its life. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** P-256. */
  readonly publicKey: KeyObject;
  readonly extensions: readonly Der[];
}

/** Who signs. */
export interface Issuer {
  /** The issuer's own subject, a Name. */
  readonly name: Der;
  /** See `keyIdentifier`. */
  readonly keyIdentifier: Buffer;
  /** ECDSA with SHA-256, in DER. */
  readonly sign: (data: Uint8Array) => Buffer;
}

/** Writes and signs; the answer is DER. */
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

/** A Name with a common name and nothing else. */
export function commonName(text: string): Der {
  return sequence(set(sequence(objectId('2.5.4.3'), utf8String(text))));
}

/** The first 160 bits of the SHA-256 of the public key (RFC 7093 §2, method 1). */
export function keyIdentifier(publicKey: KeyObject): Buffer {
  return identifierOf(point(publicKey));
}

function identifierOf(key: Buffer): Buffer {
  return hash('sha256', key, 'buffer').subarray(0, 20);
}

/** What a certificate of a CA carries: it signs leaves of TLS servers, and no other CA. */
export function authorityExtensions(permitted: readonly PermittedName[]): readonly Der[] {
  return [
    criticalExtension('2.5.29.19', sequence(isTrue(), integer(0))), // cA, pathLenConstraint 0
    criticalExtension('2.5.29.15', bitString(Buffer.of(0b0000_0100), 2)), // keyCertSign
    serverAuthentication(),
    ...(permitted.length === 0 ? [] : [criticalExtension(nameConstraintsId, nameConstraintsDer(permitted))]),
  ];
}

/** What the certificate of a TLS server of this one name carries. */
export function leafExtensions(name: GeneralName): readonly Der[] {
  return [
    criticalExtension('2.5.29.19', sequence()), // no cA
    criticalExtension('2.5.29.15', bitString(Buffer.of(0b1000_0000), 7)), // digitalSignature
    serverAuthentication(),
    extension('2.5.29.17', sequence(generalNameDer(name))),
  ];
}

/** DER as PEM (RFC 7468), with a line break at its end. */
export function certificatePem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function serverAuthentication(): Der {
  return extension('2.5.29.37', sequence(objectId('1.3.6.1.5.5.7.3.1')));
}

function extension(id: string, value: Der): Der {
  return sequence(objectId(id), octetString(encode(value)));
}

function criticalExtension(id: string, value: Der): Der {
  return sequence(objectId(id), isTrue(), octetString(encode(value)));
}

/** RFC 5480 §2: ecPublicKey on prime256v1. */
function subjectPublicKey(key: Buffer): Der {
  return sequence(sequence(objectId('1.2.840.10045.2.1'), objectId('1.2.840.10045.3.1.7')), bitString(key));
}

/** The uncompressed point: the last 65 bytes of a P-256 SubjectPublicKeyInfo. */
function point(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
}

/** 16 bytes, 126 of their bits random: positive, and never in need of a shorter encoding (RFC 5280 §4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}
