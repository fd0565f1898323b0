/**
 * Reads answers just far enough to know where each ends: what the load client does most, so it does little.
 */

type Where = 'head' | 'body' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailer';

/** One connection's answers, one after the other. */
export class AnswerReader {
  /** Status of the last response. */
  status = 0;
  /** Bytes of its body, without their framing. */
  length = 0;
  /** Called for each piece of a body; null: no listener. */
  onBody: ((piece: Buffer) => void) | null = null;
  #where: Where = 'head';
  #missing = 0;
  #kept: Buffer | null = null;

  /**
   * Takes the next bytes. Answers whether they end an answer.
   *
   * @throws Error where they are no HTTP/1.1, or more than one answer
   */
  feed(bytes: Buffer): boolean {
    let chunk = bytes;
    if (this.#kept !== null) {
      chunk = Buffer.concat([this.#kept, bytes]);
      this.#kept = null;
    }
    if (this.#where === 'head') {
      const end = chunk.indexOf('\r\n\r\n');
      if (end < 0) return this.#keep(chunk);
      this.#readHead(chunk, end);
      chunk = chunk.subarray(end + 4);
    }
    return this.#where === 'body' ? this.#readPlain(chunk) : this.#readChunked(chunk);
  }

  #readHead(chunk: Buffer, end: number): void {
    // "HTTP/1.1 200": the digits stand at 9.
    this.status = (chunk[9]! - 48) * 100 + (chunk[10]! - 48) * 10 + (chunk[11]! - 48);
    this.length = 0;
    this.#missing = lengthOf(chunk, end);
    this.#where = 'body';
    if (this.#missing >= 0) return;
    const head = chunk.toString('latin1', 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length !== undefined) this.#missing = Number(length);
    else if (/\r\ntransfer-encoding: *chunked/i.test(head)) this.#where = 'chunk-size';
    else throw new Error(`an answer without a length: ${head.split('\r\n', 1)[0] ?? ''}`);
  }

  #readPlain(chunk: Buffer): boolean {
    this.length += chunk.length;
    this.#missing -= chunk.length;
    if (this.onBody !== null && chunk.length > 0) this.onBody(chunk);
    if (this.#missing > 0) return false;
    if (this.#missing < 0) throw new Error('more came than one answer');
    this.#where = 'head';
    return true;
  }

  /** RFC 9112 §7.1, as far as programs that are meant well write it. */
  #readChunked(chunk: Buffer): boolean {
    let at = 0;
    for (;;) {
      if (this.#where === 'chunk') {
        const take = Math.min(this.#missing, chunk.length - at);
        if (this.onBody !== null && take > 0) this.onBody(chunk.subarray(at, at + take));
        this.length += take;
        this.#missing -= take;
        at += take;
        if (this.#missing > 0) return false;
        this.#where = 'chunk-end';
      }
      const end = chunk.indexOf('\r\n', at);
      if (end < 0) return this.#keep(chunk.subarray(at));
      const line = chunk.toString('latin1', at, end);
      at = end + 2;
      if (this.#where === 'chunk-end') {
        this.#where = 'chunk-size';
      } else if (this.#where === 'chunk-size') {
        this.#missing = Number.parseInt(line, 16);
        if (Number.isNaN(this.#missing)) throw new Error('a chunk without a size');
        this.#where = this.#missing === 0 ? 'trailer' : 'chunk';
      } else if (line === '') {
        if (at < chunk.length) throw new Error('more came than one answer');
        this.#where = 'head';
        return true;
      }
    }
  }

  #keep(chunk: Buffer): false {
    this.#kept = chunk.length === 0 ? null : Buffer.from(chunk);
    return false;
  }
}

/** The number behind `Content-Length: `, as most write it; -1: it is not written so. */
function lengthOf(chunk: Buffer, end: number): number {
  let at = chunk.indexOf('\r\nContent-Length: ');
  if (at < 0 || at > end) at = chunk.indexOf('\r\ncontent-length: ');
  if (at < 0 || at > end) return -1;
  let length = 0;
  for (at += 18; chunk[at]! >= 48 && chunk[at]! <= 57; at += 1) length = length * 10 + chunk[at]! - 48;
  return length;
}
