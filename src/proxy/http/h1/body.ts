import { framingFields } from '../fields.ts';
import type { ResponseFraming } from '../framing.ts';
import { FieldTable, NameSet } from '../head.ts';
import {
  BACKSLASH,
  CR,
  EQUALS,
  type Fault,
  FieldScanner,
  type HeadLimits,
  hexOf,
  inToken,
  inValue,
  kindOf,
  LF,
  HT,
  Malformed,
  QUOTE,
  SEMICOLON,
  SP,
  type Whose,
} from './scan.ts';
import { isRepairable, logicalLines, mendFields, sectionSize } from './mend.ts';
import { fieldSection } from './write.ts';

/** Returns a copy of the payload of a region, without its framing, or null if it has no payload. */
function copyOfPayload(bytes: Buffer, spans: readonly number[]): Buffer | null {
  let size = 0;
  for (let i = 0; i < spans.length; i += 2) size += spans[i + 1]! - spans[i]!;
  if (size === 0) return null;
  const piece = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0; i < spans.length; i += 2) at += bytes.copy(piece, at, spans[i], spans[i + 1]);
  return piece;
}

/** Moves the payload of a region over its framing, and returns it, or null if there is none. */
export function payloadTogether(bytes: Buffer, spans: readonly number[]): Buffer | null {
  const start = spans[0];
  if (start === undefined) return null;
  let at = start;
  for (let i = 0; i < spans.length; i += 2) {
    const from = spans[i]!;
    const to = spans[i + 1]!;
    if (from !== at) bytes.copyWithin(at, from, to);
    at += to - from;
  }
  return at === start ? null : bytes.subarray(start, at);
}

/** Returns the payload of a region, or null. Copies only a payload in several parts. */
export function payloadIn(bytes: Buffer, spans: readonly number[]): Buffer | null {
  if (spans.length !== 2) return copyOfPayload(bytes, spans);
  return spans[0]! < spans[1]! ? bytes.subarray(spans[0], spans[1]) : null;
}

/** Finds the end of a body without changing it. */
export interface BodyReader {
  /**
   * Reads the next bytes of the connection. Returns the end of this body's bytes: the next message begins
   * there. A refusal is final, and is returned by every later call.
   */
  read(bytes: Buffer, start: number, end: number): number | Malformed;
  /** True if the body has ended. */
  readonly over: boolean;
  /** True if the body is complete even if its connection ends now. */
  readonly isWhole: boolean;
  /** Number of received bytes of the body, without its framing. */
  readonly payload: number;
  /**
   * End of the bytes of the last call that may be forwarded unchanged: all bytes of the body except its
   * trailers. The caller checks `trailers` first, then ends the body with `fieldSection`.
   */
  readonly relayEnd: number;
  /** Start and end of each part of the payload in the last region. Only kept on request. */
  readonly spans: readonly number[];
  /** Null until the body is over, and if it has no trailers. */
  readonly trailers: FieldTable | null;
  /** True if the framing of a response deviated from RFC 9112: its connection must not be used again. */
  readonly isMended: boolean;
}

interface BodyReaderOptions {
  readonly whose: Whose;
  /** Limits of the trailers. */
  readonly limits: HeadLimits;
  /** True to keep `spans`. Default: false. */
  readonly spans?: boolean;
}

/** Creates a reader for the body that a head announces. */
export function createBodyReader(
  framing: ResponseFraming,
  { whose, limits, spans }: BodyReaderOptions,
): BodyReader {
  switch (framing.kind) {
    case 'none':
      return new CountedBody(0, false);
    case 'length':
      return new CountedBody(framing.bytes, spans === true);
    case 'chunked':
      return new ChunkedBody(whose, limits, spans === true);
    case 'until_close':
    case 'tunnel':
      return new CountedBody(Infinity, spans === true);
  }
}

const noSpans: readonly number[] = [];

/** A body of a known length. Infinity: the body ends with its connection. */
class CountedBody implements BodyReader {
  payload = 0;
  relayEnd = 0;
  spans = noSpans;
  readonly trailers = null;
  readonly isMended = false;
  readonly #bytes: number;
  readonly #wantsSpans: boolean;

  constructor(bytes: number, wantsSpans: boolean) {
    this.#bytes = bytes;
    this.#wantsSpans = wantsSpans;
  }

  get over(): boolean {
    return this.payload === this.#bytes;
  }

  get isWhole(): boolean {
    return this.over || this.#bytes === Infinity;
  }

