import { lineBreak, type Matcher, outside, stop } from './patterns.ts';
import { isWrapped, Reading, type Span } from './reading.ts';
import { hexValue, type Open, referenceAt } from './unescape.ts';

/**
 * Searches a stream for the renderings of a credential: in the bytes as they are, and with their escapes
 * decoded once and twice (three times if the credential may contain an escape).
 *
 * Until a whole rendering is found, the number of steps and the held bytes depend only on the input and on
 * the form of the credential. Otherwise an upstream could find out a credential bit by bit.
 */
export class Search {
  /** Number of table look-ups. */
  steps = 0;
  readonly #matcher: Matcher;
  /** The column of each byte; see `Alphabet`. */
  readonly #plain: Uint8Array;
  readonly #odd: number;
  /** One reading for each number of decodings. While no byte is decoded, two states replace them. */
  #readings: readonly Reading[] = [];
  #isSplit = false;
  /** The state of the reading without decoding, and the start of the bytes that may be a rendering. */
  #state = 0;
  #run = 0;
  /** State and start for the other readings. */
  #later = 0;
  #laterRun = 0;
  #line = 0;
  /** The last byte of the previous piece. */
  #last = 0;
  readonly #open: Open = { escapes: 0 };
  /** Number of bytes since the last one that a reading decodes. */
  #same = 0;
  #offset = 0;
  #found: Span[] = [];

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
    this.#plain = matcher.alphabet.plain;
    this.#odd = matcher.alphabet.odd;
  }

  /** Returns the renderings that end in the piece, as ranges of the whole input. */
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
    this.#last = bytes.at(-1) ?? this.#last;
    return this.#taken();
  }

  /** Ends the search. The next piece starts another one. */
  end(): readonly Span[] {
    if (this.#isSplit) this.#readings[0]!.end();
    this.#isSplit = false;
    this.#clear(this.#offset);
    return this.#taken();
  }

  /** The start of the longest input suffix that may begin a rendering of any credential of this form. */
  get heldFrom(): number {
    let from = this.#isSplit ? Infinity : Math.min(this.#run, this.#laterRun);
    if (this.#isSplit) for (const reading of this.#readings) from = Math.min(from, reading.heldFrom);
    return Math.min(this.#offset, Math.max(from, this.#offset - this.#matcher.maxInputBytes));
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

  /** Reads while all readings are in the same state. */
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

  /** Reads while each byte is one character in all readings, and the first reading differs in its state. */
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

  /** Reads up to the end of a rendering, or an odd byte. Minimal: a larger loop would double its time. */
  #scan(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    const { table } = this.#matcher;
    const { length } = bytes;
    let state = this.#state;
    let at = from;
    while (at < length) {
      const column = plain[bytes[at]!]!;
      // The table contains the same state. This saves the dependent look-up.
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

  /** Reads an odd byte and its escape. Returns the index of the next byte. */
  #readOdd(bytes: Buffer, at: number): number {
    const byte = bytes[at]!;
    const { columns, hasEscapes } = this.#matcher.alphabet;
    const place = this.#offset + at;
    if (columns[byte] === lineBreak) {
      if (!this.#isWrappedAt(bytes, at)) {
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
    this.#split(place, this.#before(bytes, at));
    return at;
  }

  /** Reports whether Base64 may continue after a line break. */
  #isWrappedAt(bytes: Buffer, at: number): boolean {
    return isWrapped(this.#offset + at - this.#line, this.#before(bytes, at));
  }

  #before(bytes: Buffer, at: number): number {
    return at === 0 ? this.#last : bytes[at - 1]!;
  }

  /** Reads an escape of an `outside` character. Its first byte ends the renderings of other readings. */
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
   * Returns the length of an escape whose character is outside of all renderings and other escapes. 1: not an
   * escape. 0: it must be read character by character.
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

  /** `\t`, `\n` and `\r` where Base64 does not continue, and `\u` of a character outside ASCII. */
  #outsideEscape(bytes: Buffer, at: number, letter: number): number {
    if (letter === 0x74) return 2;
    if (letter === 0x6e || letter === 0x72) return this.#isWrappedAt(bytes, at) ? 0 : 2;
    if (letter !== 0x75 || at + 5 >= bytes.length) return 0;
    let value = 0;
    for (let digit = at + 2; digit < at + 6; digit += 1) value = value * 16 + hexValue(bytes[digit]!);
    return value >= 0x80 && allHex(bytes, at + 2, at + 6) ? 6 : 0;
  }

  #outsideReference(bytes: Buffer, at: number): number {
    const found = referenceAt(bytes, at);
    return found !== null && this.#plain[found.value] === outside ? found.length : 0;
  }

  #split(place: number, last: number): void {
    if (this.#readings.length === 0) {
      const levels = this.#matcher.alphabet.hasEscapes ? 4 : 3;
      const readings: Reading[] = [];
      const owner = { open: this.#open, found: (span: Span) => void this.#found.push(span) };
      for (let level = 0; level < levels; level += 1)
        readings.unshift(new Reading(this.#matcher, readings[0] ?? null, level === levels - 1, owner));
      this.#readings = readings;
    }
    for (let i = 0; i < this.#readings.length; i += 1)
      this.#readings[i]!.begin(
        i === 0 ? this.#state : this.#later,
        i === 0 ? this.#run : this.#laterRun,
        this.#line,
        place,
        last,
      );
    this.#isSplit = true;
    this.#same = 0;
  }

  /** Reads until all readings are in the same state again. */
  #readSplit(bytes: Buffer, from: number): number {
    const plain = this.#plain;
    const readings = this.#readings;
    const first = readings[0]!;
    for (let at = from; at < bytes.length; at += 1) {
      const byte = bytes[at]!;
      const place = this.#offset + at;
      if (byte === 0) {
        // UTF-16 and UTF-32 have up to three zeros beside each byte of ASCII.
        this.#same = 0;
        continue;
      }
      first.take(byte, place, place + 1);
      this.#same = this.#open.escapes === 0 && plain[byte] !== this.#odd ? this.#same + 1 : 0;
      if (this.#open.escapes > 0) continue;
      const isClear = first.isClear && readings.every((reading) => reading.isClear);
      if (!isClear && this.#same < this.#matcher.maxLength) continue;
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
