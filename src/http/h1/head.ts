import type { RawFields } from '../fields.ts';
import type { RequestHead } from '../message.ts';
import {
  COMMA,
  CR,
  endOfRun,
  endOfValue,
  type Fault,
  FieldScanner,
  type HeadLimits,
  HT,
  inMethod,
  inTarget,
  isOneName,
  known,
  LF,
  Malformed,
  numberOfText,
  numbersOfFamily,
  SP,
  spells,
  type Whose,
  ZERO,
} from './scan.ts';

/** Reads the heads of one connection's messages, one after the other. */
export interface HeadReader<Head> {
  /**
   * Reads a head. `incomplete`: ask again when more has come, with all bytes from the first byte of the head on; they
   * may have moved, and what was looked at is not looked at again. Any other answer ends this head, and the next call
   * begins the next one; behind a refusal there is none, and it is answered again.
   *
   * A head's bytes stay the caller's: see `FieldTable`. The body begins at `start + head.size`.
   */
  read(bytes: Buffer, start: number, end: number): Head | 'incomplete' | Malformed;
  /** Whether a head has begun and not ended: the connection must not be taken for an idle one. */
  readonly begun: boolean;
}

/** A first line, read in pieces. */
interface FirstLine {
  readonly at: number;
  begin(): void;
  scan: FieldScanner['scan'];
}

type HeadClass<Line, Head> = new (
  bytes: Buffer,
  base: number,
  size: number,
  line: Line,
  offsets: readonly number[],
) => Head;

class TwoPartReader<Line extends FirstLine, Head> implements HeadReader<Head> {
  begun = false;
  readonly #whose: Whose;
  readonly #line: Line;
  readonly #make: HeadClass<Line, Head>;
  readonly #limits: HeadLimits;
  readonly #fields: FieldScanner;
  #inFields = false;
  #refusal: Malformed | null = null;

  constructor(whose: Whose, line: Line, make: HeadClass<Line, Head>, limits: HeadLimits) {
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
        this.#inFields = true;
        fields.begin(line.at);
      }
    }
    if (outcome === 'done') outcome = fields.scan(bytes, start, stop);
    if (outcome === 'more') {
      if (end - start < this.#limits.head_bytes) return 'incomplete';
      outcome = 'head_too_large';
    }
    if (outcome !== 'done') return (this.#refusal = new Malformed(this.#whose, outcome, this.#limits));
    const head = new this.#make(bytes, start, fields.at, line, fields.offsets);
    line.begin();
    this.#inFields = false;
    this.begun = false;
    return head;
  }
}

/** Reads requests. Their framing is another question: `framing.ts`. */
export function createRequestReader(limits: HeadLimits): HeadReader<RequestHeadBytes> {
  return new TwoPartReader('request', new RequestLine(), RequestHeadBytes, limits);
}

/** Reads responses, interim ones (1xx) too. */
export function createResponseReader(limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  return new TwoPartReader('response', new StatusLine(), ResponseHeadBytes, limits);
}

/** A set of field names, made once and asked without strings. */
export class NameSet {
  /** Bits of the numbers of known names; never the first one, which stands for all other names. */
  readonly bits: number;
  readonly #others: readonly string[];

  /** @param names in lower case; `proxy-*` and `sidekey-*` stand for all that begin so */
  constructor(names: readonly string[]) {
    let bits = 0;
    const others: string[] = [];
    for (const name of names) {
      const number = numberOfText(name);
      if (name === 'proxy-*' || name === 'sidekey-*') {
        for (const member of numbersOfFamily(name === 'proxy-*' ? 'proxy-' : 'sidekey-')) bits |= 1 << member;
      } else if (isOneName(number)) bits |= 1 << number;
      else others.push(name);
    }
    this.bits = bits;
    this.#others = others;
  }

  /** Whether the name of a field is in it. */
  has(table: FieldTable, index: number): boolean {
    return ((this.bits >> table.numberAt(index)) & 1) === 1 || this.hasOther(table, index);
  }

