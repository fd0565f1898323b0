import type { Duplex } from 'node:stream';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { Authority } from '../policy/authority.ts';
import type { Protocol, NegotiatedProtocol } from '../upstream/h2-session.ts';

/** Protocol of the client inside CONNECT, and the stream of its requests. */
export type Inside =
  | {
      readonly scheme: 'https';
      readonly stream: TLSSocket;
      readonly serverName: string | null;
      readonly protocol: Protocol;
      /** True if the client may open WebSockets over HTTP/2; it does so where it may, and not all upstreams take them. */
      readonly extendedConnect: boolean;
    }
  | { readonly scheme: 'http'; readonly stream: Duplex; readonly serverName: null };

/** Options of an interception. */
export interface Interception {
  readonly leafFor: (host: string) => SecureContext;
  /** Returns the protocol of the upstream; called where the client offers HTTP/2. Never rejects. */
  readonly spoken: () => NegotiatedProtocol | Promise<NegotiatedProtocol>;
  /** Told why the handshake failed, where the client said so. */
  readonly failed?: (why: Error) => void;
  /** Milliseconds that the client has for its handshake. */
  readonly timeoutMs: number;
}

/** Clients of HTTP/1.0 (`curl --http1.0`) offer it by its own name, and end where nothing they offered is chosen. */
const versions1 = ['http/1.1', 'http/1.0'];

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). */
const handshakeRecord = 0x16;

/**
 * Takes the upstream's part inside a CONNECT: a TLS handshake with a leaf for the tunnel's host, or plain HTTP where
 * the client speaks that. Null where the client left, failed or took too long: there is nobody to tell.
 */
export async function intercept(
  client: Duplex,
  target: Authority,
  { leafFor, spoken, failed, timeoutMs }: Interception,
): Promise<Inside | null> {
  const late = () => client.destroy();
  let timer = setTimeout(late, timeoutMs).unref();
  try {
    const hello = await beginning(client);
    if (hello === null) {
      // It may have ended its side alone: then the connection would stay as long as TCP keeps it.
      client.destroy();
      return null;
    }
    client.unshift(hello.bytes);
    if (hello.protocols === null) return { scheme: 'http', stream: client, serverName: null };
    let { protocols } = hello;
    let extendedConnect = false;
    if (protocols.includes('h2')) {
      // It is not the client that takes its time.
      clearTimeout(timer);
      const upstream = await spoken();
      if (protocols.includes('http/1.1')) protocols = [upstream.protocol];
      ({ extendedConnect } = upstream);
      timer = setTimeout(late, timeoutMs).unref();
      if (client.destroyed) return null;
    }
    const stream = new TLSSocket(client, {
      isServer: true,
      secureContext: leafFor(target.host),
      ALPNProtocols: protocols.includes('h2') ? ['h2', ...versions1] : versions1,
    });
    stream.once('error', (why) => failed?.(why));
    if (!(await handshake(stream))) return null;
    const protocol = stream.alpnProtocol === 'h2' ? 'h2' : 'http/1.1';
    return { scheme: 'https', stream, serverName: stream.servername || null, protocol, extendedConnect };
  } finally {
    clearTimeout(timer);
  }
}

/** First bytes of a client, and the protocols of its ClientHello; null: no TLS. */
interface Beginning {
  readonly bytes: Buffer;
  readonly protocols: readonly string[] | null;
}

/** Reads until it is known; null: the client left before. Leaves the connection paused. */
async function beginning(client: Duplex): Promise<Beginning | null> {
  const first = await nextChunk(client);
  if (first === null) return null;
  if (first[0] !== handshakeRecord) return { bytes: first, protocols: null };
  const pieces = [first];
  let size = first.length;
  for (;;) {
    const bytes = pieces.length === 1 ? first : Buffer.concat(pieces);
    const hello = readClientHello(bytes);
    if (hello.kind === 'read') return { bytes, protocols: hello.protocols };
    while (size < hello.bytes) {
      const piece = await nextChunk(client);
      if (piece === null) return null;
      pieces.push(piece);
      size += piece.length;
    }
  }
}

async function nextChunk(client: Duplex): Promise<Buffer | null> {
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

function handshake(stream: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    const failed = () => {
      stream.destroy();
      resolve(false);
    };
    stream.once('secure', () => {
      stream.off('end', failed);
      resolve(true);
    });
    // Half of a connection makes no handshake; the socket would stay half-open.
    stream.on('error', failed).once('end', failed).once('close', failed);
  });
}

/** Result of reading the first bytes of a TLS connection. */
type HelloReading =
  /** Nothing yet: at least so many bytes in all are needed. */
  | { readonly kind: 'more'; readonly bytes: number }
  /** The protocols that the client offers in ALPN (RFC 7301), in its order; none where that cannot be read. */
  | { readonly kind: 'read'; readonly protocols: readonly string[] };

/** Bytes of a ClientHello that are waited for; real ones have a few thousand at most. */
export const longestHello = 32_768;

const handshakeRecordType = 22;
/** Major version of the record layer, from SSL 3.0 to TLS 1.3. */
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

  /** Reads a vector whose length has so many bytes. */
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
