import { stop, type Matcher } from './matcher.ts';
import { backslash, ignored, lineBreak, outside } from './renderings.ts';
import { hexValue, mostBytes, referenceAt, Unescape, type Open } from './unescape.ts';

/** From a place in the input to another. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Base64 goes on behind a line break where the line was as long: MIME has lines of 76 (RFC 2045 §6.8), PEM of 64. */
const wrapped = 60;

const [carriageReturn, lineFeed] = [0x0d, 0x0a];

/**
 * Looks for the renderings of a credential in bytes that come in pieces: as they are, and with their escapes read once and
 * twice (three times where the credential may hold what reads as an escape).
 *
 * The steps that are taken and what is held back depend on the bytes and on the form of the credential. They are the same
 * for any two credentials of one form, unless a whole rendering of one is found.
 */
export class Search {
  /** Look-ups in the table. */
  steps = 0;
  readonly #matcher: Matcher;
  /** Of each byte its column; see `Alphabet`. */
  readonly #plain: Uint8Array;
  readonly #odd: number;
  /** The readings, once they are needed: while each byte is one character in all of them, two states stand for them. */
  #readings: readonly Reading[] = [];
  #isSplit = false;
  /** Of the bytes as they are, and where those begin that may be a rendering. */
  #state = 0;
  #run = 0;
  /** Of the other readings. */
  #later = 0;
  #laterRun = 0;
  #line = 0;
  readonly #open: Open = { escapes: 0 };
  /** Bytes since the last one that some reading has otherwise. */
  #same = 0;
  #offset = 0;
  #found: Span[] = [];

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
    this.#plain = matcher.alphabet.plain;
    this.#odd = matcher.alphabet.odd;
  }

  /** Answers what renderings end in the piece, by their places in the whole input. */
  push(bytes: Buffer): readonly Span[] {
    let at = 0;
    while (at < bytes.length) {
      if (this.#isSplit) at = this.#readSplit(bytes, at);
      else {
        at = this.#laterRun === this.#run ? this.#readOne(bytes, at) : this.#readTwo(bytes, at);
        if (at < bytes.length && this.#plain[bytes[at]!] === this.#odd) at = this.#readOdd(bytes, at);
      }
    }
    this.#offset += bytes.length;
    return this.#taken();
  }

  /** Ends the search, and begins another behind it. */
  end(): readonly Span[] {
    if (this.#isSplit) this.#readings[0]!.end();
    this.#isSplit = false;
    this.#clear(this.#offset);
    return this.#taken();
  }

  /** Where the longest end of the input begins that may be the beginning of a rendering, of any credential of this form. */
  get heldFrom(): number {
    let from = this.#isSplit ? Infinity : Math.min(this.#run, this.#laterRun);
    if (this.#isSplit) for (const reading of this.#readings) from = Math.min(from, reading.heldFrom);
    return Math.min(this.#offset, Math.max(from, this.#offset - this.#matcher.longest));
  }

  #taken(): readonly Span[] {
    if (this.#found.length === 0) return this.#found;
    const found = this.#found;
    this.#found = [];
    return found;
  }

  #clear(place: number): void {
    this.#state = this.#later = 0;
    this.#run = this.#laterRun = this.#line = place;
  }

  /** Reads on while all readings are the same. */
  #readOne(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    let at = this.#scan(bytes, from);
    while (at < bytes.length && plain[bytes[at]!] !== this.#odd) {
      this.#state = ~this.#matcher.table[this.#state + plain[bytes[at]!]!]!;
      this.#ended(this.#state, at);
      at = this.#scan(bytes, at + 1);
    }
    this.steps += at - from;
    this.#later = this.#state;
    for (let back = at - 1; back >= from; back -= 1) {
      if (plain[bytes[back]!] !== outside) continue;
      this.#run = this.#laterRun = this.#line = this.#offset + back + 1;
      break;
    }
    return at;
  }

  /** Reads on while a byte is one character in all readings, and the first of them is in another state than the others. */
  #readTwo(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    const { table } = this.#matcher;
    let state = this.#state;
    let later = this.#later;
    let at = from;
    for (; at < bytes.length; at += 1) {
      const column = plain[bytes[at]!]!;
      const next = table[state + column]!;
      if (next === stop) break;
      const nextLater = table[later + column]!;
      state = next < 0 ? ~next : next;
      later = nextLater < 0 ? ~nextLater : nextLater;
      if (next < 0) this.#ended(state, at);
      if (nextLater < 0) this.#ended(later, at);
      if (column !== outside) continue;
      this.steps += (at + 1 - from) * 2;
      this.#clear(this.#offset + at + 1);
      return at + 1;
    }
    this.steps += (at - from) * 2;
    this.#state = state;
    this.#later = later;
    return at;
  }

  /** Reads on up to where a rendering ends or a byte is odd. Nothing else is done here: it would take twice the time. */
  #scan(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    const { table } = this.#matcher;
    const { length } = bytes;
    let state = this.#state;
    let at = from;
    while (at < length) {
      const column = plain[bytes[at]!]!;
      // The table says the same of such a byte; what comes behind it need not wait for that.
      if (column === outside) state = 0;
      else {
        const next = table[state + column]!;
        if (next < 0) break;
        state = next;
      }
      at += 1;
    }
    this.#state = state;
    return at;
  }

  #ended(state: number, at: number): void {
    const end = this.#offset + at + 1;
    this.#found.push({ start: end - this.#matcher.lengthAt(state), end });
  }

  /** Reads a byte that is no matter of one look-up, and what belongs to it; answers what comes next. */
  #readOdd(bytes: Buffer, at: number): number {
    const byte = bytes[at]!;
    const { columns, hasEscapes } = this.#matcher.alphabet;
    const place = this.#offset + at;
    if (columns[byte] === lineBreak) {
      if (place - this.#line < wrapped) {
        this.#clear(place + 1);
        return at + 1;
      }
    } else if (byte === 0) {
      if (place === this.#run && place === this.#laterRun) {
        this.#clear(place + 1);
        return at + 1;
      }
    } else if (!hasEscapes) {
      const length = this.#outsideAt(bytes, at);
      if (length > 0) return this.#readOutside(bytes, at, length);
    }
    this.#split(place);
    return at;
  }

  /** Reads an escape that ends every rendering where it is read as one, or what is none; its first byte ends all others. */
  #readOutside(bytes: Buffer, at: number, length: number): number {
    const { table } = this.#matcher;
    const end = at + length;
    this.#clear(this.#offset + at + 1);
    if (length === 1) return end;
    let state = 0;
    for (let tail = at + 1; tail < end; tail += 1) {
      const next = table[state + this.#plain[bytes[tail]!]!]!;
      state = next < 0 ? ~next : next;
      if (next < 0) this.#ended(state, tail);
    }
    this.steps += length - 1;
    this.#state = state;
    this.#laterRun = this.#line = this.#offset + end;
    return end;
  }

  /**
   * Bytes of an escape whose character stands in no rendering, nor in an escape; 1: it is none; 0: it must be read
   * character by character.
   */
  #outsideAt(bytes: Buffer, at: number): number {
    const next = bytes[at + 1];
    if (next === undefined) return 0;
    switch (bytes[at]) {
      case 0x25: {
        if (hexValue(next) > 15) return (next | 0x20) === 0x75 || this.#plain[next] === this.#odd ? 0 : 1;
        const last = bytes[at + 2];
        if (last === undefined || hexValue(last) > 15) return 0;
        return this.#plain[hexValue(next) * 16 + hexValue(last)] === outside ? 3 : 0;
      }
      case 0x5c:
        if (this.#plain[next] === outside) return 1;
        return this.#outsideEscape(bytes, at, next);
      default:
        if (this.#plain[next] === outside && next !== 0x23) return 1;
        return this.#outsideReference(bytes, at);
    }
  }

  /** `\n`, `\r` and `\t` where they end a line, and `\u` of what is no ASCII. */
  #outsideEscape(bytes: Buffer, at: number, letter: number): number {
    if (letter === 0x74) return 2;
    if (letter === 0x6e || letter === 0x72) return this.#offset + at - this.#line < wrapped ? 2 : 0;
    if (letter !== 0x75 || at + 5 >= bytes.length) return 0;
    let value = 0;
    for (let digit = at + 2; digit < at + 6; digit += 1) value = value * 16 + hexValue(bytes[digit]!);
    return value >= 0x80 && allHex(bytes, at + 2, at + 6) ? 6 : 0;
  }

  #outsideReference(bytes: Buffer, at: number): number {
    const found = referenceAt(bytes, at);
    return found !== null && this.#plain[found.value] === outside ? found.length : 0;
  }

  #split(place: number): void {
    if (this.#readings.length === 0) {
      const levels = this.#matcher.alphabet.hasEscapes ? 4 : 3;
      const readings: Reading[] = [];
      for (let level = 0; level < levels; level += 1)
        readings.unshift(
          new Reading(this.#matcher, readings[0] ?? null, level === levels - 1, this.#open, (span) =>
            this.#found.push(span),
          ),
        );
      this.#readings = readings;
    }
    for (let i = 0; i < this.#readings.length; i += 1)
      this.#readings[i]!.begin(
        i === 0 ? this.#state : this.#later,
        i === 0 ? this.#run : this.#laterRun,
        this.#line,
        place,
      );
    this.#isSplit = true;
    this.#same = 0;
  }

  /** Reads on until all readings are the same again. */
  #readSplit(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    const readings = this.#readings;
    const first = readings[0]!;
    for (let at = from; at < bytes.length; at += 1) {
      const byte = bytes[at]!;
      const place = this.#offset + at;
      if (byte === 0) {
        // As UTF-16 and UTF-32 have it, up to three zeros stand beside each byte.
        this.#same = 0;
        continue;
      }
      first.take(byte, place, place + 1);
      this.#same = this.#open.escapes === 0 && plain[byte] !== this.#odd ? this.#same + 1 : 0;
      if (this.#open.escapes > 0) continue;
      const isClear = first.isClear && readings.every((reading) => reading.isClear);
      if (!isClear && this.#same < this.#matcher.most) continue;
      const from = this.heldFrom;
      this.#isSplit = false;
      this.#clear(place + 1);
      if (!isClear) {
        this.#state = this.#later = first.state;
        this.#run = this.#laterRun = from;
        this.#line = first.line;
      }
      this.#countSteps();
      return at + 1;
    }
    this.#countSteps();
    return bytes.length;
  }

  #countSteps(): void {
    for (const reading of this.#readings) {
      this.steps += reading.steps;
      reading.steps = 0;
    }
  }
}

