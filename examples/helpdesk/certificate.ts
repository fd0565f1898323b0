import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import forge from 'node-forge';

// node-forge makes no EC certificates, but it writes ASN.1 well: the certificate is put together here by hand
// (RFC 5280 §4.1) and signed by node:crypto.

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

/** A certificate and its key, both PEM (the key as PKCS #8). */
export interface CertifiedKey {
  readonly key: string;
  readonly cert: string;
}

/** When a certificate begins and ends, in milliseconds since the epoch. */
export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

const dayMs = 86_400_000;

/** The development PKI: a root, and certificates of servers below it. Lifetimes are in days. */
export const developmentPki = { commonName: 'Acme Sample Root CA', rootDays: 825, leafDays: 45 };

const oid = {
  ecPublicKey: '1.2.840.10045.2.1',
  prime256v1: '1.2.840.10045.3.1.7',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  organization: '2.5.4.10',
  commonName: '2.5.4.3',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

/** A validity of `days` from now, its start a day back so that clocks may differ. */
export function validFor(days: number, now: number): Validity {
  return { notBefore: now - dayMs, notAfter: now + days * dayMs };
}

/** A fresh self-signed P-256 root that may sign leaves and no further authority. */
export function makeAuthority(commonName: string, validity: Validity): CertifiedKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const point = pointOf(publicKey);
  const cert = certificate({
    issuer: commonName,
    subject: commonName,
    validity,
    point,
    signedBy: privateKey,
    extensions: [
      extension(oid.basicConstraints, true, sequence(boolean(true), integer(0))),
      extension(oid.keyUsage, true, bits(0x06, 1)), // keyCertSign, cRLSign
      extension(oid.subjectKeyId, false, octets(keyId(point))),
    ],
  });
  return { key: pem(privateKey), cert };
}

/** A fresh P-256 server leaf for a DNS name, signed by the authority. */
export function issueLeaf(authority: CertifiedKey, host: string, validity: Validity): CertifiedKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const point = pointOf(publicKey);
  const authorityCertificate = new X509Certificate(authority.cert);
  const authorityName = /^CN=(.*)$/m.exec(authorityCertificate.subject)?.[1] ?? '';
  const authorityKeyId = contextual(0, false, keyId(pointOf(createPublicKey(authority.cert))));
  const cert = certificate({
    issuer: authorityName,
    subject: host,
    validity,
    point,
    signedBy: createPrivateKey(authority.key),
    extensions: [
      extension(oid.basicConstraints, true, sequence()),
      extension(oid.keyUsage, true, bits(0x80, 7)), // digitalSignature
      extension(oid.extendedKeyUsage, false, sequence(identifier(oid.serverAuth))),
      extension(oid.subjectAltName, false, sequence(contextual(2, false, Buffer.from(host, 'ascii')))),
      extension(oid.authorityKeyId, false, sequence(authorityKeyId)),
      extension(oid.subjectKeyId, false, octets(keyId(point))),
    ],
  });
  return { key: pem(privateKey), cert };
}

interface CertificateParts {
  readonly issuer: string;
  readonly subject: string;
  readonly validity: Validity;
  readonly point: Buffer;
  readonly extensions: readonly Asn1[];
  readonly signedBy: KeyObject;
}

function certificate(parts: CertificateParts): string {
  const algorithm = sequence(identifier(oid.ecdsaWithSha256));
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x3f) | 0x40; // positive, and never a leading zero byte (RFC 5280 §4.1.2.2)
  const toBeSigned = sequence(
    contextual(0, true, [integer(2)]), // X.509 version 3
    primitive(asn1.Type.INTEGER, serial),
    algorithm,
    name(parts.issuer),
    sequence(time(parts.validity.notBefore), time(parts.validity.notAfter)),
    name(parts.subject),
    sequence(
      sequence(identifier(oid.ecPublicKey), identifier(oid.prime256v1)),
      primitive(asn1.Type.BITSTRING, Buffer.concat([Buffer.from([0]), parts.point])),
    ),
    contextual(3, true, [sequence(...parts.extensions)]),
  );
  const signature = sign('sha256', der(toBeSigned), parts.signedBy);
  const whole = sequence(
    toBeSigned,
    algorithm,
    primitive(asn1.Type.BITSTRING, Buffer.concat([Buffer.from([0]), signature])),
  );
  return new X509Certificate(der(whole)).toString();
}

/** The uncompressed point (SEC 1 §2.3.3): 0x04, x, y. */
function pointOf(key: KeyObject): Buffer {
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
}

/** RFC 5280 §4.2.1.2, method 1. */
function keyId(point: Buffer): Buffer {
  return createHash('sha1').update(point).digest();
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

function der(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

function primitive(type: forge.asn1.Type, bytes: Buffer): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, bytes.toString('latin1'));
}

function sequence(...members: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, members);
}

function contextual(tag: number, constructed: boolean, value: Buffer | Asn1[]): Asn1 {
  const content = Buffer.isBuffer(value) ? value.toString('latin1') : value;
  // In this class the number is the structure's own tag, not one of the universal types that its type lists.
  const create: (tagClass: number, tag: number, constructed: boolean, value: string | Asn1[]) => Asn1 =
    asn1.create;
  return create(asn1.Class.CONTEXT_SPECIFIC, tag, constructed, content);
}

function identifier(dotted: string): Asn1 {
  return primitive(asn1.Type.OID, Buffer.from(asn1.oidToDer(dotted).getBytes(), 'latin1'));
}

function integer(value: number): Asn1 {
  return primitive(asn1.Type.INTEGER, Buffer.from([value]));
}

function boolean(value: boolean): Asn1 {
  return primitive(asn1.Type.BOOLEAN, Buffer.from([value ? 0xff : 0]));
}

function octets(bytes: Buffer): Asn1 {
  return primitive(asn1.Type.OCTETSTRING, bytes);
}

function bits(byte: number, unused: number): Asn1 {
  return primitive(asn1.Type.BITSTRING, Buffer.from([unused, byte]));
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  return sequence(identifier(id), ...(critical ? [boolean(true)] : []), octets(der(value)));
}

function name(commonName: string): Asn1 {
  const attribute = (id: string, text: string): Asn1 =>
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [
      sequence(identifier(id), primitive(asn1.Type.UTF8, Buffer.from(text, 'utf8'))),
    ]);
  return sequence(attribute(oid.organization, 'Acme Corporation'), attribute(oid.commonName, commonName));
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime after that. */
function time(milliseconds: number): Asn1 {
  const date = new Date(milliseconds);
  return date.getUTCFullYear() < 2050
    ? asn1.create(asn1.Class.UNIVERSAL, asn1.Type.UTCTIME, false, asn1.dateToUtcTime(date))
    : asn1.create(asn1.Class.UNIVERSAL, asn1.Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date));
}