  read(_bytes: Buffer, start: number, end: number): number {
    const size = Math.min(end - start, this.#bytes - this.payload);
    this.payload += size;
    this.relayEnd = start + size;
    if (this.#wantsSpans) this.spans = [start, this.relayEnd];
    return this.relayEnd;
  }
}

const nameBegins = 0;
const inName = 1;
const valueBegins = 2;
const inTokenValue = 3;
const inQuotes = 4;
const quotedPair = 5;
const behindQuotes = 6;

/**
 * Validates the extensions of a chunk (RFC 9112 §7.1.1) byte by byte: `;name`, `;name=token` or
 * `;name="text"`, without blanks. They are ignored, but readers must agree on the line end.
 */
class ChunkExtension {
  #state = nameBegins;

  /** Restarts after a `;`. */
  begin(): void {
    this.#state = nameBegins;
  }

  /** Reads the next byte. `end`: the CR that ends the line. `wrong`: not allowed at this position. */
  take(byte: number): 'inside' | 'end' | 'wrong' {
    switch (this.#state) {
      case nameBegins:
      case inName:
        if ((kindOf[byte]! & inToken) !== 0) {
          this.#state = inName;
          return 'inside';
        }
        if (this.#state === nameBegins) return 'wrong';
        if (byte === EQUALS) {
          this.#state = valueBegins;
          return 'inside';
        }
        return this.#behind(byte);
      case valueBegins:
        if (byte === QUOTE) this.#state = inQuotes;
        else if ((kindOf[byte]! & inToken) !== 0) this.#state = inTokenValue;
        else return 'wrong';
        return 'inside';
      case inTokenValue:
        return (kindOf[byte]! & inToken) !== 0 ? 'inside' : this.#behind(byte);
      case inQuotes:
        if (byte === QUOTE) this.#state = behindQuotes;
        else if (byte === BACKSLASH) this.#state = quotedPair;
        else if ((kindOf[byte]! & inValue) === 0) return 'wrong';
        return 'inside';
      case quotedPair:
        this.#state = inQuotes;
        return (kindOf[byte]! & inValue) !== 0 ? 'inside' : 'wrong';
      default:
        return this.#behind(byte);
    }
  }

  #behind(byte: number): 'inside' | 'end' | 'wrong' {
    if (byte === SEMICOLON) {
      this.#state = nameBegins;
      return 'inside';
    }
    return byte === CR ? 'end' : 'wrong';
  }
}

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
/** Only in responses: behind blanks after the size, and in an extension that is ignored up to the next LF. */
const behindSize = 10;
const inLooseExtension = 11;

const maxDigits = 15;
/** Maximum number of bytes of the extensions of one chunk. */
const maxExtensionBytes = 1_024;
/**
 * Maximum overhead in bytes, beyond `freeOverhead` plus twice its data for each chunk. Same rule as in Go:
 * allows a body in chunks of one byte, but not one that is nearly all extensions.
 */
const maxOverhead = 16_384;
const freeOverhead = 16;

/**
 * Reads a chunked body (RFC 9112 §7.1). Of responses, accepts blanks around sizes, any extension, and lines
 * that end in LF, because they are framed anew.
 */
class ChunkedBody implements BodyReader {
  over = false;
  isMended = false;
  payload = 0;
  relayEnd = 0;
  trailers: FieldTable | null = null;
  spans: number[] = [];
  readonly #whose: Whose;
  readonly #limits: HeadLimits;
  readonly #wantsSpans: boolean;
  #state = atSize;
  /** Size of the chunk as read so far. In the data: number of bytes still to come. */
  #left = 0;
  #digits = 0;
  /** Bytes of the line with the size. */
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

  /** Processes a framing byte. A byte that begins a trailer only changes the state, and is not consumed. */
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
        if (byte !== LF) return this.#deviation(byte, 'bare_cr');
        this.#state = this.#left === 0 ? behindLast : inData;
        return this.#countOverhead();
      case behindData:
        this.#state = atDataLineFeed;
        return byte === CR ? null : this.#deviation(byte, 'bad_chunk_end');
      case atDataLineFeed:
        this.#state = atSize;
        return byte === LF ? null : 'bad_chunk_end';
      case behindLast:
        this.#state = byte === CR ? atLastLineFeed : inTrailers;
        return null;
      default:
        return this.#takeRare(byte);
    }
  }

  /** Like `#take`, which V8 inlines only if it is short. */
  #takeRare(byte: number): Fault | null {
    if (this.#state !== atLastLineFeed) return this.#deviation(byte, 'bad_chunk_size');
    this.over = byte === LF;
    return this.over ? null : 'bare_cr';
  }

  #takeSize(byte: number): Fault | null {
    this.#lineBytes += 1;
    const digit = hexOf[byte]!;
    if (digit < 16) {
      this.#left = this.#left * 16 + digit;
      this.#digits += 1;
      // A double cannot represent every larger integer.
      const isTooLarge = this.#digits > maxDigits || this.#left > Number.MAX_SAFE_INTEGER;
      return isTooLarge ? this.#deviation(byte, 'chunk_size_too_large') : null;
    }
    if (byte === CR) {
      this.#state = atSizeLineFeed;
      return null;
    }
    if (byte !== SEMICOLON) return this.#deviation(byte, byte === LF ? 'bare_lf' : 'bad_chunk_size');
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
    if (place === 'wrong') return this.#deviation(byte, byte === LF ? 'bare_lf' : 'bad_chunk_extension');
    if (place === 'end') this.#state = atSizeLineFeed;
    else if (this.#extensionBytes > maxExtensionBytes)
      return this.#deviation(byte, 'chunk_extension_too_large');
    return null;
  }