function allHex(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (hexValue(bytes[at]!) > 15) return false;
  return true;
}

/** The input with its escapes read so many times: looked up character by character, and read once more into the next. */
class Reading {
  steps = 0;
  state = 0;
  /** Where the line begins, as Base64 has lines. */
  line = 0;
  /** Whether the last character stands in no rendering. */
  isClear = true;
  readonly #table: Int32Array;
  readonly #columns: Uint8Array;
  readonly #matcher: Matcher;
  readonly #found: (span: Span) => void;
  readonly #next: Reading | null;
  readonly #unescape: Unescape | null;
  /** Where each of the last characters begins. */
  readonly #starts: Float64Array;
  readonly #mask: number;
  #count = 0;
  /** Where the characters begin that may be a rendering; infinite: the last one is none of these. */
  #run = Infinity;
  #lastEnd = 0;
  /** Where characters begin that are read over; infinite: the last one was none. */
  #over = Infinity;
  /** The state behind characters that may be part of an escape, each read as itself; and how many these are. */
  #ahead = 0;
  #seen = 0;
  /** Whether the last character is a CR that ended a line; zeros of UTF-16 may stand between it and its LF. */
  #isBehindReturn = false;

  constructor(
    matcher: Matcher,
    next: Reading | null,
    isFirst: boolean,
    open: Open,
    found: (span: Span) => void,
  ) {
    const { alphabet } = matcher;
    this.#matcher = matcher;
    this.#table = matcher.table;
    this.#columns = alphabet.columns;
    // A backslash is read over as what escapes; one that escapes nothing is still there where escapes were read once.
    if (isFirst && !alphabet.hasEscapes) this.#columns = alphabet.columns.with(backslash, outside);
    this.#next = next;
    this.#unescape = next === null ? null : new Unescape(next, open);
    this.#found = found;
    const room = 2 ** Math.ceil(Math.log2(matcher.most));
    this.#starts = new Float64Array(room);
    this.#mask = room - 1;
  }

