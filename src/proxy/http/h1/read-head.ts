import { type FieldPlaces, FieldTable, reasonStart, RequestHeadBytes, ResponseHeadBytes } from '../head.ts';
import {
  CR,
  endOfRun,
  endOfValue,
  type Fault,
  FieldScanner,
  type HeadLimits,
  inMethod,
  inTarget,
  LF,
  Malformed,
  SP,
  spells,
  type Whose,
  ZERO,
} from './scan.ts';

/** Reads the heads of the messages of one connection, one after the other. */
export interface HeadReader<Head> {
  /**
   * Reads a head. `incomplete`: call again with all bytes from the first byte of the head on, which may have
   * moved. No byte is scanned twice. Any other result ends this head. A refusal is final, and is returned by
   * every later call.
   *
   * The caller owns the bytes of a head: see `FieldTable`. The body begins at `start + head.size`.
   */
  read(bytes: Buffer, start: number, end: number): Head | 'incomplete' | Malformed;
  /** True if a head is incomplete: the connection is not idle. */
  readonly begun: boolean;
}

/** A first line, read in pieces. */
interface FirstLine {
  readonly at: number;
  begin(): void;
  scan: FieldScanner['scan'];
}

/** Creates a head. The places are reused by later calls; those of a request are a `FieldTable`. */
type MakeHead<Line, Head> = (bytes: Buffer, start: number, line: Line, places: FieldPlaces) => Head;

class TwoPartReader<Line extends FirstLine, Head extends FieldTable> implements HeadReader<Head> {
  begun = false;
  /** The fields of the last request. Many clients repeat the same fields, which are not scanned again. */
  #last: FieldTable | null = null;
  readonly #whose: Whose;
  readonly #line: Line;
  readonly #make: MakeHead<Line, Head>;
  readonly #limits: HeadLimits;
  readonly #fields: FieldScanner;
  #inFields = false;
  #refusal: Malformed | null = null;

  constructor(whose: Whose, line: Line, make: MakeHead<Line, Head>, limits: HeadLimits) {
    this.#whose = whose;
    this.#line = line;
    this.#make = make;
    this.#limits = limits;
    this.#fields = new FieldScanner(limits.head_fields);
  }

