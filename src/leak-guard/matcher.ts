import { type Alphabet, alphabetOf, isGuardable, renderingsOf } from './renderings.ts';
import { mostBytes } from './unescape.ts';

/** The entry of a byte that is no matter of one look-up. */
export const stop = -0x8000_0000;

/**
 * The renderings of a credential in one table (Aho and Corasick, 1975), made at once: a character costs one look-up, whatever
 * it is. The size of the table depends on the form of the credential alone, which is what its characters are at most (see
 * `Alphabet`) and how many there are; so does the work to make it.
 */
export class Matcher {
  readonly alphabet: Alphabet;
  /**
   * From a state (where its row begins) and a column to the next state; its complement where a rendering ends there; `stop`
   * from the column of odd bytes. State 0: nothing has begun.
   */
  readonly table: Int32Array;
  /** Characters, and bytes of the input, of the longest rendering. */
  readonly most: number;
  readonly longest: number;
  /** Of each row: characters of the longest rendering that ends there. */
  readonly #ends: Uint32Array;

  /** @param texts each a character a byte, and long enough to be told from chance; at least one */
  constructor(texts: readonly string[]) {
    this.alphabet = alphabetOf(texts);
    const { width } = this.alphabet;
    const renderings = texts.flatMap((text) => renderingsOf(text, this.alphabet));
    // Bounds that no shared beginning and no escape within a secret makes smaller.
    this.most = Math.max(...texts.map((text) => 2 * text.length));
    this.longest = this.most * mostBytes;
    const rows = 1 + texts.reduce((sum, { length }) => sum + 8 * length + 8, 0);
    const table = new Int32Array(rows * width);
    const ends = new Uint32Array(rows);
    let made = 1;
    for (const rendering of renderings) {
      let row = 0;
      for (const column of rendering) row = table[row * width + column] ||= made++;
      ends[row] = Math.max(ends[row]!, rendering.length);
    }
    const fallbacks = new Int32Array(rows);
    const queue = new Int32Array(rows);
    let queued = 1;
    for (let turn = 0; turn < rows; turn += 1) {
      // Rows that nothing leads to take their turn, too: the work tells nothing of how many these are.
      const row = turn < queued ? queue[turn]! : turn;
      const fallback = fallbacks[row]!;
      for (let column = 1; column < width; column += 1) {
        const at = row * width + column;
        const beside = row === 0 ? 0 : table[fallback * width + column]!;
        const next = table[at]!;
        if (next === 0) table[at] = beside;
        else {
          fallbacks[next] = beside;
          ends[next] = Math.max(ends[next]!, ends[beside]!);
          queue[queued++] = next;
        }
      }
    }
    for (let at = 0; at < table.length; at += 1) {
      const row = table[at]!;
      table[at] = ends[row] === 0 ? row * width : ~(row * width);
    }
    for (let at = this.alphabet.odd; at < table.length; at += width) table[at] = stop;
    this.table = table;
    this.#ends = ends;
  }

  /** Characters of the longest rendering that ends in a state. */
  lengthAt(state: number): number {
    return this.#ends[state / this.alphabet.width]!;
  }
}

/** The secrets of one credential: one object as long as it is opened. Each a character a byte, as in a header field. */
export interface GuardedSecrets {
  readonly texts: readonly string[];
}

const matchers = new WeakMap<GuardedSecrets, Matcher | null>();

/**
 * What finds them; made when it is first asked for, gone from memory together with them. Those that are too short are not
 * looked for. Null: all are.
 */
export function matcherFor(secrets: GuardedSecrets): Matcher | null {
  let matcher = matchers.get(secrets);
  if (matcher === undefined) {
    const texts = secrets.texts.filter(isGuardable);
    matcher = texts.length === 0 ? null : new Matcher(texts);
    matchers.set(secrets, matcher);
  }
  return matcher;
}
