import asn1, { type Asn1 } from 'node-forge/lib/asn1.js';

/**
 * The ASN.1 values of a certificate and of a trust store, written and read as DER (X.690) by node-forge. It keeps bytes
 * in strings, one character a byte (latin1). Its `pkcs12` is not used: see decision 57.
 */

const { Class, Type } = asn1;

function primitive(type: number, content: string): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, content);
}

/** SEQUENCE. */
export function sequence(...items: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, items);
}

/** SET. */
export function set(...items: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, items);
}

/** OBJECT IDENTIFIER, from its dotted text. */
export function objectId(dotted: string): Asn1 {
  return primitive(Type.OID, asn1.oidToDer(dotted).getBytes());
}

/** INTEGER: a number below 2^31, or big-endian two's complement bytes. */
export function integer(value: number | Uint8Array): Asn1 {
  return primitive(
    Type.INTEGER,
    typeof value === 'number' ? asn1.integerToDer(value).getBytes() : latin1(value),
  );
}

/** BOOLEAN TRUE: DER leaves out a FALSE that is the default. */
export function isTrue(): Asn1 {
  return primitive(Type.BOOLEAN, '\xff');
}

/** NULL. */
export function nothing(): Asn1 {
  return primitive(Type.NULL, '');
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Asn1 {
  return primitive(Type.OCTETSTRING, latin1(bytes));
}

/** BIT STRING whose last `unusedBits` bits do not count. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Asn1 {
  return primitive(Type.BITSTRING, String.fromCharCode(unusedBits) + latin1(bytes));
}

/** UTF8String. */
export function utf8String(text: string): Asn1 {
  return primitive(Type.UTF8, latin1(Buffer.from(text, 'utf8')));
}

/** BMPString: UTF-16 units, the texts of PKCS#12. */
export function bmpString(text: string): Asn1 {
  return primitive(Type.BMPSTRING, text);
}

/** UTCTime through 2049 and GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); whole seconds, rounded down. */
export function time(milliseconds: number): Asn1 {
  const date = new Date(milliseconds);
  return date.getUTCFullYear() < 2050
    ? primitive(Type.UTCTIME, asn1.dateToUtcTime(date))
    : primitive(Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date));
}

/** `[tag] IMPLICIT` of a primitive type. */
export function tagged(tag: number, bytes: Uint8Array): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, latin1(bytes));
}

/** `[tag] EXPLICIT` of one value, or `[tag] IMPLICIT` of a sequence of them. */
export function wrapped(tag: number, ...items: Asn1[]): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, items);
}

/** Writes a value with its tag and length. */
export function encode(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

/**
 * Reads one value. The reader takes BER, so bytes that are not the same when they are written again are refused.
 * @throws Error where the bytes are no DER, or more than one value.
 */
export function decode(bytes: Uint8Array): Asn1 {
  const value = asn1.fromDer(latin1(bytes), { decodeBitStrings: false });
  if (!encode(value).equals(bytes)) throw new Error('These bytes are no DER.');
  return value;
}

/** Returns the values inside a constructed one; none for a primitive. */
export function itemsOf(value: Asn1 | undefined): readonly Asn1[] {
  return typeof value?.value === 'object' ? value.value : [];
}

/** Returns the content bytes of a primitive value; none for a constructed one. */
export function bytesOf(value: Asn1 | undefined): Buffer {
  return Buffer.from(typeof value?.value === 'string' ? value.value : '', 'latin1');
}

/** Returns whether a value is the object identifier with this dotted text. */
export function isObjectId(value: Asn1 | undefined, dotted: string): boolean {
  return value?.type === Type.OID && value.value === objectId(dotted).value;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