  read(bytes: Buffer, start: number, end: number): Head | 'incomplete' | Malformed {
    if (this.#refusal !== null) return this.#refusal;
    if (start === end) return 'incomplete';
    this.begun = true;
    const stop = Math.min(end, start + this.#limits.head_bytes);
    const line = this.#line;
    const fields = this.#fields;
    let outcome: ReturnType<FieldScanner['scan']> = 'done';
    if (!this.#inFields) {
      outcome = line.scan(bytes, start, stop);
      if (outcome === 'done') {
        const last = this.#last;
        if (last !== null && repeats(last, bytes, start + line.at, stop))
          return this.#whole(bytes, start, last);
        this.#inFields = true;
        fields.begin(0);
      }
    }
    if (outcome === 'done') outcome = fields.scan(bytes, start + line.at, stop);
    if (outcome === 'more') {
      if (end - start < this.#limits.head_bytes) return 'incomplete';
      outcome = 'head_too_large';
    }
    if (outcome !== 'done') return (this.#refusal = new Malformed(this.#whose, outcome, this.#limits));
    if (this.#whose === 'request') {
      const copy = Buffer.allocUnsafeSlow(fields.at);
      bytes.copy(copy, 0, start + line.at, start + line.at + fields.at);
      this.#last = new FieldTable(copy, 0, fields.at, fields.takeOffsets());
      return this.#whole(bytes, start, this.#last);
    }
    return this.#whole(bytes, start, fields);
  }

  #whole(bytes: Buffer, start: number, places: FieldPlaces): Head {
    const head = this.#make(bytes, start, this.#line, places);
    this.#line.begin();
    this.#inFields = false;
    this.begun = false;
    return head;
  }
}

/** Reports whether the bytes at an index are these fields and the empty line after them. */
function repeats({ bytes: last, extent }: FieldTable, bytes: Buffer, at: number, stop: number): boolean {
  return stop - at >= extent && bytes.compare(last, 0, extent, at, at + extent) === 0;
}

/** Creates a reader of requests. `framing.ts` reads their framing. */
export function createRequestReader(limits: HeadLimits): HeadReader<RequestHeadBytes> {
  return new TwoPartReader('request', new RequestLine(), makeRequest, limits);
}

const makeRequest: MakeHead<RequestLine, RequestHeadBytes> = (bytes, start, line, places) =>
  new RequestHeadBytes(bytes, start, line, places);

/** Creates a reader of responses, including interim ones (1xx). */
export function createResponseReader(limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  return new TwoPartReader('response', new StatusLine(), makeResponse, limits);
}

const makeResponse: MakeHead<StatusLine, ResponseHeadBytes> = (bytes, start, line, places) => {
  const { extent, offsets, count } = places;
  return new ResponseHeadBytes().place(bytes, start, line, {
    extent,
    offsets: offsets.slice(0, count * 5),
    count,
  });
};

/** Unused readers, and their limits. */
const idleReaders: HeadReader<ResponseHeadBytes>[] = [];
let idleLimits: HeadLimits | null = null;
const maxIdleReaders = 256;

/** Like `createResponseReader`. A head is valid until the next call, or until the reader is given back. */
export function takeResponseReader(limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  if (idleLimits !== limits) {
    idleReaders.length = 0;
    idleLimits = limits;
  }
  return idleReaders.pop() ?? createReusedReader(limits);
}

/** Gives back a reader of `takeResponseReader` whose last head was complete. */
export function giveBackResponseReader(reader: HeadReader<ResponseHeadBytes>, limits: HeadLimits): void {
  if (limits === idleLimits && idleReaders.length < maxIdleReaders) idleReaders.push(reader);
}

function createReusedReader(limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  const head = new ResponseHeadBytes();
  const make: MakeHead<StatusLine, ResponseHeadBytes> = (bytes, start, line, places) =>
    head.place(bytes, start, line, places);
  return new TwoPartReader('response', new StatusLine(), make, limits);
}

const atBegin = 0;
const atEmptyLineFeed = 1;
const inMethodName = 2;
const inTargetText = 3;
const inRequestVersion = 4;
const atRequestLineFeed = 5;

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). */
const tlsHandshake = 0x16;
const requestVersion = 'HTTP/1.';
/** No method in use is longer, and the method is written into the audit file. */
const maxMethodLength = 32;

/**
 * Reads a request line (RFC 9112 §3), each byte once: single spaces, and a known version at the end. Skips
 * one empty line before it (§2.2).
 */
class RequestLine {
  /** Read position, relative to `base` like all offsets. */
  at = 0;
  /** Start of the method, after a skipped empty line. */
  start = 0;
  methodEnd = 0;
  targetEnd = 0;
  /** The digit after `HTTP/1.`. */
  minor = 0;
  #state = atBegin;
  #versionAt = 0;

  begin(): void {
    this.at = 0;
    this.start = 0;
    this.#state = atBegin;
  }

  /** See `FieldScanner.scan`. */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === atBegin) {
        if (bytes[at] === CR && at === base) {
          state = atEmptyLineFeed;
          at += 1;
          continue;
        }
        if (bytes[at] === tlsHandshake) return 'tls_handshake';
        this.start = at - base;
        state = inMethodName;
      } else if (state === atEmptyLineFeed) {
        if (bytes[at] !== LF) return 'bare_cr';
        state = atBegin;
        at += 1;
        continue;
      }
      if (state === inMethodName) {
        const most = Math.min(stop, base + this.start + maxMethodLength + 1);
        at = endOfRun(bytes, at, most, inMethod);
        const length = at - base - this.start;
        if (length > maxMethodLength) return 'bad_method';
        if (at === stop) break;
        if (bytes[at] !== SP || length === 0) return bytes[at] === LF ? 'bare_lf' : 'bad_method';
        // `PRI` occurs only in the preface of HTTP/2 (RFC 9113 §3.4).
        if (spells(bytes, base + this.start, at, 'pri')) return 'http2_preface';
        this.methodEnd = at - base;
        at += 1;
        state = inTargetText;
      }
      if (state === inTargetText) {
        at = endOfRun(bytes, at, stop, inTarget);
        if (at === stop) break;
        const isEmpty = at - base === this.methodEnd + 1;
        if (bytes[at] !== SP || isEmpty)
          return bytes[at] === CR && !isEmpty ? 'no_version' : faultIn(bytes[at]!);
        this.targetEnd = at - base;
        this.#versionAt = 0;
        at += 1;
        state = inRequestVersion;
      }
      if (state === inRequestVersion) {
        while (at < stop && this.#versionAt < requestVersion.length) {
          if (bytes[at] !== requestVersion.charCodeAt(this.#versionAt)) return 'unknown_version';
          this.#versionAt += 1;
          at += 1;
        }
        if (at === stop) break;
        if (this.#versionAt === requestVersion.length) {
          this.minor = bytes[at]! - ZERO;
          if (this.minor !== 0 && this.minor !== 1) return 'unknown_version';
          this.#versionAt += 1;
          at += 1;
          if (at === stop) break;
        }
        if (bytes[at] !== CR) return bytes[at] === LF ? 'bare_lf' : 'unknown_version';
        at += 1;
        state = atRequestLineFeed;
        if (at === stop) break;
      }
      if (bytes[at] !== LF) return 'bare_cr';
      this.at = at + 1 - base;
      return 'done';
    }
    this.at = at - base;
    this.#state = state;
    return 'more';
  }
}

function faultIn(byte: number): Fault {
  if (byte > 0x7f) return 'raw_target';
  return byte === LF ? 'bare_lf' : 'bad_target';
}

const inVersion = 0;
const inStatus = 1;
const behindStatus = 2;
const inReason = 3;
const atLineFeed = 4;

const version = 'HTTP/1.';
/** `HTTP/1.1` and a space. */
const statusAt = 9;

/** Reads a status line (RFC 9112 §4), each byte once. Many servers omit the reason with its space. */
class StatusLine {
  /** Read position, relative to `base`. */
  at = 0;
  status = 0;
  /** End of the reason phrase, relative to `base`. Its start is `reasonStart`. */
  reasonEnd = 0;
  /** The digit after `HTTP/1.`. */
  minor = 0;
  #state = inVersion;

