/**
 * A decoder of escapes, one character at a time: percent-encoding, escapes of JSON and programming languages,
 * character references of HTML. Independent of any credential.
 */

/** Maximum number of input bytes of a character, including the skipped bytes before it. */
export const maxBytes = 64;

/** A consumer of characters. Each is one byte, with its range in the input. */
interface Characters {
  take(code: number, start: number, end: number): void;
  /** Called for a character that may be part of an escape, with its index there and its end in the input. */
  see?(code: number, place: number, end: number): void;
}

/** The number of unfinished escapes in all readings of a search. */
export interface Open {
  escapes: number;
}

/** The effect of one more character on an escape. `complete before`: it ended before this character. */
type Step = 'more' | 'complete' | 'complete before' | 'none';

type Kind =
  | 'percent'
  | 'backslash'
  | 'unicode'
  | 'digits'
  | 'braces'
  | 'octal'
  | 'continued'
  | 'ampersand'
  | 'number'
  | 'decimal'
  | 'hexadecimal'
  | 'name'
  | 'named';

const [percent, backslash, ampersand, semicolon, closing] = Buffer.from('%\\&;}') as unknown as number[];

/** Passes characters to `into`. Decodes each escape, and passes an invalid one unchanged. */
export class Unescape {
  readonly #into: Characters;
  /** The kind of the unfinished escape, or null. */
  #kind: Kind | null = null;
  #value = 0;
  /** Maximum number of digits to come, and number of digits so far. */
  #left = 0;
  #digits = 0;
  #node = 0;
  #pending = 0;
  readonly #codes = new Uint8Array(maxBytes);
  readonly #starts = new Float64Array(maxBytes);
  readonly #ends = new Float64Array(maxBytes);

  readonly #open: Open;

  constructor(into: Characters, open: Open = { escapes: 0 }) {
    this.#into = into;
    this.#open = open;
  }

  /** The start of the unfinished escape in the input, or null. */
  get pendingFrom(): number | null {
    return this.#kind === null ? null : this.#starts[0]!;
  }

  take(code: number, start: number, end: number): void {
    if (this.#kind !== null) {
      const step = end - this.#starts[0]! > maxBytes ? 'none' : this.#step(code);
      if (step === 'more') {
        this.#keep(code, start, end);
        return;
      }
      if (step === 'complete') {
        this.#emit(end);
        return;
      }
      this.#settle(step === 'complete before');
    }
    if (code !== percent && code !== backslash && code !== ampersand) {
      this.#into.take(code, start, end);
      return;
    }
    this.#open.escapes += 1;
    this.#kind = code === percent ? 'percent' : code === backslash ? 'backslash' : 'ampersand';
    this.#value = this.#digits = this.#pending = 0;
    this.#node = 0;
    this.#keep(code, start, end);
  }

  /** Ends the input. */
  end(): void {
    const kind = this.#kind;
    if (kind === null) return;
    const isComplete = kind === 'decimal' || kind === 'octal' || kind === 'named' || kind === 'continued';
    this.#settle(isComplete || (kind === 'hexadecimal' && this.#digits > 0));
  }

