import { backslash, ignored, lineBreak, type Matcher, outside } from './patterns.ts';
import { maxBytes, type Open, Unescape } from './unescape.ts';

/** A range of the input. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Minimum length of a wrapped line of Base64. Lines of MIME have 76 (RFC 2045 §6.8), of PEM 64. */
const minWrappedLine = 60;

/** 1: the byte is in a Base64 alphabet (RFC 4648 §4 and §5), without padding, which ends the text. */
const base64Bytes = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[A-Za-z0-9+/_-]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** Reports whether Base64 may continue after a line of this length with this last character. */
export function isWrapped(length: number, last: number): boolean {
  return length >= minWrappedLine && base64Bytes[last] === 1;
}

const [carriageReturn, lineFeed] = [0x0d, 0x0a];

/** The parts that the readings of one input share. */
interface ReadingOwner {
  readonly open: Open;
  readonly found: (span: Span) => void;
}

/** The input after a number of decodings. Decodes it once more for the next reading. */
export class Reading {
  steps = 0;
  state = 0;
  /** The start of the line, for Base64 with line breaks. */
  line = 0;
  /** True if the last character is outside of all renderings. */
  isClear = true;
  readonly #table: Int32Array;
  readonly #columns: Uint8Array;
  readonly #matcher: Matcher;
  readonly #found: (span: Span) => void;
  readonly #next: Reading | null;
  readonly #unescape: Unescape | null;
  /** The starts of the last characters in the input, as a ring buffer. */
  readonly #starts: Float64Array;
  readonly #mask: number;
  #count = 0;
  /** The start of the characters that may be a rendering; Infinity if there are none. */
  #run = Infinity;
  #lastEnd = 0;
  /** The last character other than skipped ones and line breaks. */
  #last = 0;
  /** The start of the skipped characters; Infinity if the last character was not skipped. */
  #skippedFrom = Infinity;
  /** The state after the characters of an unfinished escape, each read as itself, and their number. */
  #ahead = 0;
  #seen = 0;
  /** True after a CR that ended a line. Zeros of UTF-16 may precede its LF. */
  #isBehindReturn = false;

  constructor(matcher: Matcher, next: Reading | null, isFirst: boolean, { open, found }: ReadingOwner) {
    const { alphabet } = matcher;
    this.#matcher = matcher;
    this.#table = matcher.table;
    this.#columns = alphabet.columns;
    // Later readings skip a backslash, which may remain from nested escapes. The first reading does not.
    if (isFirst && !alphabet.hasEscapes) this.#columns = alphabet.columns.with(backslash, outside);
    this.#next = next;
    this.#unescape = next === null ? null : new Unescape(next, open);
    this.#found = found;
    const room = 2 ** Math.ceil(Math.log2(matcher.maxLength));
    this.#starts = new Float64Array(room);
    this.#mask = room - 1;
  }

  get heldFrom(): number {
    return Math.min(this.#run, this.#unescape?.pendingFrom ?? Infinity);
  }

  /** Continues from a state after the bytes from `run` to `place`, each a character; `last` is the last. */
  begin(state: number, run: number, line: number, place: number, last: number): void {
    this.state = state;
    this.#last = last;
    this.line = line;
    this.isClear = false;
    this.#run = run === place ? Infinity : run;
    this.#lastEnd = place;
    this.#skippedFrom = Infinity;
    this.#isBehindReturn = false;
    const { maxLength } = this.#matcher;
    for (let at = Math.max(run, place - maxLength); at < place; at += 1) {
      this.#starts[this.#count & this.#mask] = at;
      this.#count += 1;
    }
  }

  take(code: number, start: number, end: number): void {
    const column = this.#columns[code]!;
    this.isClear = false;
    if (column === ignored) this.#skip(start);
    else if (column === lineBreak) this.#break(code, start, end);
    else if (column === outside) this.#clear();
    else {
      this.#last = code;
      this.#lookUp(column, start, end);
    }
    if (this.#unescape !== null) this.#unescape.take(code, start, end);
  }

  /**
   * Finds a rendering that ends within an escape: a credential that ends with `%`, before two hex digits of
   * other text. If it also begins there, the previous reading finds it.
   */
  see(code: number, place: number, end: number): void {
    if (place === 0) {
      this.#ahead = end - this.#lastEnd > maxBytes ? 0 : this.state;
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
    let from = Math.min(start, this.#skippedFrom);
    this.#skippedFrom = Infinity;
    if (end - this.#lastEnd > maxBytes) this.state = 0;
    if (end - from > maxBytes) from = start;
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

  #skip(start: number): void {
    if (this.#skippedFrom === Infinity) this.#skippedFrom = start;
    if (this.#run === Infinity) this.#run = this.line = start;
  }

  #break(code: number, start: number, end: number): void {
    if (code === lineFeed && this.#isBehindReturn) this.#isBehindReturn = false;
    else if (this.#run !== Infinity && isWrapped(start - this.line, this.#last)) {
      this.line = end;
      this.#isBehindReturn = code === carriageReturn;
    } else this.#clear();
  }

  #clear(): void {
    this.state = 0;
    this.#isBehindReturn = false;
    this.#run = this.#skippedFrom = Infinity;
    this.isClear = true;
  }
}
