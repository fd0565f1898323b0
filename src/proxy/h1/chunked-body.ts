import type { BodyReader } from './body-reader.ts';
import { CR, hexOf, LF, SEMICOLON } from './bytes.ts';
import { ChunkExtension } from './chunk-extension.ts';
import { Malformed, type Fault, type HeadLimits, type Whose } from './faults.ts';
import type { FieldTable } from './field-table.ts';
import { TrailerReader } from './trailer-reader.ts';

const atSize = 0;
const inSize = 1;
const inExtension = 2;
const atSizeLineFeed = 3;
const inData = 4;
const behindData = 5;
const atDataLineFeed = 6;
const behindLast = 7;
const atLastLineFeed = 8;
const inTrailers = 9;

const mostDigits = 15;
/** Bytes of the extensions of one chunk. */
const longestExtension = 1_024;
/**
 * Bytes around chunks beyond what a chunk of any size may have, which is `usualOverhead` and twice its data; so a body in
 * chunks of one byte is let through, and one that is all extensions is not. As Go has it.
 */
const mostOverhead = 16_384;
const usualOverhead = 16;

/** Reads a chunked body (RFC 9112 §7.1). */
export class ChunkedBody implements BodyReader {
  over = false;
  payload = 0;
  relayEnd = 0;
  trailers: FieldTable | null = null;
  spans: number[] = [];
  readonly #whose: Whose;
  readonly #limits: HeadLimits;
  readonly #wantsSpans: boolean;
  #state = atSize;
  /** Of the chunk: its size as read so far, then what of its data is still to come. */
  #left = 0;
  #digits = 0;
  /** Bytes of the line that the size stands in. */
  #lineBytes = 0;
  #overhead = 0;
  #extension: ChunkExtension | null = null;
  #extensionBytes = 0;
  #trailerReader: TrailerReader | null = null;
  #refusal: Malformed | null = null;

  constructor(whose: Whose, limits: HeadLimits, wantsSpans: boolean) {
    this.#whose = whose;
    this.#limits = limits;
    this.#wantsSpans = wantsSpans;
  }

  get isWhole(): boolean {
    return this.over;
  }

  read(bytes: Buffer, start: number, end: number): number | Malformed {
    if (this.#wantsSpans) this.spans = [];
    if (this.#refusal !== null) return this.#refusal;
    if (this.over) return (this.relayEnd = start);
    let at = start;
    while (at < end) {
      if (this.#state === inData) {
        const size = Math.min(this.#left, end - at);
        if (this.#wantsSpans) this.spans.push(at, at + size);
        this.#left -= size;
        this.payload += size;
        at += size;
        if (this.#left === 0) this.#state = behindData;
        continue;
      }
      if (this.#state === inTrailers) return this.#readTrailers(bytes, start, at, end);
      const fault = this.#take(bytes[at]!);
      if (fault !== null) return this.#refuse(fault);
      if (this.#state === inTrailers) continue;
      at += 1;
      if (this.over) break;
    }
    return (this.relayEnd = at);
  }

  /** Takes a byte that frames. Where it turns out to be a trailer's, the state says so, and it is not taken. */
  #take(byte: number): Fault | null {
    switch (this.#state) {
      case atSize:
        this.#left = 0;
        this.#digits = 0;
        this.#lineBytes = 0;
        if (hexOf[byte] === 16) return 'bad_chunk_size';
        this.#state = inSize;
        return this.#takeSize(byte);
      case inSize:
        return this.#takeSize(byte);
      case inExtension:
        return this.#takeExtension(byte);
      case atSizeLineFeed:
        if (byte !== LF) return 'bare_cr';
        this.#state = this.#left === 0 ? behindLast : inData;
        return this.#countOverhead();
      case behindData:
        this.#state = atDataLineFeed;
        return byte === CR ? null : 'bad_chunk_end';
      case atDataLineFeed:
        this.#state = atSize;
        return byte === LF ? null : 'bad_chunk_end';
      case behindLast:
        this.#state = byte === CR ? atLastLineFeed : inTrailers;
        return null;
      default:
        this.over = byte === LF;
        return this.over ? null : 'bare_cr';
    }
  }

  #takeSize(byte: number): Fault | null {
    this.#lineBytes += 1;
    const digit = hexOf[byte]!;
    if (digit < 16) {
      this.#left = this.#left * 16 + digit;
      this.#digits += 1;
      // Beyond it, a double no longer counts one by one.
      const isTooLarge = this.#digits > mostDigits || this.#left > Number.MAX_SAFE_INTEGER;
      return isTooLarge ? 'chunk_size_too_large' : null;
    }
    if (byte === CR) {
      this.#state = atSizeLineFeed;
      return null;
    }
    if (byte !== SEMICOLON) return byte === LF ? 'bare_lf' : 'bad_chunk_size';
    this.#extension ??= new ChunkExtension();
    this.#extension.begin();
    this.#extensionBytes = 1;
    this.#state = inExtension;
    return null;
  }

  #takeExtension(byte: number): Fault | null {
    this.#lineBytes += 1;
    this.#extensionBytes += 1;
    const place = this.#extension!.take(byte);
    if (place === 'wrong') return byte === LF ? 'bare_lf' : 'bad_chunk_extension';
    if (place === 'end') this.#state = atSizeLineFeed;
    else if (this.#extensionBytes > longestExtension) return 'chunk_extension_too_large';
    return null;
  }

  #countOverhead(): Fault | null {
    this.#overhead = Math.max(0, this.#overhead + this.#lineBytes - usualOverhead - 2 * this.#left);
    return this.#overhead > mostOverhead ? 'too_much_chunk_overhead' : null;
  }

  /** @param at where the trailers begin in this region */
  #readTrailers(bytes: Buffer, start: number, at: number, end: number): number | Malformed {
    this.relayEnd = Math.max(start, at);
    this.#trailerReader ??= new TrailerReader(this.#limits);
    const size = this.#trailerReader.read(bytes, at, end);
    if (typeof size === 'string') return this.#refuse(size);
    if (this.#trailerReader.ended) {
      this.over = true;
      this.trailers = this.#trailerReader.table();
    }
    return at + size;
  }

  #refuse(fault: Fault): Malformed {
    return (this.#refusal = new Malformed(this.#whose, fault, this.#limits));
  }
}
