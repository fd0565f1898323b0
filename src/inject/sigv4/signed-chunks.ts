/**
 * Bodies in `aws-chunked`, of which each chunk is signed, and the trailers too. The signatures are written anew in the
 * place of the client's; every other byte stays, and so does the length.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html,
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 */
import { SidekeyError } from '../../errors.ts';
import { emptyHash, sha256, type Signer } from '../../sigv4/signature.ts';

/** How a body in chunks is signed. */
export interface ChunkSigning {
  readonly signer: Signer;
  /** The signature of the head, which the first chunk's stands on. */
  readonly seed: string;
  readonly hasTrailers: boolean;
  /** Bytes that a chunk may have: its signature stands before it, so it is read first. */
  readonly chunkBytes: number;
}

/** Of the line before a chunk, or of all the trailers: no client's is near it. */
const maxLine = 16_384;

const chunkLine = /^([0-9A-Fa-f]{1,8})((?:;[^;=\r]*=[^;\r]*)*);chunk-signature=([0-9a-f]{64})\r\n$/;
const trailerSignature = /^x-amz-trailer-signature:[ \t]*[0-9a-f]{64}(\r?\n)$/i;

/**
 * Signs what streams. Throws SidekeyError `bad_request` where the body is no `aws-chunked`, and `body_too_large` where a
 * chunk has more bytes than may be held.
 */
export async function* signedChunks(
  body: AsyncIterable<Buffer> | Iterable<Buffer>,
  { signer, seed, hasTrailers, chunkBytes }: ChunkSigning,
): AsyncGenerator<Buffer> {
  const reading = new Reading(body);
  let previous = seed;
  for (;;) {
    const line = await reading.line();
    const [, hex, extensions] = chunkLine.exec(line) ?? [];
    if (hex === undefined) throw notChunked();
    const size = Number.parseInt(hex, 16);
    if (size > chunkBytes) throw tooLarge(chunkBytes);
    const isLast = size === 0;
    // Behind the last chunk come the trailers, or the empty line that ends each chunk.
    const piece = isLast && hasTrailers ? Buffer.alloc(0) : await reading.bytes(size + 2);
    if (piece.length > 0 && (piece[size] !== 0x0d || piece[size + 1] !== 0x0a)) throw notChunked();
    const data = sha256(piece.subarray(0, size));
    previous = signer.sign('AWS4-HMAC-SHA256-PAYLOAD', previous, emptyHash, data);
    yield Buffer.from(`${hex}${extensions};chunk-signature=${previous}\r\n`, 'latin1');
    yield piece;
    if (isLast) break;
  }
  if (hasTrailers) yield await signedTrailers(reading, signer, previous);
  await reading.ended();
}

/** `name:value` a line, the signature of them all, and an empty line. */
async function signedTrailers(reading: Reading, signer: Signer, previous: string): Promise<Buffer> {
  let written = '';
  let canonical = '';
  for (;;) {
    const line = await reading.line();
    const [, end] = trailerSignature.exec(line) ?? [];
    if (end !== undefined) {
      const signature = signer.sign('AWS4-HMAC-SHA256-TRAILER', previous, sha256(canonical));
      const close = await reading.bytes(2);
      if (close.toString('latin1') !== '\r\n') throw notChunked();
      const name = line.slice(0, line.length - 64 - end.length);
      return Buffer.from(`${written}${name}${signature}${end}\r\n`, 'latin1');
    }
    written += line;
    if (written.length > maxLine) throw notChunked();
    const trailer = line.replace(/\r?\n$/, '');
    // Some close each trailer with an empty line.
    if (trailer === '') continue;
    const colon = trailer.indexOf(':');
    if (colon <= 0) throw notChunked();
    canonical += `${trailer.slice(0, colon).trim().toLowerCase()}:${trailer.slice(colon + 1).trim()}\n`;
  }
}

/** A body that is read by lines and by counts. */
class Reading {
  readonly #pieces: AsyncIterator<Buffer> | Iterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(body: AsyncIterable<Buffer> | Iterable<Buffer>) {
    this.#pieces = Symbol.asyncIterator in body ? body[Symbol.asyncIterator]() : body[Symbol.iterator]();
  }

  /** With the line feed that ends it. */
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

  /** Whoever reads on behind the end would take it for another request, or for nothing. */
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
  return new SidekeyError(
    'bad_request',
    'The body is not the signed aws-chunked that x-amz-content-sha256 says it is.',
  );
}

function tooLarge(most: number): SidekeyError {
  return new SidekeyError('body_too_large', `A chunk that is signed has at most ${most} bytes.`, {
    hint: 'have the client use smaller chunks, or raise limits.signed_body_bytes',
  });
}
