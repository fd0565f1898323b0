import { LRUCache } from 'lru-cache';
import { base64Within } from '../../lib/text.ts';
import { maxBytes, unescaped } from './unescape.ts';

/** Minimum number of characters of a guarded secret. Shorter ones occur in ordinary text by chance. */
const minGuardedLength = 8;

/** The column of bytes outside of all renderings. The search restarts after such a byte. */
export const outside = 0;
/** The columns of bytes to skip, and of CR and LF, which may occur inside Base64. */
export const ignored = 255;
export const lineBreak = 254;
export const backslash = 0x5c;

/**
 * A set of characters, each with its column in the automaton's table. A column is shared by both cases of a
 * letter, and by characters in which the two Base64 alphabets differ. There are only three sets, so that the
 * choice reveals nothing more about a credential.
 */
interface Alphabet {
  readonly columns: Uint8Array;
  /** Like `columns`, but bytes that need more than one look-up have the last column, `odd`. */
  readonly plain: Uint8Array;
  readonly odd: number;
  readonly width: number;
  /** True if a credential may contain the characters that start an escape. */
  readonly hasEscapes: boolean;
}

/** A spelling of a credential, as columns. */
type Rendering = readonly number[];

const token = alphabet(/[A-Za-z0-9+/_.~:-]/, false);
const printable = alphabet(/[ -~]/, true);
const any = alphabet(/[^\0]/, true);

function alphabet(characters: RegExp, hasEscapes: boolean): Alphabet {
  const columns = new Uint8Array(256);
  const columnOf = new Map<string, number>();
  for (let byte = 1; byte < 256; byte += 1) {
    const letter = String.fromCharCode(byte);
    if (characters.test(letter)) {
      const key = keyOf(letter, byte);
      const column = columnOf.get(key) ?? columnOf.size + 1;
      columnOf.set(key, column);
      columns[byte] = column;
    } else if (letter === '\r' || letter === '\n') columns[byte] = lineBreak;
  }
  columns[backslash] = ignored;
  // First bytes of U+0080 to U+00FF in UTF-8. The next byte ends with the same six bits as in Latin-1.
  if (columns[0xc2] !== outside) columns.fill(ignored, 0xc2, 0xc4);
  const odd = columnOf.size + 1;
  const plain = columns.map((column) => (column === ignored || column === lineBreak ? odd : column));
  for (const byte of [0, ...Buffer.from('%&\\')]) plain[byte] = odd;
  return { columns, plain, odd, width: odd + 1, hasEscapes };
}

function keyOf(letter: string, byte: number): string {
  if (byte >= 0x80) return `high ${byte & 0x3f}`;
  if (byte < 0x20 || byte === 0x7f) return 'control';
  // Forms write a space as `+`, and base64url writes `+` as `-` (RFC 4648 §5).
  if (' +-'.includes(letter)) return '-';
  return letter === '/' ? '_' : letter.toLowerCase();
}

/** Returns the smallest alphabet that contains all characters of the texts. */
function alphabetOf(texts: readonly string[]): Alphabet {
  const all = texts.map(withoutPadding).join('');
  if (/^[A-Za-z0-9+/_.~:-]*$/.test(all)) return token;
  return /^[ -~]*$/.test(all) ? printable : any;
}

/** Reports whether a secret is long enough to search for. */
export function isGuardable(secret: string): boolean {
  return symbolsOf(withoutPadding(secret), alphabetOf([secret])).length >= minGuardedLength;
}

/**
 * Returns the spellings of a secret to search for: unchanged, with its escapes decoded, in hex, and in Base64
 * at each of its three possible offsets in a longer text.
 *
 * @param secret latin1: one character for each byte
 */
function renderingsOf(secret: string, of: Alphabet): readonly Rendering[] {
  const bytes = Buffer.from(secret, 'latin1');
  const plain = withoutPadding(secret);
  const texts = [
    plain,
    ...(of.hasEscapes ? [unescaped(Buffer.from(plain, 'latin1')).toString('latin1')] : []),
    bytes.toString('hex'),
    ...[0, 1, 2].map((offset) => base64Within(bytes, offset)),
  ];
  return texts.map((text) => symbolsOf(text, of)).filter(({ length }) => length >= minGuardedLength);
}

function symbolsOf(text: string, { columns }: Alphabet): Rendering {
  return Array.from(text, (letter) => columns[letter.charCodeAt(0)]!).filter(
    (column) => column !== ignored && column !== outside,
  );
}

