/** What the first bytes of a TLS connection say. */
export type HelloReading =
  /** Nothing yet: at least so many bytes in all are needed. */
  | { readonly kind: 'more'; readonly bytes: number }
  /** The protocols that the client offers in ALPN (RFC 7301), in its order; none where that cannot be read. */
  | { readonly kind: 'read'; readonly protocols: readonly string[] };

/** Bytes of a ClientHello that are waited for; real ones have a few thousand at most. */
export const longestHello = 32_768;

const handshakeRecord = 22;
/** Of every version from SSL 3.0 to TLS 1.3. */
const majorVersion = 3;
const clientHello = 1;
const alpnExtension = 16;
const recordHead = 5;
const handshakeHead = 4;

const unread: HelloReading = { kind: 'read', protocols: [] };

/**
 * Reads the ALPN extension of a ClientHello (RFC 8446 §4.1.2), in however many records it comes. It only looks: the
 * handshake is made by OpenSSL, and what this cannot read offers nothing.
 */
export function readClientHello(bytes: Buffer): HelloReading {
  const message: Buffer[] = [];
  let size = 0;
  let needed = handshakeHead;
  let at = 0;
  while (size < needed) {
    // What is none is not waited for: OpenSSL says so.
    if (bytes.length > at && bytes[at] !== handshakeRecord) return unread;
    if (bytes.length > at + 1 && bytes[at + 1] !== majorVersion) return unread;
    if (at === 0 && bytes.length > recordHead && bytes[recordHead] !== clientHello) return unread;
    if (bytes.length < at + recordHead) return more(at + recordHead);
    const end = at + recordHead + bytes.readUInt16BE(at + 3);
    // A record without a byte of the message is none (RFC 8446 §5.1).
    if (end === at + recordHead) return unread;
    if (bytes.length < end) return more(end);
    message.push(bytes.subarray(at + recordHead, end));
    size += end - at - recordHead;
    at = end;
    if (needed > handshakeHead || size < handshakeHead) continue;
    const head = Buffer.concat(message, handshakeHead);
    needed += head.readUIntBE(1, 3);
    if (needed > longestHello) return unread;
  }
  return { kind: 'read', protocols: protocolsOf(Buffer.concat(message, needed).subarray(handshakeHead)) };
}

function more(bytes: number): HelloReading {
  return bytes > longestHello ? unread : { kind: 'more', bytes };
}

/** @param hello the body of a ClientHello */
function protocolsOf(hello: Buffer): readonly string[] {
  const fields = new Fields(hello);
  fields.skip(2 + 32);
  fields.vector(1); // legacy_session_id
  fields.vector(2); // cipher_suites
  fields.vector(1); // legacy_compression_methods
  const extensions = fields.vector(2);
  if (extensions === null) return [];
  while (!extensions.isOver) {
    const type = extensions.number(2);
    const extension = extensions.vector(2);
    if (type === null || extension === null) return [];
    if (type !== alpnExtension) continue;
    return namesOf(extension.vector(2));
  }
  return [];
}

function namesOf(list: Fields | null): readonly string[] {
  if (list === null) return [];
  const names: string[] = [];
  while (!list.isOver) {
    const name = list.vector(1);
    if (name === null) return [];
    names.push(name.text);
  }
  return names;
}

/** Numbers and vectors, one behind the other (RFC 8446 §3). Beyond the end all is null. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length;
  }

  get text(): string {
    return this.#bytes.toString('latin1');
  }

  skip(bytes: number): void {
    this.#at += bytes;
  }

  number(bytes: number): number | null {
    if (this.#at + bytes > this.#bytes.length) return null;
    const number = this.#bytes.readUIntBE(this.#at, bytes);
    this.#at += bytes;
    return number;
  }

  /** What a length of so many bytes stands before. */
  vector(lengthBytes: number): Fields | null {
    const length = this.number(lengthBytes);
    if (length === null || this.#at + length > this.#bytes.length) {
      this.#at = this.#bytes.length + 1;
      return null;
    }
    this.#at += length;
    return new Fields(this.#bytes.subarray(this.#at - length, this.#at));
  }
}
