import { SidekeyError } from '../../../lib/errors.ts';
import { refused } from '../scheme.ts';
import { emptyHash, sha256, type Signer } from './signature.ts';

/** Signing: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html */
export type Payload =
  /** Signed by a known hash or word. `isAdded`: the client did not send it. */
  | { readonly kind: 'stated'; readonly value: string; readonly isAdded: boolean }
  /** Signed by its hash, for which the body has to be read first. */
  | { readonly kind: 'unread' }
  /** Signed by `aws-chunked` chunks and trailers. */
  | { readonly kind: 'chunks'; readonly value: string; readonly hasTrailers: boolean };

export const unsignedPayload = 'UNSIGNED-PAYLOAD';

/**
 * Returns the way to sign the body of a request.
 *
 * @param stated values of `x-amz-content-sha256`
 * @param hasBody whether the body may have a byte
 * @throws SidekeyError `policy_violation`: Sidekey does not sign in this way
 */
export function payloadOf(stated: readonly string[], service: string, hasBody: boolean): Payload {
  const [value, ...more] = stated;
  if (more.length > 0)
    throw refused('The request has x-amz-content-sha256 more than once.', 'send the field once');
  if (value === undefined) return withoutWord(service, hasBody);
  switch (value) {
    case unsignedPayload:
    // Its chunks are not signed.
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'stated', value, isAdded: false };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return { kind: 'chunks', value, hasTrailers: false };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return { kind: 'chunks', value, hasTrailers: true };
    case 'STREAMING-AWS4-HMAC-SHA256-EVENTS':
      throw refused(
        'The request streams events that are signed one by one, which Sidekey cannot sign again.',
        'use the batch form of the call',
      );
    default:
      if (/^[0-9a-fA-F]{64}$/.test(value)) return { kind: 'stated', value, isAdded: false };
      throw refused(
        'The request has a value of x-amz-content-sha256 that Sidekey cannot sign for.',
        'send the SHA-256 of the body in hex, or UNSIGNED-PAYLOAD',
      );
  }
}

/** S3 requires the field for every body. Other services sign the hash, and have no field. */
function withoutWord(service: string, hasBody: boolean): Payload {
  const isS3 = service.startsWith('s3');
  if (!hasBody) return { kind: 'stated', value: emptyHash, isAdded: isS3 };
  return isS3 ? { kind: 'stated', value: unsignedPayload, isAdded: true } : { kind: 'unread' };
}

/** Facts that the signatures of chunks need. */
interface ChunkSigning {
  readonly signer: Signer;
  /** Signature of the head, which that of the first chunk includes. */
  readonly seed: string;
  readonly hasTrailers: boolean;
  /** Longest chunk, in bytes: it is held, because its signature is sent first. */
  readonly chunkBytes: number;
}

/** Longest line before a chunk, and longest trailers, in bytes. */
const maxLine = 16_384;

const chunkLine = /^([0-9A-Fa-f]{1,8})((?:;[^;=\r]*=[^;\r]*)*);chunk-signature=([0-9a-f]{64})\r\n$/;
const trailerSignature = /^x-amz-trailer-signature:[ \t]*[0-9a-f]{64}(\r?\n)$/i;

/**
 * Replaces the chunk and trailer signatures in an `aws-chunked` body. All other bytes and the length stay.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, …/sigv4-streaming-trailers.html
 *
 * @throws SidekeyError `bad_request` if it is not `aws-chunked`; `body_too_large` if a chunk is too long
 */
