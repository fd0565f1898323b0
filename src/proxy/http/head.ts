import type { RawFields } from './fields.ts';
import { COMMA, HT, isOneName, known, numberOfText, numbersOfFamily, SP, spells } from './h1/scan.ts';

/** The head of an HTTP/1.1 or HTTP/2 request. */
export interface RequestHead {
  readonly method: string;
  /** The request target as received; `:path` in HTTP/2. */
  readonly target: string;
  /** A request with `other` is refused. */
  readonly version: '1.0' | '1.1' | '2' | 'other';
  /** `:authority` of HTTP/2, if present. */
  readonly authority?: string | undefined;
  readonly fields: RawFields;
}

/** A set of field names. Tests names without creating strings. */
export class NameSet {
  /** One bit for each known name. Bit 0, for unknown names, is never set. */
  readonly bits: number;
  readonly #others: readonly string[];

  /** @param names in lower case; `proxy-*` and `sidekey-*` are prefixes */
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

  /** Reports whether the set contains the name of a field. */
  has(table: FieldTable, index: number): boolean {
    return ((this.bits >> table.numberAt(index)) & 1) === 1 || this.hasOther(table, index);
  }

  /** Reports whether the set contains the name of a field that has no bit. */
  hasOther(table: FieldTable, index: number): boolean {
    if (this.#others.length === 0) return false;
    const at = index * width;
    const { offsets, bytes, base } = table;
    const start = base + offsets[at + 1]!;
    const end = base + offsets[at + 2]!;
    for (let i = 0; i < this.#others.length; i += 1) {
      if (spells(bytes, start, end, this.#others[i]!)) return true;
    }
    return false;
  }
}

/** The fields of an HTTP/1.1 or HTTP/2 head, as the framing rules read them. */
export interface HeadFields {
  readonly count: number;
  /** Returns the number of a field's name; see `known`. */
  numberAt(index: number): number;
  valueAt(index: number): string;
  /** Reports whether a value is `word` (lower case), ignoring case, and spaces but not tabs around it. */
  isPlain(index: number, word: string): boolean;
  /** Reports whether there are tabs around a value. */
  hasTabs(index: number): boolean;
  /** Returns a value of 1 to 15 digits as a number, otherwise -1. `isPlain`: refuses leading zeros. */
  lengthAt(index: number, isPlain: boolean): number;
}

/** Fields as strings, for HTTP/2. */
export class FieldList implements HeadFields {
  readonly count: number;
  readonly #fields: RawFields;

  constructor(fields: RawFields) {
    this.#fields = fields;
    this.count = fields.length / 2;
  }

  numberAt(index: number): number {
    return numberOfText(this.#fields[2 * index]!.toLowerCase());
  }

  valueAt(index: number): string {
    return this.#fields[2 * index + 1]!;
  }

  isPlain(index: number, word: string): boolean {
    return this.valueAt(index).toLowerCase() === word;
  }

  hasTabs(): boolean {
    return false;
  }

  lengthAt(index: number, isPlain: boolean): number {
    const digits = this.valueAt(index);
    if (!/^[0-9]{1,15}$/.test(digits)) return -1;
    return isPlain && digits.length > 1 && digits.startsWith('0') ? -1 : Number(digits);
  }
}

const ZERO = 0x30;

/** Number of entries for each field in `FieldTable.offsets`. */
const width = 5;

/** The places of the fields of a head in its bytes; see `FieldTable`. */
export interface FieldPlaces {
  readonly extent: number;
  /** May have more entries than `count` fields. */
  readonly offsets: readonly number[];
  readonly count: number;
  /** All names and values in turn, in one array for all heads with these places; absent: not shared. */
  readonly fields?: RawFields;
}

/**
 * The field lines of a head or of trailers, as offsets into the received bytes. Creates strings on demand.
 * The reader owns the bytes: a table is valid until they change.
 */
export class FieldTable implements HeadFields {
  /** The received bytes. The fields begin at `base`; all offsets are relative to it. */
  bytes: Buffer;
  base: number;
  /** Number of bytes from `base` on, including the empty line. */
  extent: number;
  /** For each field: number of its name (see `known`), start and end of the name, and of the value. */
  offsets: readonly number[];
  count: number;
  #text: string | null = null;
  #fields: RawFields | null = null;

  constructor(bytes: Buffer, base: number, extent: number, offsets: readonly number[]) {
    this.bytes = bytes;
    this.base = base;
    this.extent = extent;
    this.offsets = offsets;
    this.count = offsets.length / width;
  }

  /** Replaces the content of this table. */
  protected placeFields(bytes: Buffer, base: number, places: FieldPlaces): void {
    this.bytes = bytes;
    this.base = base;
    this.extent = places.extent;
    this.offsets = places.offsets;
    this.count = places.count;
    this.#text = null;
    this.#fields = null;
  }

  /** The bytes from `base` on as latin1 text. */
  get text(): string {
    return (this.#text ??= this.bytes.toString('latin1', this.base, this.base + this.extent));
  }

  numberAt(index: number): number {
    return this.offsets[index * width]!;
  }

  nameAt(index: number): string {
    return this.text.slice(this.offsets[index * width + 1], this.offsets[index * width + 2]);
  }

  /** Returns a value without the blanks around it. */
  valueAt(index: number): string {
    // A slice of the text stays valid when the reader reuses its buffer.
    return this.text.slice(this.offsets[index * width + 3], this.offsets[index * width + 4]);
  }

  /** Returns the offset of a field's line. For `count`: of the empty line. */
  lineAt(index: number): number {
    return index < this.count ? this.offsets[index * width + 1]! : this.extent - 2;
  }

  /** Returns the index of the next field of this name, or -1. `name` in lower case. */
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

  /** Returns the first value of a field, or null. `name` in lower case. */
  first(name: string): string | null {
    const index = this.find(name);
    return index < 0 ? null : this.valueAt(index);
  }

  /** Returns all values of a field, in order. `name` in lower case. */
  values(name: string): string[] {
    const values: string[] = [];
    for (let index = this.find(name); index >= 0; index = this.find(name, index + 1))
      values.push(this.valueAt(index));
    return values;
  }

  /** All names and values in turn, created once. */
  get fields(): RawFields {
    return (this.#fields ??= this.raw());
  }

  /** Returns all names and values in turn. */
  raw(): RawFields {
    const fields: string[] = [];
    for (let index = 0; index < this.count; index += 1) fields.push(this.nameAt(index), this.valueAt(index));
    return fields;
  }

  /** Reports whether a comma-separated field (RFC 9110 §5.6.1) has a member. Both in lower case. */
  lists(name: keyof typeof known, member: string): boolean {
    const number = known[name];
    for (let index = 0; index < this.count; index += 1) {
      const at = index * width;
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

  isPlain(index: number, word: string): boolean {
    const at = index * width;
    const { bytes, base, offsets } = this;
    return !this.hasTabs(index) && spells(bytes, base + offsets[at + 3]!, base + offsets[at + 4]!, word);
  }

  hasTabs(index: number): boolean {
    const at = index * width;
    const { bytes, base, offsets } = this;
    for (let i = offsets[at + 2]! + 1; i < offsets[at + 3]!; i += 1) if (bytes[base + i] === HT) return true;
    const end = this.lineAt(index + 1) - 2;
    for (let i = offsets[at + 4]!; i < end; i += 1) if (bytes[base + i] === HT) return true;
    return false;
  }

  lengthAt(index: number, isPlain: boolean): number {
    const { bytes, base, offsets } = this;
    const start = offsets[index * width + 3]!;
    const end = offsets[index * width + 4]!;
    if (end === start || end - start > 15) return -1;
    if (isPlain && end - start > 1 && bytes[base + start] === ZERO) return -1;
    let length = 0;
    for (let i = start; i < end; i += 1) {
      const digit = bytes[base + i]! - ZERO;
      if (digit < 0 || digit > 9) return -1;
      length = length * 10 + digit;
    }
    return length;
  }
}

function isBlank(byte: number): boolean {
  return byte === SP || byte === HT;
}

/** Offsets of the parts of a request line, relative to the start of the message. */
interface RequestLineOffsets {
  readonly start: number;
  readonly methodEnd: number;
  readonly targetEnd: number;
  /** Start of the next line. */
  readonly at: number;
  /** The digit after `HTTP/1.`. */
  readonly minor: number;
}

/** Offsets of the parts of a status line, relative to the start of the message. */
interface StatusLineOffsets {
  readonly status: number;
  readonly reasonEnd: number;
  readonly at: number;
  readonly minor: number;
}

/** Methods whose strings are shared. */
const usualMethods = ['GET', 'POST', 'PUT', 'HEAD', 'PATCH', 'DELETE', 'CONNECT', 'OPTIONS'];

/**
 * The head of an HTTP/1.1 request, as offsets into the received bytes; see `FieldTable`. `base` is the first
 * byte after the request line.
 */
export class RequestHeadBytes extends FieldTable implements RequestHead {
  readonly version: '1.0' | '1.1';
  readonly method: string;
  /** The target of the request line, unchanged. */
  readonly target: string;
  /** Number of bytes of the whole head, including a skipped empty line before it and the one at its end. */
  readonly size: number;
  /** The offset of the request line from the fields: negative. */
  readonly lineStart: number;
  /** End of the request line, with its CR LF: the start of the fields. */
  readonly lineEnd = 0;
  readonly #shared: FieldPlaces;

  /**
   * @param start first byte of the message
   * @param shared a table that all heads with the same fields share
   */
  constructor(bytes: Buffer, start: number, line: RequestLineOffsets, shared: FieldPlaces) {
    super(bytes, start + line.at, shared.extent, shared.offsets);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.size = line.at + shared.extent;
    this.lineStart = line.start - line.at;
    const methodStart = start + line.start;
    const methodEnd = start + line.methodEnd;
    this.method = methodIn(bytes, methodStart, methodEnd);
    this.target = bytes.toString('latin1', methodEnd + 1, start + line.targetEnd);
    this.#shared = shared;
  }

  /** All names and values in turn. Heads of one connection with equal field bytes share one array. */
  override get fields(): RawFields {
    return this.#shared.fields ?? super.fields;
  }
}

function methodIn(bytes: Buffer, start: number, end: number): string {
  for (let i = 0; i < usualMethods.length; i += 1)
    if (isText(bytes, start, end, usualMethods[i]!)) return usualMethods[i]!;
  return bytes.toString('latin1', start, end);
}

function isText(bytes: Buffer, start: number, end: number, text: string): boolean {
  if (end - start !== text.length) return false;
  for (let i = 0; i < text.length; i += 1) if (bytes[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** The head of an HTTP/1.1 response, as offsets into the received bytes; see `RequestHeadBytes`. */
export class ResponseHeadBytes extends FieldTable {
  version: '1.0' | '1.1' = '1.1';
  /** Status from 100 to 999. */
  status = 0;
  /** Number of bytes of the whole head, including the empty line at its end. */
  size = 0;
  /** The offset of the status line from the fields: negative. */
  lineStart = 0;
  /** End of the status line, with its CR LF: the start of the fields. */
  readonly lineEnd = 0;
  #reasonEnd = 0;

  constructor() {
    super(noBytes, 0, 0, noOffsets);
  }

  /**
   * Replaces the content of this head, and returns it.
   *
   * @param start first byte of the message
   */
  place(bytes: Buffer, start: number, line: StatusLineOffsets, places: FieldPlaces): this {
    this.placeFields(bytes, start + line.at, places);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.status = line.status;
    this.size = line.at + places.extent;
    this.lineStart = -line.at;
    this.#reasonEnd = line.reasonEnd - line.at;
    return this;
  }

  /** The reason phrase, unchanged. May be empty. */
  get reason(): string {
    const start = this.base + this.lineStart + reasonStart;
    return this.bytes.toString('latin1', start, this.base + this.#reasonEnd);
  }
}

const noBytes = Buffer.alloc(0);
const noOffsets: readonly number[] = [];

/** Offset of the reason phrase in a message: after `HTTP/1.1 200 `. */
export const reasonStart = 13;
