import type { Duplex } from 'node:stream';

/** First bytes of a client, and the facts of its ClientHello. */
interface Beginning {
  readonly bytes: Buffer;
  /** Null: the bytes are not TLS. */
  readonly hello: Hello | null;
}

/** Facts of a ClientHello. */
interface Hello {
  /** Protocols in ALPN (RFC 7301), in the client's order; empty if ALPN is absent or malformed. */
  readonly protocols: readonly string[];
  /** Host in SNI (RFC 6066 §3), as sent; null if SNI is absent or malformed. */
  readonly serverName: string | null;
}

/** Reads a whole ClientHello; null if the client disconnects before. Leaves the connection paused. */
export async function beginning(client: Duplex): Promise<Beginning | null> {
  const first = await nextChunk(client);
  if (first === null) return null;
  if (first[0] !== handshakeRecordType) return { bytes: first, hello: null };
  const pieces = [first];
  let size = first.length;
  for (;;) {
    const bytes = pieces.length === 1 ? first : Buffer.concat(pieces);
    const hello = readClientHello(bytes);
    if (hello.kind === 'read') return { bytes, hello };
    while (size < hello.bytes) {
      const piece = await nextChunk(client);
      if (piece === null) return null;
      pieces.push(piece);
      size += piece.length;
    }
  }
}

/** Returns the next bytes of a client, and leaves it paused; null if the client disconnected. */
export async function nextChunk(client: Duplex): Promise<Buffer | null> {
  // One that has left already does not say so again.
  if (client.closed || client.readableEnded) return null;
  return new Promise((resolve) => {
    const settle = (chunk: Buffer | null) => {
      client.pause().off('data', settle).off('end', left).off('close', left).off('error', left);
      resolve(chunk);
    };
    const left = () => settle(null);
    client.on('data', settle).once('end', left).once('close', left).on('error', left).resume();
  });
}

/** Result of reading the first bytes of a TLS connection. */
type HelloReading =
  /** Incomplete: at least `bytes` bytes in total are needed. */
  { readonly kind: 'more'; readonly bytes: number } | ({ readonly kind: 'read' } & Hello);

/** Maximum bytes of a ClientHello; real ones have a few thousand. */
export const longestHello = 32_768;

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). */
export const handshakeRecordType = 22;
/** Major version of the record layer, from SSL 3.0 to TLS 1.3. */
const majorVersion = 3;
const clientHello = 1;
const serverNameExtension = 0;
const hostNameType = 0;
const alpnExtension = 16;
const recordHead = 5;
const handshakeHead = 4;

const unread: HelloReading = { kind: 'read', protocols: [], serverName: null };

/**
 * Reads SNI and ALPN of a ClientHello (RFC 8446 §4.1.2) in any number of records. OpenSSL does the
 * handshake. A ClientHello that cannot be read counts as one without SNI and ALPN.
 */
export function readClientHello(bytes: Buffer): HelloReading {
  const message: Buffer[] = [];
  let size = 0;
  let needed = handshakeHead;
  let at = 0;
  while (size < needed) {
    // Other bytes go to OpenSSL, which reports the error.
    if (bytes.length > at && bytes[at] !== handshakeRecordType) return unread;
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
  return { kind: 'read', ...factsOf(Buffer.concat(message, needed).subarray(handshakeHead)) };
}

function more(bytes: number): HelloReading {
  return bytes > longestHello ? unread : { kind: 'more', bytes };
}

/** @param hello the body of a ClientHello */
function factsOf(hello: Buffer): Hello {
  const fields = new Fields(hello);
  fields.skip(2 + 32);
  fields.vector(1); // legacy_session_id
  fields.vector(2); // cipher_suites
  fields.vector(1); // legacy_compression_methods
  const extensions = fields.vector(2);
  let protocols: readonly string[] = [];
  let serverName: string | null = null;
  if (extensions === null) return { protocols, serverName };
  while (!extensions.isOver) {
    const type = extensions.number(2);
    const extension = extensions.vector(2);
    if (extension === null) break;
    if (type === alpnExtension) protocols = namesOf(extension.vector(2));
    if (type === serverNameExtension) serverName = hostOf(extension.vector(2));
  }
  return { protocols, serverName };
}

/** @param list the ServerNameList; it has at most one name of a type */
function hostOf(list: Fields | null): string | null {
  if (list === null) return null;
  while (!list.isOver) {
    const type = list.number(1);
    const name = list.vector(2);
    if (name !== null && type === hostNameType) return name.text;
  }
  return null;
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

/** Reader of consecutive numbers and vectors (RFC 8446 §3). Returns null beyond the end. */
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

  /** Reads a vector whose length field has `lengthBytes` bytes. */
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
