import { done } from './character.ts';
import type { Rendering } from './renderings.ts';

/**
 * Finds renderings in bytes that come in pieces. What is looked for is a nondeterministic automaton; the deterministic one
 * that a fast scan needs is made of it as text is met, and forgotten where it grows too large: a byte costs one look-up in
 * a table, and memory is bounded whatever comes.
 *
 * A state of the nondeterministic automaton is a number: the character that is next, and the node within that character.
 */
export class Automaton {
  /** Bytes of the longest text that may be one rendering. */
  readonly longest: number;
  /** A byte that stands in no rendering: what replaces one cannot be a part of another. */
  readonly mask: number;
  readonly #characters: Rendering;
  readonly #isLast: Uint8Array;
  /** Of each character: how many stand before it in its rendering. */
  readonly #depth: Uint32Array;
  readonly #starts: readonly number[];
  /** A byte to its column of the table; bytes that stand in no rendering share the first one. */
  readonly #columns = new Uint16Array(256);
  readonly #width: number;
  /** Of each byte: 1 where a rendering may begin with it. */
  readonly #begins = new Uint8Array(256);
  #rows: Row[] = [];
  #ids = new Map<string, number>();
  /**
   * From a state (where its row begins) and a column to the next state; `accepts` has it where a rendering ends, `unknown`
   * stands for what was not met yet. State 0: nothing has begun.
   */
  #table: Int32Array;