  get heldFrom(): number {
    return Math.min(this.#run, this.#unescape?.pendingFrom ?? Infinity);
  }

  /** Goes on from a state in which the bytes from `run` up to `place` were read, each as a character. */
  begin(state: number, run: number, line: number, place: number): void {
    this.state = state;
    this.line = line;
    this.isClear = false;
    this.#run = run === place ? Infinity : run;
    this.#lastEnd = place;
    this.#over = Infinity;
    this.#isBehindReturn = false;
    const { most } = this.#matcher;
    for (let at = Math.max(run, place - most); at < place; at += 1) {
      this.#starts[this.#count & this.#mask] = at;
      this.#count += 1;
    }
  }

  take(code: number, start: number, end: number): void {
    const column = this.#columns[code]!;
    this.isClear = false;
    if (column === ignored) this.#readOver(start);
    else if (column === lineBreak) this.#break(code, start, end);
    else if (column === outside) this.#clear();
    else this.#lookUp(column, start, end);
    if (this.#unescape !== null) this.#unescape.take(code, start, end);
  }

  /**
   * Finds a rendering that ends within an escape: the credential ends with `%`, and two digits follow that are none of its own.
   * One that begins there, too, has no escape in it, and the reading before this one finds it.
   */
  see(code: number, place: number, end: number): void {
    if (place === 0) {
      this.#ahead = end - this.#lastEnd > mostBytes ? 0 : this.state;
      this.#seen = 0;
    }
    const column = this.#columns[code]!;
    if (column === ignored) return;
    this.steps += 1;
    this.#seen += 1;
    const next = column === lineBreak ? 0 : this.#table[this.#ahead + column]!;
    this.#ahead = next < 0 ? ~next : next;
    if (next >= 0) return;
    const before = this.#matcher.lengthAt(~next) - this.#seen;
    if (before > 0) this.#found({ start: this.#starts[(this.#count - before) & this.#mask]!, end });
  }

  end(): void {
    this.#unescape?.end();
    this.#next?.end();
  }

  #lookUp(column: number, start: number, end: number): void {
    let from = Math.min(start, this.#over);
    this.#over = Infinity;
    // Too far from the one before it.
    if (end - this.#lastEnd > mostBytes) this.state = 0;
    if (end - from > mostBytes) from = start;
    if (this.#run === Infinity) this.#run = this.line = from;
    this.#lastEnd = end;
    this.#isBehindReturn = false;
    this.#starts[this.#count & this.#mask] = from;
    this.#count += 1;
    this.steps += 1;
    const next = this.#table[this.state + column]!;
    this.state = next < 0 ? ~next : next;
    if (next >= 0) return;
    const length = this.#matcher.lengthAt(~next);
    this.#found({ start: this.#starts[(this.#count - length) & this.#mask]!, end });
  }

  #readOver(start: number): void {
    if (this.#over === Infinity) this.#over = start;
    if (this.#run === Infinity) this.#run = this.line = start;
  }

  #break(code: number, start: number, end: number): void {
    if (code === lineFeed && this.#isBehindReturn) this.#isBehindReturn = false;
    else if (this.#run !== Infinity && start - this.line >= wrapped) {
      this.line = end;
      this.#isBehindReturn = code === carriageReturn;
    } else this.#clear();
  }

  #clear(): void {
    this.state = 0;
    this.#isBehindReturn = false;
    this.#run = this.#over = Infinity;
    this.isClear = true;
  }
}
