/**
 * The ASN.1 values that a certificate and a trust store are made of, written and read as DER (X.690). No more than
 * those need: lengths below 2^32, tags below 31.
 */
export interface Der {
  /** The identifier octet (X.690 §8.1.2): class, constructed or not, number. */
  readonly tag: number;
  /** The values inside a constructed one, or the content of a primitive. */
  readonly content: readonly Der[] | Buffer;
}

const constructed = 0x20;
const inContext = 0x80;
const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  nothing: 0x05,
  objectId: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
};

/** SEQUENCE. */
export function sequence(...items: Der[]): Der {
  return { tag: tags.sequence, content: items };
}

/** SET. */
export function set(...items: Der[]): Der {
  return { tag: tags.set, content: items };
}

/** Those that were asked for: the program has a dozen. */
const objectIds = new Map<string, Der>();

/** OBJECT IDENTIFIER, from its dotted text, which is the program's own. */
export function objectId(dotted: string): Der {
  let known = objectIds.get(dotted);
  if (known === undefined) objectIds.set(dotted, (known = newObjectId(dotted)));
  return known;
}

function newObjectId(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return { tag: tags.objectId, content: Buffer.from([first * 40 + second, ...rest].flatMap(base128)) };
}

/** INTEGER: a small number that is not negative, or big-endian two's complement bytes. */
export function integer(value: number | Uint8Array): Der {
  return { tag: tags.integer, content: typeof value === 'number' ? smallInteger(value) : bytesIn(value) };
}

/** BOOLEAN TRUE: DER leaves out what is FALSE by default. */
export function isTrue(): Der {
  return { tag: tags.boolean, content: Buffer.of(0xff) };
}

/** NULL. */
export function nothing(): Der {
  return { tag: tags.nothing, content: Buffer.alloc(0) };
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Der {
  return { tag: tags.octetString, content: bytesIn(bytes) };
}

/** BIT STRING whose last byte has `unusedBits` bits that do not count. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Der {
  return { tag: tags.bitString, content: Buffer.concat([Buffer.of(unusedBits), bytes]) };
}

/** UTF8String. */
export function utf8String(text: string): Der {
  return { tag: tags.utf8String, content: Buffer.from(text, 'utf8') };
}

/** BMPString: UTF-16 units, as PKCS#12 has its texts. */
export function bmpString(text: string): Der {
  return { tag: tags.bmpString, content: Buffer.from(text, 'utf16le').swap16() };
}

/** UTCTime through 2049 and GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); whole seconds, rounded down. */
export function time(milliseconds: number): Der {
  // 2026-11-22T11:00:55.000Z
  const text = `${new Date(milliseconds).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  return new Date(milliseconds).getUTCFullYear() < 2050
    ? { tag: tags.utcTime, content: Buffer.from(text.slice(2), 'latin1') }
    : { tag: tags.generalizedTime, content: Buffer.from(text, 'latin1') };
}

/** `[tag] IMPLICIT` of a primitive type. */
export function tagged(tag: number, bytes: Uint8Array): Der {
  return { tag: inContext | tag, content: bytesIn(bytes) };
}

/** `[tag] EXPLICIT` of one value, or `[tag] IMPLICIT` of a sequence of them. */
export function wrapped(tag: number, ...items: Der[]): Der {
  return { tag: inContext | constructed | tag, content: items };
}

/** The bytes of a value with its tag and length. */
export function encode(value: Der): Buffer {
  const pieces: Uint8Array[] = [];
  write(value, pieces);
  return Buffer.concat(pieces.toReversed());
}

/**
 * The value in these bytes.
 * @throws Error where they are no DER, or more than one value.
 */
export function decode(bytes: Uint8Array): Der {
  const all = bytesIn(bytes);
  const { value, end } = read(all, 0, all.length);
  if (end !== all.length) throw new Error('Bytes stand behind the value.');
  return value;
}

/** The values inside a constructed one; none for a primitive. */
export function itemsOf(value: Der | undefined): readonly Der[] {
  return value === undefined || Buffer.isBuffer(value.content) ? [] : value.content;
}

/** The content bytes of a primitive value; empty for a constructed one. */
export function bytesOf(value: Der | undefined): Buffer {
  return value !== undefined && Buffer.isBuffer(value.content) ? value.content : Buffer.alloc(0);
}

/** The number of a tag, without its class. */
export function tagNumberOf(value: Der | undefined): number | undefined {
  return value === undefined ? undefined : value.tag & 0x1f;
}

/** Whether a value is the object identifier with this dotted text. */
export function isObjectId(value: Der | undefined, dotted: string): boolean {
  return value?.tag === tags.objectId && bytesOf(value).equals(bytesOf(objectId(dotted)));
}

/** Writes from the end to the start, where each length is known when it is due; answers how many bytes it took. */
function write({ tag, content }: Der, pieces: Uint8Array[]): number {
  let length = 0;
  if (Buffer.isBuffer(content)) {
    pieces.push(content);
    length = content.length;
  } else {
    for (let at = content.length - 1; at >= 0; at -= 1) length += write(content[at]!, pieces);
  }
  const head = headOf(tag, length);
  pieces.push(head);
  return head.length + length;
}

/** The shortest form of the length, as DER wants it (X.690 §10.1). */
function headOf(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.of(tag, length);
  const bytes = smallInteger(length);
  const shortest = bytes[0] === 0 ? bytes.subarray(1) : bytes;
  return Buffer.of(tag, 0x80 | shortest.length, ...shortest);
}

function read(bytes: Buffer, start: number, stop: number): { readonly value: Der; readonly end: number } {
  const tag = bytes[start];
  if (tag === undefined || start + 2 > stop || (tag & 0x1f) === 0x1f) throw notDer();
  const first = bytes[start + 1]!;
  let at = start + 2;
  let length = first;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4 || at + count > stop) throw notDer();
    length = bytes.readUIntBE(at, count);
    at += count;
    if (headOf(tag, length).length !== at - start) throw notDer();
  }
  const end = at + length;
  if (end > stop) throw notDer();
  if ((tag & constructed) === 0) return { value: { tag, content: bytes.subarray(at, end) }, end };
  const items: Der[] = [];
  while (at < end) {
    const item = read(bytes, at, end);
    items.push(item.value);
    at = item.end;
  }
  return { value: { tag, content: items }, end };
}

function notDer(): Error {
  return new Error('These bytes are no DER.');
}

/** The fewest bytes, with a zero in front where the first would make it negative (X.690 §8.3). */
function smallInteger(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0 || bytes.length === 0; rest = Math.floor(rest / 256))
    bytes.unshift(rest % 256);
  return Buffer.from((bytes[0] ?? 0) >= 0x80 ? [0, ...bytes] : bytes);
}

/** Seven bits a byte, the high bit on all but the last (X.690 §8.19.2). */
function base128(arc: number): number[] {
  const bytes = [arc % 128];
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128))
    bytes.unshift(0x80 | (rest % 128));
  return bytes;
}

function bytesIn(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