  #keep(code: number, start: number, end: number): void {
    this.#codes[this.#pending] = code;
    this.#starts[this.#pending] = start;
    this.#ends[this.#pending] = end;
    this.#into.see?.(code, this.#pending, end);
    this.#pending += 1;
  }

  #settle(isComplete: boolean): void {
    if (isComplete) {
      this.#emit(this.#ends[this.#pending - 1]!);
      return;
    }
    this.#kind = null;
    this.#open.escapes -= 1;
    for (let i = 0; i < this.#pending; i += 1)
      this.#into.take(this.#codes[i]!, this.#starts[i]!, this.#ends[i]!);
  }

  #emit(end: number): void {
    const start = this.#starts[0]!;
    const value = this.#value;
    this.#kind = null;
    this.#open.escapes -= 1;
    if (value <= 0) return;
    if (value < 0x100) this.#into.take(value, start, end);
    else
      for (const byte of Buffer.from(String.fromCodePoint(Math.min(value, 0x10_ffff))))
        this.#into.take(byte, start, end);
  }

  #step(code: number): Step {
    switch (this.#kind!) {
      case 'percent':
        return isLetter(code, 'u') ? this.#wants('digits', 4) : this.#first(code, 2);
      case 'backslash':
        return this.#escape(code);
      case 'unicode':
        return code === 0x7b ? this.#wants('braces', 8) : this.#first(code, 4);
      case 'digits':
        return this.#digit(code, 16) ? (this.#left === 0 ? 'complete' : 'more') : 'none';
      case 'braces':
        if (code === closing && this.#digits > 0) return 'complete';
        return this.#left > 0 && this.#digit(code, 16) ? 'more' : 'none';
      case 'octal':
        if (this.#value > 0x1f || !this.#digit(code, 8)) return 'complete before';
        return this.#left === 0 ? 'complete' : 'more';
      case 'continued':
        return code === 0x0a ? 'complete' : 'complete before';
      case 'ampersand':
        if (code === 0x23) return this.#wants('number', maxBytes);
        return this.#letter(code);
      case 'number':
        if (isLetter(code, 'x')) return this.#wants('hexadecimal', maxBytes);
        this.#kind = 'decimal';
        return this.#digit(code, 10) ? 'more' : 'none';
      case 'decimal':
        if (code === semicolon) return 'complete';
        return this.#digit(code, 10) ? 'more' : 'complete before';
      case 'hexadecimal':
        if (this.#digit(code, 16)) return 'more';
        return this.#digits === 0 ? 'none' : code === semicolon ? 'complete' : 'complete before';
      case 'name':
        return this.#letter(code);
      case 'named':
        return code === semicolon ? 'complete' : 'complete before';
    }
  }

  /** RFC 8259 §7, and the escapes of other languages. Otherwise a backslash is not an escape. */
  #escape(code: number): Step {
    if (isLetter(code, 'u')) return this.#wants('unicode', 0);
    if (isLetter(code, 'x')) return this.#wants('digits', 2);
    if (code === 0x0d) {
      this.#value = 0;
      this.#kind = 'continued';
      return 'more';
    }
    const short = shortEscapes.get(code);
    if (short !== undefined) {
      this.#value = short;
      return 'complete';
    }
    this.#left = 3;
    this.#kind = 'octal';
    return this.#digit(code, 8) ? 'more' : 'none';
  }

  #wants(kind: Kind, digits: number): Step {
    this.#kind = kind;
    this.#left = digits;
    return 'more';
  }

  #first(code: number, digits: number): Step {
    this.#wants('digits', digits);
    return this.#digit(code, 16) ? 'more' : 'none';
  }

  #digit(code: number, base: number): boolean {
    const digit = hexValues[code]!;
    if (digit >= base) return false;
    this.#value = Math.min(this.#value * base + digit, 0x11_0000);
    this.#left -= 1;
    this.#digits += 1;
    return true;
  }

  #letter(code: number): Step {
    const node = references[this.#node * 128 + code] ?? 0;
    if (node === 0 || code >= 128) return 'none';
    this.#kind = node > 0 ? 'name' : 'named';
    this.#node = node;
    this.#value = -node;
    return 'more';
  }
}

function isLetter(code: number, letter: string): boolean {
  return (code | 0x20) === letter.charCodeAt(0);
}

/** Returns the value of a hex digit. 16: not a hex digit. */
export function hexValue(byte: number): number {
  return hexValues[byte]!;
}

const hexValues = Uint8Array.from({ length: 256 }, (_, byte) => {
  const at = '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase());
  return at < 0 ? 16 : at;
});

const shortEscapes: ReadonlyMap<number, number> = new Map(
  Object.entries({ b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', '\\': '\\', '\n': '\0' }).map(
    ([letter, meant]) => [letter.charCodeAt(0), meant.charCodeAt(0)],
  ),
);

/**
 * Named character references of HTML, each with its character. Browsers accept some without the semicolon. A
 * table entry, for a node and a letter, is the next node, or the negated code of the character.
 */
const references: Int16Array = trieOf({
  ...Object.fromEntries(
    `amp & AMP & lt < LT < gt > GT > quot " QUOT " apos ' plus + sol / bsol \\ equals = colon : semi ; comma ,
    lowbar _ UnderBar _ hyphen - dash - period . excl ! quest ? num # dollar $ percnt % ast * midast * commat @
    lpar ( rpar ) lsqb [ lbrack [ rsqb ] rbrack ] lcub { lbrace { rcub } rbrace } verbar | vert | grave \` Hat ^`
      .split(/\s+/)
      .reduce<[string, string][]>(
        (pairs, text, at, all) => (at % 2 === 0 ? [...pairs, [text, all[at + 1]!]] : pairs),
        [],
      ),
  ),
  nbsp: ' ',
  Tab: '\t',
  NewLine: '\n',
});

function trieOf(names: Readonly<Record<string, string>>): Int16Array {
  const trie = new Int16Array(Object.keys(names).join('').length * 128);
  let made = 0;
  for (const [name, meant] of Object.entries(names)) {
    let node = 0;
    for (const [index, code] of Buffer.from(name).entries()) {
      const at = node * 128 + code;
      if (index === name.length - 1) trie[at] = -meant.charCodeAt(0);
      else node = trie[at] ||= made += 1;
    }
  }
  return trie;
}

/** Returns a named reference that ends with a semicolon, or null if there is none within these bytes. */
export function referenceAt(
  bytes: Buffer,
  start: number,
): { readonly value: number; readonly length: number } | null {
  let node = 0;
  for (let at = start + 1; at < bytes.length; at += 1) {
    const code = bytes[at]!;
    if (code >= 128) return null;
    node = references[node * 128 + code]!;
    if (node === 0) return null;
    if (node < 0) return bytes[at + 1] === semicolon ? { value: -node, length: at + 2 - start } : null;
  }
  return null;
}

/** Returns a text with its escapes decoded. */
export function unescaped(bytes: Buffer): Buffer {
  const codes: number[] = [];
  const reader = new Unescape({ take: (code) => void codes.push(code) });
  for (const [at, byte] of bytes.entries()) reader.take(byte, at, at + 1);
  reader.end();
  return Buffer.from(codes);
}
