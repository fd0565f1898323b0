import asn1, { type Asn1 } from 'node-forge/lib/asn1.js';

/**
 * ASN.1 values of certificates and trust stores, encoded and decoded by node-forge as DER (X.690). It
 * represents bytes as latin1 strings. Decision 57 explains why its `pkcs12` is not used.
 */

const { Class, Type } = asn1;

function primitive(type: number, content: string): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, content);
}

export function sequence(...items: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, items);
}

export function set(...items: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, items);
}

/** Creates an OBJECT IDENTIFIER from its dotted text. */
export function objectId(dotted: string): Asn1 {
  return primitive(Type.OID, asn1.oidToDer(dotted).getBytes());
}

/** Creates an INTEGER from a number below 2^31, or from big-endian two's complement bytes. */
export function integer(value: number | Uint8Array): Asn1 {
  return primitive(
    Type.INTEGER,
    typeof value === 'number' ? asn1.integerToDer(value).getBytes() : latin1(value),
  );
}

/** Creates a BOOLEAN TRUE. DER omits a FALSE that is the default. */
export function isTrue(): Asn1 {
  return primitive(Type.BOOLEAN, '\xff');
}

/** Creates a NULL. */
export function nothing(): Asn1 {
  return primitive(Type.NULL, '');
}

export function octetString(bytes: Uint8Array): Asn1 {
  return primitive(Type.OCTETSTRING, latin1(bytes));
}

/** Creates a BIT STRING whose last `unusedBits` bits are unused. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Asn1 {
  return primitive(Type.BITSTRING, String.fromCharCode(unusedBits) + latin1(bytes));
}

/** Creates a UTF8String. */
export function utf8String(text: string): Asn1 {
  return primitive(Type.UTF8, latin1(Buffer.from(text, 'utf8')));
}

/** Creates a BMPString: UTF-16 units, for the texts of PKCS#12. */
export function bmpString(text: string): Asn1 {
  return primitive(Type.BMPSTRING, text);
}

/** Creates a UTCTime, or from 2050 a GeneralizedTime (RFC 5280 §4.1.2.5). Rounds down to seconds. */
export function time(milliseconds: number): Asn1 {
  const date = new Date(milliseconds);
  return date.getUTCFullYear() < 2050
    ? primitive(Type.UTCTIME, asn1.dateToUtcTime(date))
    : primitive(Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date));
}

/** Creates a `[tag] IMPLICIT` of a primitive type. */
export function tagged(tag: number, bytes: Uint8Array): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, latin1(bytes));
}

/** Creates a `[tag] EXPLICIT` of one value, or a `[tag] IMPLICIT` of a sequence of values. */
export function wrapped(tag: number, ...items: Asn1[]): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, items);
}

/** Encodes a value with its tag and length. */
export function encode(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

/**
 * Decodes one value. node-forge also accepts BER, so the value is encoded again and compared with the bytes.
 * @throws Error if the bytes are not DER, or contain more than one value
 */
export function decode(bytes: Uint8Array): Asn1 {
  const value = asn1.fromDer(latin1(bytes), { decodeBitStrings: false });
  if (!encode(value).equals(bytes)) throw new Error('These bytes are not DER.');
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