export async function* signedChunks(
  body: AsyncIterable<Buffer> | Iterable<Buffer>,
  { signer, seed, hasTrailers, chunkBytes }: ChunkSigning,
): AsyncGenerator<Buffer> {
  const reader = new BodyReader(body);
  let previous = seed;
  for (;;) {
    const line = await reader.line();
    const [, hex, extensions] = chunkLine.exec(line) ?? [];
    if (hex === undefined) throw notChunked();
    const size = Number.parseInt(hex, 16);
    if (size > chunkBytes)
      throw new SidekeyError('body_too_large', `A chunk that is signed has at most ${chunkBytes} bytes.`, {
        hint: 'have the client use smaller chunks, or raise limits.signed_body_bytes',
      });
    const isLast = size === 0;
    // The trailers follow the last chunk, or the empty line that ends each chunk.
    const piece = isLast && hasTrailers ? Buffer.alloc(0) : await reader.bytes(size + 2);
    if (piece.length > 0 && (piece[size] !== 0x0d || piece[size + 1] !== 0x0a)) throw notChunked();
    const data = sha256(piece.subarray(0, size));
    previous = signer.sign('AWS4-HMAC-SHA256-PAYLOAD', previous, emptyHash, data);
    yield Buffer.from(`${hex}${extensions};chunk-signature=${previous}\r\n`, 'latin1');
    yield piece;
    if (isLast) break;
  }
  if (hasTrailers) yield await signedTrailers(reader, signer, previous);
  await reader.ended();
}

/** Signs the trailers: `name:value` lines, their signature, and an empty line. */
async function signedTrailers(reader: BodyReader, signer: Signer, previous: string): Promise<Buffer> {
  let written = '';
  let canonical = '';
  for (;;) {
    const line = await reader.line();
    const [, end] = trailerSignature.exec(line) ?? [];
    if (end !== undefined) {
      const signature = signer.sign('AWS4-HMAC-SHA256-TRAILER', previous, sha256(canonical));
      const close = await reader.bytes(2);
      if (close.toString('latin1') !== '\r\n') throw notChunked();
      const name = line.slice(0, line.length - 64 - end.length);
      return Buffer.from(`${written}${name}${signature}${end}\r\n`, 'latin1');
    }
    written += line;
    if (written.length > maxLine) throw notChunked();
    const trailer = line.replace(/\r?\n$/, '');
    // Some clients end each trailer with an empty line.
    if (trailer === '') continue;
    const colon = trailer.indexOf(':');
    if (colon <= 0) throw notChunked();
    canonical += `${trailer.slice(0, colon).trim().toLowerCase()}:${trailer.slice(colon + 1).trim()}\n`;
  }
}

/** Reads a body by lines and by counts of bytes. */
class BodyReader {
  readonly #pieces: AsyncIterator<Buffer> | Iterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(body: AsyncIterable<Buffer> | Iterable<Buffer>) {
    this.#pieces = Symbol.asyncIterator in body ? body[Symbol.asyncIterator]() : body[Symbol.iterator]();
  }

  /** Returns a line with its line feed. */
  async line(): Promise<string> {
    let searched = 0;
    for (;;) {
      const at = this.#rest.indexOf(0x0a, searched);
      if (at >= 0 && at < maxLine) return this.#take(at + 1).toString('latin1');
      searched = this.#rest.length;
      if (searched >= maxLine || !(await this.#more())) throw notChunked();
    }
  }

  async bytes(count: number): Promise<Buffer> {
    const pieces = [this.#rest];
    let length = this.#rest.length;
    while (length < count) {
      this.#rest = Buffer.alloc(0);
      if (!(await this.#more())) throw notChunked();
      pieces.push(this.#rest);
      length += this.#rest.length;
    }
    this.#rest = pieces.length === 1 ? this.#rest : Buffer.concat(pieces, length);
    return this.#take(count);
  }

  /** Checks that the body has ended. */
  async ended(): Promise<void> {
    if (this.#rest.length > 0 || (await this.#more())) throw notChunked();
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const next = await this.#pieces.next();
      if (next.done === true) return false;
      if (next.value.length === 0) continue;
      this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value]);
      return true;
    }
  }

  #take(count: number): Buffer {
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }
}

function notChunked(): SidekeyError {
  const sentence = 'The body is not the signed aws-chunked that x-amz-content-sha256 says it is.';
  return new SidekeyError('bad_request', sentence);
}