  /** As `has`, where `bits` were looked at before. */
  hasOther(table: FieldTable, index: number): boolean {
    if (this.#others.length === 0) return false;
    const at = index * width;
    const { offsets, bytes, base } = table;
    return this.#others.some((name) => spells(bytes, base + offsets[at + 1]!, base + offsets[at + 2]!, name));
  }
}

/** Numbers that each field has in `FieldTable.offsets`. */
export const width = 5;

/**
 * The field lines of a head, or of trailers, as they stand in the bytes that were read: offsets, and no strings until one
 * is asked for.
 *
 * The bytes are those of whoever read them. A table is good as long as they are left alone; `keep` makes it good for
 * ever. A string that was handed out is.
 */
export class FieldTable {
  /** What was read; where the message begins in it is `base`, and all offsets are counted from there. */
  bytes: Buffer;
  base: number;
  /** Bytes from `base` to the end of the head, its empty line included. */
  readonly size: number;
  /** For each field: the number of its name (`known-names.ts`), where its name begins and ends, and its value. */
  readonly offsets: readonly number[];
  /** How many fields there are. */
  readonly count: number;
  #text: string | null = null;

  constructor(bytes: Buffer, base: number, size: number, offsets: readonly number[]) {
    this.bytes = bytes;
    this.base = base;
    this.size = size;
    this.offsets = offsets;
    this.count = offsets.length / width;
  }

  /** The whole of it, a character a byte. */
  get text(): string {
    return (this.#text ??= this.bytes.toString('latin1', this.base, this.base + this.size));
  }

  /** Copies the bytes, so that whoever read them may have them back. */
  keep(): void {
    const copy = Buffer.allocUnsafe(this.size);
    this.bytes.copy(copy, 0, this.base, this.base + this.size);
    this.bytes = copy;
    this.base = 0;
  }

  /** The number of a field's name. */
  numberAt(index: number): number {
    return this.offsets[index * width]!;
  }

  nameAt(index: number): string {
    return this.text.slice(this.offsets[index * width + 1], this.offsets[index * width + 2]);
  }

  /** Without the blanks around it. */
  valueAt(index: number): string {
    return this.text.slice(this.offsets[index * width + 3], this.offsets[index * width + 4]);
  }

  /** Where a field's line begins, from `base`. */
  lineAt(index: number): number {
    return index < this.count ? this.offsets[index * width + 1]! : this.size - 2;
  }

  /** The index of the next field of this name, from `from` on; -1: there is none. `name` in lower case. */
  find(name: string, from = 0): number {
    const number = numberOfText(name);
    for (let index = from; index < this.count; index += 1) {
      const at = index * width;
      if (this.offsets[at] !== number) continue;
      if (isOneName(number)) return index;
      if (spells(this.bytes, this.base + this.offsets[at + 1]!, this.base + this.offsets[at + 2]!, name))
        return index;
    }
    return -1;
  }

  has(name: string): boolean {
    return this.find(name) >= 0;
  }

  /** The value of the first field of this name; null: there is none. `name` in lower case. */
  first(name: string): string | null {
    const index = this.find(name);
    return index < 0 ? null : this.valueAt(index);
  }

  /** The values of all fields of this name, in order. `name` in lower case. */
  values(name: string): string[] {
    const values: string[] = [];
    for (let index = this.find(name); index >= 0; index = this.find(name, index + 1))
      values.push(this.valueAt(index));
    return values;
  }

  /** All names and values in turn: for what needs strings. */
  raw(): RawFields {
    const fields: string[] = [];
    for (let index = 0; index < this.count; index += 1) fields.push(this.nameAt(index), this.valueAt(index));
    return fields;
  }

  /** Whether a comma-separated field (RFC 9110 §5.6.1) of this name has this member. Both in lower case. */
  lists(name: keyof typeof known, member: string): boolean {
    const number = known[name];
    for (let at = 0; at < this.offsets.length; at += width) {
      if (this.offsets[at] !== number) continue;
      if (this.#hasMember(this.base + this.offsets[at + 3]!, this.base + this.offsets[at + 4]!, member))
        return true;
    }
    return false;
  }

  #hasMember(start: number, end: number, member: string): boolean {
    const { bytes } = this;
    for (let from = start; from <= end;) {
      let to = from;
      while (to < end && bytes[to] !== COMMA) to += 1;
      let last = to;
      while (from < last && isBlank(bytes[from]!)) from += 1;
      while (last > from && isBlank(bytes[last - 1]!)) last -= 1;
      if (spells(bytes, from, last, member)) return true;
      from = to + 1;
    }
    return false;
  }

  /** Whether a field's value is this, without regard to case, and nothing but spaces around it. `word` in lower case. */
  isPlain(index: number, word: string): boolean {
    const at = index * width;
    const { bytes, base, offsets } = this;
    return !this.hasTabs(index) && spells(bytes, base + offsets[at + 3]!, base + offsets[at + 4]!, word);
  }

  /** Whether there are tabs around a field's value. */
  hasTabs(index: number): boolean {
    const at = index * width;
    const { bytes, base, offsets } = this;
    for (let i = offsets[at + 2]! + 1; i < offsets[at + 3]!; i += 1) if (bytes[base + i] === HT) return true;
    const end = this.lineAt(index + 1) - 2;
    for (let i = offsets[at + 4]!; i < end; i += 1) if (bytes[base + i] === HT) return true;
    return false;
  }
}

function isBlank(byte: number): boolean {
  return byte === SP || byte === HT;
}

/** The head of a request as it stands in the bytes that were read; see `FieldTable` for whose they are. */
export class RequestHeadBytes extends FieldTable implements RequestHead {
  readonly version: '1.0' | '1.1';
  /** Where the request line begins, from `base`: behind the empty line that was skipped, where there was one. */
  readonly lineStart: number;
  /** Where it ends, its CR LF included. */
  readonly lineEnd: number;
  readonly #methodEnd: number;
  readonly #targetEnd: number;
  #fields: RawFields | null = null;