/** Base64 occurs with and without its padding. */
function withoutPadding(secret: string): string {
  const bare = secret.replace(/={1,2}$/, '');
  return bare.length >= minGuardedLength ? bare : secret;
}

/** The table entry for the column `odd`. */
export const stop = -0x8000_0000;

/**
 * The automaton that finds the renderings of a credential (Aho and Corasick, 1975). Each character costs one
 * look-up. Table size and build time depend only on the credential's alphabet and length.
 */
export class Matcher {
  readonly alphabet: Alphabet;
  /**
   * The next state, for a state (the offset of its row) plus a column. A state in which a rendering ends is
   * stored as its complement. The column `odd` has `stop`. The start is state 0.
   */
  readonly table: Int32Array;
  /** Length of the longest rendering in characters, and in bytes of the input. */
  readonly maxLength: number;
  readonly maxInputBytes: number;
  /** For each row, the length in characters of the longest rendering that ends there. */
  readonly #ends: Uint32Array;

  /** @param texts at least one; each in latin1, and `isGuardable` */
  constructor(texts: readonly string[]) {
    this.alphabet = alphabetOf(texts);
    const { width } = this.alphabet;
    const renderings = texts.flatMap((text) => renderingsOf(text, this.alphabet));
    // These bounds depend only on the lengths, not on shared prefixes or escapes within a secret.
    this.maxLength = Math.max(...texts.map((text) => 2 * text.length));
    this.maxInputBytes = this.maxLength * maxBytes;
    const rows = 1 + texts.reduce((sum, { length }) => sum + 8 * length + 8, 0);
    const table = new Int32Array(rows * width);
    const ends = new Uint32Array(rows);
    table[this.alphabet.odd] = stop;
    const last = new Int32Array(renderings.length);
    let made = 1;
    for (let depth = 0; depth < this.maxLength; depth += 1) {
      // The new rows, by their entry in the table. It still has the state without them: their fallback.
      const added = new Map<number, number>();
      for (let i = 0; i < renderings.length; i += 1) {
        const { length, [depth]: column } = renderings[i]!;
        if (column === undefined) continue;
        const entry = last[i]! * width + column;
        let row = added.get(entry);
        if (row === undefined) added.set(entry, (row = made++));
        if (depth === length - 1) ends[row] = length;
        last[i] = row;
      }
      const first = made - added.size;
      const fallbacks: number[] = [];
      for (const [entry, row] of added) {
        const fallback = Math.max(table[entry]!, ~table[entry]!);
        fallbacks.push(fallback);
        ends[row] = Math.max(ends[row]!, ends[fallback / width]!);
        table[entry] = ends[row] === 0 ? row * width : ~(row * width);
      }
      for (let i = 0; i < fallbacks.length; i += 1)
        table.copyWithin((first + i) * width, fallbacks[i]!, fallbacks[i]! + width);
    }
    // Unused rows are filled too, so that the time does not reveal their number.
    for (; made < rows; made += 1) table.copyWithin(made * width, 0, width);
    this.table = table;
    this.#ends = ends;
  }

  /** Returns the length in characters of the longest rendering that ends in a state. */
  lengthAt(state: number): number {
    return this.#ends[state / this.alphabet.width]!;
  }
}

/** The secrets of a credential, in latin1. This object exists as long as the opened credential. */
export interface GuardedSecrets {
  readonly texts: readonly string[];
}

/** Bound of the automata in bytes: about 75 kB for a key of 40 characters, and 1.4 MB for a JWT of 1,000. */
const maxTableBytes = 134_217_728;

const matchers = new LRUCache<GuardedSecrets, { readonly matcher: Matcher | null }>({
  maxSize: maxTableBytes,
  sizeCalculation: ({ matcher }) => 1_000 + (matcher?.table.byteLength ?? 0),
});

/**
 * Returns the automaton for the secrets that are long enough, or null if there are none. Built at the first
 * call, and again if it was not used for long.
 */
export function matcherFor(secrets: GuardedSecrets): Matcher | null {
  let kept = matchers.get(secrets);
  if (kept === undefined) {
    const texts = secrets.texts.filter(isGuardable);
    kept = { matcher: texts.length === 0 ? null : new Matcher(texts) };
    matchers.set(secrets, kept);
  }
  return kept.matcher;
}