  begin(): void {
    this.at = 0;
    this.status = 0;
    this.#state = inVersion;
  }

  /** See `FieldScanner.scan`. */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === inVersion) {
        for (; at < stop && at - base < statusAt; at += 1) {
          const fault = this.#version(bytes[at]!, at - base);
          if (fault !== null) return fault;
        }
        if (at === stop) break;
        state = inStatus;
      }
      if (state === inStatus) {
        for (; at < stop && at - base < statusAt + 3; at += 1) {
          const digit = bytes[at]! - ZERO;
          if (digit < 0 || digit > 9 || (digit === 0 && at - base === statusAt)) return 'bad_status';
          this.status = this.status * 10 + digit;
        }
        if (at === stop) break;
        state = behindStatus;
      }
      if (state === behindStatus) {
        const byte = bytes[at]!;
        if (byte !== SP && byte !== CR) return byte === LF ? 'bare_lf' : 'bad_status';
        if (byte === SP) at += 1;
        state = inReason;
      }
      if (state === inReason) {
        at = endOfValue(bytes, at, stop);
        if (at === stop) break;
        if (bytes[at] !== CR) return bytes[at] === LF ? 'bare_lf' : 'control_byte';
        this.reasonEnd = Math.max(reasonStart, at - base);
        at += 1;
        state = atLineFeed;
        if (at === stop) break;
      }
      if (bytes[at] !== LF) return 'bare_cr';
      this.at = at + 1 - base;
      return 'done';
    }
    this.at = at - base;
    this.#state = state;
    return 'more';
  }

  /** Checks a byte of `HTTP/1.1 `. */
  #version(byte: number, index: number): Fault | null {
    if (index < version.length) {
      if (byte === version.charCodeAt(index)) return null;
      return index < 5 ? 'no_version' : 'unknown_version';
    }
    if (index === version.length) {
      this.minor = byte - ZERO;
      return this.minor === 0 || this.minor === 1 ? null : 'unknown_version';
    }
    return byte === SP ? null : 'unknown_version';
  }
}