  constructor(bytes: Buffer, base: number, size: number, line: RequestLine, offsets: readonly number[]) {
    super(bytes, base, size, offsets);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.lineStart = line.start;
    this.lineEnd = line.at;
    this.#methodEnd = line.methodEnd;
    this.#targetEnd = line.targetEnd;
  }

  get method(): string {
    return this.text.slice(this.lineStart, this.#methodEnd);
  }

  /** As it stood in the request line. */
  get target(): string {
    return this.text.slice(this.#methodEnd + 1, this.#targetEnd);
  }

  /** All names and values in turn, made once. */
  get fields(): RawFields {
    return (this.#fields ??= this.raw());
  }
}

/** The head of a response as it stands in the bytes that were read; see `FieldTable` for whose they are. */
export class ResponseHeadBytes extends FieldTable {
  readonly version: '1.0' | '1.1';
  /** 100 to 999. */
  readonly status: number;
  readonly lineStart = 0;
  /** Where the status line ends, its CR LF included, from `base`. */
  readonly lineEnd: number;
  readonly #reasonEnd: number;

  constructor(bytes: Buffer, base: number, size: number, line: StatusLine, offsets: readonly number[]) {
    super(bytes, base, size, offsets);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.status = line.status;
    this.lineEnd = line.at;
    this.#reasonEnd = line.reasonEnd;
  }

  /** As it stood in the status line; empty where there was none. */
  get reason(): string {
    return this.text.slice(reasonAt, this.#reasonEnd);
  }
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
/** No method that anybody uses is longer, and it is written into the audit file. */
const longestMethod = 32;

/**
 * Reads a request line (RFC 9112 §3), each byte once: single spaces, a version that is known, and nothing behind it. One
 * empty line before it is skipped (§2.2).
 */
class RequestLine {
  /** How far it has read, from `base`; all offsets are counted from there. */
  at = 0;
  /** Where the method begins: behind the empty line, where there is one. */
  start = 0;
  methodEnd = 0;
  targetEnd = 0;
  /** The digit behind `HTTP/1.`. */
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
        const most = Math.min(stop, base + this.start + longestMethod + 1);
        at = endOfRun(bytes, at, most, inMethod);
        const length = at - base - this.start;
        if (length > longestMethod) return 'bad_method';
        if (at === stop) break;
        if (bytes[at] !== SP || length === 0) return bytes[at] === LF ? 'bare_lf' : 'bad_method';
        // Of the preface of HTTP/2, and of nothing else (RFC 9113 §3.4).
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
/** Where a reason begins, from `base`. */
const reasonAt = 13;

/**
 * Reads a status line (RFC 9112 §4), each byte once. The space behind the status may be missing together with the reason,
 * as many servers write it.
 */
class StatusLine {
  /** How far it has read, from `base`. */
  at = 0;
  status = 0;
  /** Where the reason ends, from `base`; it begins at `reasonAt`. */
  reasonEnd = 0;
  /** The digit behind `HTTP/1.`. */
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
        this.reasonEnd = Math.max(reasonAt, at - base);
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

  /** What is wrong with a byte of `HTTP/1.1 `. */
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
