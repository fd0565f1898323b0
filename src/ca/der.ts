import forge from 'node-forge';

/**
 * The ASN.1 values that a certificate and a trust store are made of, on node-forge's writer (X.690 DER).
 */
export type Der = forge.asn1.Asn1;

const { asn1 } = forge;
const { Class, Type } = asn1;

/** SEQUENCE. */
export function sequence(...items: Der[]): Der {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, items);
}

/** SET. */
export function set(...items: Der[]): Der {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, items);
}

/** OBJECT IDENTIFIER, from its dotted text. */
export function objectId(dotted: string): Der {
  return asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(dotted).getBytes());
}

/** INTEGER: a small number, or big-endian two's complement bytes. */
export function integer(value: number | Uint8Array): Der {
  const bytes = typeof value === 'number' ? asn1.integerToDer(value).getBytes() : binary(value);
  return asn1.create(Class.UNIVERSAL, Type.INTEGER, false, bytes);
}

/** BOOLEAN TRUE: DER leaves out what is FALSE by default. */
export function isTrue(): Der {
  return asn1.create(Class.UNIVERSAL, Type.BOOLEAN, false, '\xff');
}

/** NULL. */
export function nothing(): Der {
  return asn1.create(Class.UNIVERSAL, Type.NULL, false, '');
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Der {
  return asn1.create(Class.UNIVERSAL, Type.OCTETSTRING, false, binary(bytes));
}

/** BIT STRING whose last byte has `unusedBits` bits that do not count. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Der {
  return asn1.create(Class.UNIVERSAL, Type.BITSTRING, false, String.fromCharCode(unusedBits) + binary(bytes));
}

/** UTF8String. */
export function utf8String(text: string): Der {
  return asn1.create(Class.UNIVERSAL, Type.UTF8, false, binary(Buffer.from(text, 'utf8')));
}

/** BMPString: UTF-16 units, as PKCS#12 has its texts. */
export function bmpString(text: string): Der {
  return asn1.create(Class.UNIVERSAL, Type.BMPSTRING, false, text);
}

/** UTCTime through 2049 and GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); whole seconds, rounded down. */
export function time(milliseconds: number): Der {
  const date = new Date(milliseconds);
  return date.getUTCFullYear() < 2050
    ? asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, asn1.dateToUtcTime(date))
    : asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date));
}

/** `[tag] IMPLICIT` of a primitive type. */
export function tagged(tag: number, bytes: Uint8Array): Der {
  return inContext(tag, false, binary(bytes));
}

/** `[tag] EXPLICIT` of one value, or `[tag] IMPLICIT` of a sequence of them. */
export function wrapped(tag: number, ...items: Der[]): Der {
  return inContext(tag, true, items);
}

/** The bytes of a value with its tag and length. */
export function encode(value: Der): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

/**
 * The value in these bytes.
 * @throws Error where they are no DER, or more than one value.
 */
export function decode(bytes: Uint8Array): Der {
  return asn1.fromDer(binary(bytes));
}

/** The values inside a constructed one; none for a primitive. */
export function itemsOf(value: Der | undefined): readonly Der[] {
  return Array.isArray(value?.value) ? value.value : [];
}

/** The content bytes of a primitive value; empty for a constructed one. */
export function bytesOf(value: Der | undefined): Buffer {
  return typeof value?.value === 'string' ? Buffer.from(value.value, 'latin1') : Buffer.alloc(0);
}

/** Whether a value is the object identifier with this dotted text. */
export function isObjectId(value: Der | undefined, dotted: string): boolean {
  return value?.type === Type.OID && bytesOf(value).equals(bytesOf(objectId(dotted)));
}

function inContext(tag: number, constructed: boolean, value: string | Der[]): Der {
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- forge knows the numbers of universal tags alone
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, constructed, value);
}

function binary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
