import type { Automaton, Cursor } from './automaton.ts';
import { shortestGuarded } from './renderings.ts';

/**
 * Where fewer first characters of a secret have come, they go on if nothing follows for now: a stream must not stand still,
 * and its client not wait for a byte, since a message ends with the letter that the secret begins with.
 */
const fewest = 4;

/**
 * Takes the renderings of a secret out of bytes that come in pieces: each byte of one is replaced by the mask, so that the
 * length stays. What may be the beginning of one is held back until it is known whether it is.
 */
export class Redactor {
  /** Renderings that were found. */
  found = 0;
  readonly #automaton: Automaton;
  readonly #cursor: Cursor = { state: 0, at: 0, idle: 0 };
  /** What may be the beginning of a rendering, as it came. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** What was under way before the first byte that is held; null: not known any more. */
  #before: readonly number[] | null = [];
  /** What is under way behind the last byte, and how many characters of it have come. */
  #underWay: readonly number[] = [];
  #depth = 0;
  /** Bytes that may be read again to find where renderings begin: they grow with what comes, so that the work does. */
  #mayReadAgain = 65_536;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
  }

  /** Answers what may go on, with what was held before. It may be the very piece; a piece that changes is copied. */
  push(piece: Buffer): readonly Buffer[] {
    const automaton = this.#automaton;
    const cursor = this.#cursor;
    cursor.state = automaton.stateOf(this.#underWay);
    // What is held stands before 0.
    cursor.idle = -this.#heldBytes;
    this.#mayReadAgain += piece.length;
    const spans: Span[] = [];
    for (let at = 0; automaton.run(cursor, piece, at); at = cursor.at) {
      spans.push({ start: this.#startOf(piece, cursor), end: cursor.at });
      if (cursor.state === 0) cursor.idle = cursor.at;
    }
    const [held, kept] = spans.length === 0 ? [this.#held, piece] : this.#masked(piece, spans);
    this.#underWay = automaton.underWay(cursor.state);
    this.#depth = automaton.depthOf(cursor.state);
    if (this.#depth < fewest) {
      this.#hold([], 0, this.#underWay);
      return [...held, kept];
    }
    const isSame = cursor.idle <= 0;
    // What was masked cannot be read again.
    const before = spans.length > 0 ? null : isSame ? this.#before : [];
    if (cursor.idle < 0) {
      held.push(Buffer.from(kept));
      this.#hold(held, this.#heldBytes + kept.length, before);
      return this.#release([]);
    }
    // Copied: a few bytes must not keep all that they came with.
    const rest = Buffer.from(kept.subarray(cursor.idle));
    this.#hold([rest], rest.length, before);
    return this.#release(cursor.idle === 0 ? held : [...held, kept.subarray(0, cursor.idle)]);
  }

  /** Nothing comes any more. A rendering that was cut off is one where it is as long as a secret. */
  end(): readonly Buffer[] {
    const held = this.#held;
    if (this.#depth >= shortestGuarded) {
      for (const piece of held) piece.fill(this.#automaton.mask);
      this.found += 1;
    }
    this.#depth = 0;
    this.#hold([], 0, []);
    return held;
  }

  #hold(held: Buffer[], bytes: number, before: readonly number[] | null): void {
    this.#held = held;
    this.#heldBytes = bytes;
    this.#before = before;
  }

  /** Lets go of what no rendering can begin in any more. Not byte by byte: what is held would be copied as often. */
  #release(released: readonly Buffer[]): readonly Buffer[] {
    const { longest } = this.#automaton;
    if (this.#heldBytes <= longest * 2) return released;
    const all = Buffer.concat(this.#held);
    const cut = all.length - longest;
    this.#hold([all.subarray(cut)], longest, null);
    return [...released, all.subarray(0, cut)];
  }

  /** Where the rendering begins that ends at the cursor. */
  #startOf(piece: Buffer, { at, idle }: Cursor): number {
    const { longest } = this.#automaton;
    const least = Math.max(idle, at - longest);
    const before = idle > 0 || least > idle ? [] : this.#before;
    if (before === null || this.#mayReadAgain < at - least) return least;
    this.#mayReadAgain -= at - least;
    const bytes =
      least >= 0
        ? piece.subarray(least, at)
        : Buffer.concat([...this.#held, piece.subarray(0, at)]).subarray(this.#heldBytes + least);
    const start = this.#automaton.startOf(bytes, before);
    return start === null ? least : least + start;
  }

  #masked(piece: Buffer, spans: readonly Span[]): [held: Buffer[], piece: Buffer] {
    const all = Buffer.concat([...this.#held, piece]);
    const offset = this.#heldBytes;
    const apart = merged(spans);
    for (const { start, end } of apart) all.fill(this.#automaton.mask, offset + start, offset + end);
    this.found += apart.length;
    return [offset === 0 ? [] : [all.subarray(0, offset)], all.subarray(offset)];
  }
}

/** From a place in a piece to another; before 0 is what was held. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** Spans that overlap as one; they come in the order of their ends. */
function merged(spans: readonly Span[]): readonly Span[] {
  const apart: Span[] = [];
  for (let span of spans) {
    while (apart.length > 0 && apart.at(-1)!.end > span.start) {
      const before = apart.pop()!;
      span = { start: Math.min(before.start, span.start), end: span.end };
    }
    apart.push(span);
  }
  return apart;
}