  /** Reads a byte that only responses may have here. Returns the fault of any other. */
  #deviation(byte: number, fault: Fault): Fault | null {
    if (this.#whose === 'request') return fault;
    this.isMended = true;
    if (fault === 'bad_chunk_end') {
      this.#state = atSize;
      return byte === LF ? null : fault;
    }
    if (fault === 'chunk_size_too_large')
      return this.#digits > maxDigits + 1 || this.#left > Number.MAX_SAFE_INTEGER ? fault : null;
    if (byte === LF) return this.#endLine();
    const state = byte === SEMICOLON ? inLooseExtension : this.#state;
    const isInExtension = state === inExtension || state === inLooseExtension;
    if (!isInExtension && !isBlank(byte)) return fault;
    this.#state = isInExtension ? inLooseExtension : behindSize;
    this.#lineBytes += 1;
    return this.#lineBytes > maxOverhead ? 'chunk_extension_too_large' : null;
  }

  #endLine(): Fault | null {
    this.#state = this.#left === 0 ? behindLast : inData;
    return this.#countOverhead();
  }

  #countOverhead(): Fault | null {
    this.#overhead = Math.max(0, this.#overhead + this.#lineBytes - freeOverhead - 2 * this.#left);
    return this.#overhead > maxOverhead ? 'too_much_chunk_overhead' : null;
  }

  /** @param at start of the trailers in this region */
  #readTrailers(bytes: Buffer, start: number, at: number, end: number): number | Malformed {
    this.relayEnd = Math.max(start, at);
    this.#trailerReader ??= new TrailerReader(this.#whose, this.#limits);
    const size = this.#trailerReader.read(bytes, at, end);
    this.isMended ||= this.#trailerReader.isMended;
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

/** Also CR: where one may follow, it is no line end. */
function isBlank(byte: number): boolean {
  return byte === SP || byte === HT || byte === CR;
}

const framing = new NameSet(framingFields);

/**
 * Reads the trailers of a chunked body (RFC 9112 §7.1.2) with the rules and limits of a head. Copies them,
 * because they are few and must not be forwarded before all of them are valid.
 */
class TrailerReader {
  /** True if all trailers were received. */
  ended = false;
  /** True if trailers of a response are not as a request may have them. */
  isMended = false;
  readonly #whose: Whose;
  readonly #limits: HeadLimits;
  #fields: FieldScanner;
  #copy: Buffer = Buffer.allocUnsafe(256);
  #size = 0;

  constructor(whose: Whose, limits: HeadLimits) {
    this.#whose = whose;
    this.#limits = limits;
    this.#fields = new FieldScanner(limits.head_fields);
  }

  /** Returns the number of bytes of the region that belong to the trailers. */
  read(bytes: Buffer, start: number, end: number): number | Fault {
    const before = this.#size;
    const room = this.#limits.head_bytes - before;
    this.#append(bytes, start, Math.min(end, start + room));
    let outcome = this.isMended ? 'more' : this.#fields.scan(this.#copy, 0, this.#size);
    this.isMended ||= this.#whose === 'response' && isRepairable(outcome);
    let size = this.#fields.at;
    if (this.isMended) {
      size = this.#copy[0] === LF ? 1 : sectionSize(this.#copy.subarray(0, this.#size));
      outcome = size < 0 ? 'more' : this.#mend(size);
    }
    if (outcome === 'done') {
      this.#size = this.#fields.at;
      const table = this.table();
      for (let index = 0; index < table.count; index += 1) {
        if (!framing.has(table, index)) continue;
        // Framing fields in the trailers of a response are removed, those of a request are refused.
        if (this.#whose === 'request') return 'framing_in_trailers';
        this.isMended = true;
      }
      this.ended = true;
      return size - before;
    }
    if (outcome !== 'more') return outcome === 'too_many_fields' ? 'too_many_trailers' : outcome;
    return this.#size < this.#limits.head_bytes ? end - start : 'trailers_too_large';
  }

  /** Replaces the trailers by repaired ones. */
  #mend(size: number): 'done' | 'more' | Fault {
    const fields = mendFields(logicalLines(this.#copy.toString('latin1', 0, size)));
    if (typeof fields === 'string') return fields;
    this.#copy = fieldSection(fields);
    this.#size = this.#copy.length;
    this.#fields = new FieldScanner(this.#limits.head_fields);
    return this.#fields.scan(this.#copy, 0, this.#size);
  }

  /** Returns the trailers, as a table on a copy of their bytes. */
  table(): FieldTable {
    return new FieldTable(this.#copy, 0, this.#size, this.#fields.takeOffsets());
  }

  #append(bytes: Buffer, start: number, end: number): void {
    const size = this.#size + end - start;
    if (size > this.#copy.length) {
      const larger = Buffer.allocUnsafe(Math.max(size, 2 * this.#copy.length));
      this.#copy.copy(larger, 0, 0, this.#size);
      this.#copy = larger;
    }
    bytes.copy(this.#copy, this.#size, start, end);
    this.#size = size;
  }
}