  /** @param renderings none is empty */
  constructor(renderings: readonly Rendering[]) {
    this.#characters = renderings.flat();
    this.#isLast = new Uint8Array(this.#characters.length);
    this.#depth = new Uint32Array(this.#characters.length);
    const starts: number[] = [];
    let at = 0;
    for (const { length } of renderings) {
      starts.push(at * stride);
      for (let i = 0; i < length; i += 1) this.#depth[at + i] = i;
      at += length;
      this.#isLast[at - 1] = 1;
    }
    this.#starts = starts;
    for (const [first] of renderings)
      for (const byte of first!.forms.bytes.subarray(0, first!.forms.begins[1])) this.#begins[byte] = 1;
    // As UTF-16 and UTF-32 have it, up to three zeros stand beside each byte.
    this.longest =
      4 * Math.max(...renderings.map((each) => each.reduce((sum, { longest }) => sum + longest, 0)));
    const own = new Set(this.#characters.flatMap(({ any }) => any));
    const isAscii = [...own].every((byte) => byte < 0x80);
    let columns = 2;
    // What writes a character is ASCII, unless that is none itself.
    for (let byte = 1; byte < (isAscii ? 0x80 : 0x100); byte += 1) this.#columns[byte] = columns++;
    this.#columns[0] = 1;
    this.#width = columns;
    this.mask = masks.find((byte) => !own.has(byte)) ?? lastMask;
    this.#table = new Int32Array(firstRows * columns).fill(unknown);
    this.#intern([]);
  }

  /**
   * Goes on from `cursor` through the bytes from `at`. True: a rendering ends before `cursor.at`. False: all was read.
   */
  run(cursor: Cursor, bytes: Buffer, at: number): boolean {
    const columns = this.#columns;
    const begins = this.#begins;
    let table = this.#table;
    let { state, idle } = cursor;
    for (let i = at; i < bytes.length; i += 1) {
      if (state === 0) {
        // Most of an ordinary text is no beginning.
        const from = i;
        while (i < bytes.length && begins[bytes[i]!] === 0) i += 1;
        if (i > from) idle = i;
        if (i === bytes.length) break;
      }
      const column = columns[bytes[i]!]!;
      let next = table[state + column]!;
      if (next === unknown) {
        next = this.#learn(state, bytes[i]!);
        table = this.#table;
      }
      if (next > 0) state = next;
      else if (next === 0) {
        state = 0;
        idle = i + 1;
      } else {
        cursor.state = accepts - next;
        cursor.idle = idle;
        cursor.at = i + 1;
        return true;
      }
    }
    cursor.state = state;
    cursor.idle = idle;
    cursor.at = bytes.length;
    return false;
  }

  /** What is under way, as it can be kept: a state may be forgotten. */
  underWay(state: number): readonly number[] {
    return this.#rows[state / this.#width]!.states;
  }

  /** How many characters of a rendering have come, of the one of which most have. */
  depthOf(state: number): number {
    return this.#rows[state / this.#width]!.depth;
  }

  /** The state of what is under way. */
  stateOf(states: readonly number[]): number {
    return states.length === 0 ? 0 : this.#intern(states);
  }

  /**
   * Where the first rendering begins that ends with these bytes; null: none does.
   *
   * @param underWay what had begun before them; it begins at 0
   */
  startOf(bytes: Buffer, underWay: readonly number[]): number | null {
    let begun = new Map<number, number>(underWay.map((state) => [state, 0]));
    let found: number | null = null;
    for (let i = 0; i < bytes.length; i += 1) {
      const byte = bytes[i]!;
      if (byte === 0) continue;
      found = null;
      const next = new Map<number, number>();
      const visit = (state: number, start: number): void => {
        this.#follow(
          state,
          byte,
          (target) => {
            const other = next.get(target);
            if (other === undefined || start < other) next.set(target, start);
          },
          () => {
            if (found === null || start < found) found = start;
          },
        );
      };
      for (const [state, start] of begun) visit(state, start);
      for (const state of this.#starts) visit(state, i);
      begun = next;
    }
    return found;
  }

  #follow(state: number, byte: number, next: (state: number) => void, ended: () => void): void {
    const character = Math.floor(state / stride);
    const node = state % stride;
    const { begins, bytes, targets } = this.#characters[character]!.forms;
    for (let edge = begins[node]!; edge < begins[node + 1]!; edge += 1) {
      if (bytes[edge] !== byte) continue;
      const target = targets[edge]!;
      if (target !== done) next(character * stride + target);
      else if (this.#isLast[character] === 1) ended();
      else next((character + 1) * stride);
    }
  }

  /** Enters what a byte leads to. It may forget all other states. */
  #learn(state: number, byte: number): number {
    const row = this.#rows[state / this.#width]!;
    const next = new Set<number>();
    let isEnd = false;
    if (byte === 0) for (const kept of row.states) next.add(kept);
    else {
      for (const from of [...row.states, ...this.#starts])
        this.#follow(
          from,
          byte,
          (target) => next.add(target),
          () => (isEnd = true),
        );
    }
    const id = this.#intern([...next].toSorted((a, b) => a - b));
    const entry = isEnd ? accepts - id : id;
    if (this.#rows[state / this.#width] === row) this.#table[state + this.#columns[byte]!] = entry;
    return entry;
  }

  #intern(states: readonly number[]): number {
    const key = states.join();
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    if (this.#rows.length >= mostRows) {
      this.#rows = [];
      this.#ids = new Map();
      this.#table.fill(unknown);
      this.#intern([]);
    }
    const id = this.#rows.length * this.#width;
    const depth = states.reduce((most, state) => Math.max(most, this.#depth[Math.floor(state / stride)]!), 0);
    this.#rows.push({ states, depth });
    this.#ids.set(key, id);
    if (id + this.#width > this.#table.length) {
      const table = new Int32Array(this.#table.length * 2).fill(unknown);
      table.set(this.#table);
      this.#table = table;
    }
    return id;
  }
}

/** Where a scan is. */
export interface Cursor {
  state: number;
  /** Behind what was read last. */
  at: number;
  /** Behind the last byte that no rendering goes on from. */
  idle: number;
}

interface Row {
  readonly states: readonly number[];
  readonly depth: number;
}

/** More than any character has nodes. */
const stride = 4_096;
const unknown = -1;
/** Less the state: a rendering ends there. */
const accepts = -2;
const firstRows = 32;
const mostRows = 1_024;

/** What may stand in for a secret: none of them escapes anything, nor ends a text of JSON or a tag. */
const masks = Array.from('*~!^|@$?', (letter) => letter.charCodeAt(0));
const lastMask = 0x7f;
