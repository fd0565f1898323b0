/** Texts that are looked for, and what takes their place. */
export interface Replacement {
  readonly texts: readonly Buffer[];
  readonly value: Buffer;
}

/**
 * Puts a value in the place of each of some texts, in bytes that come in pieces; of two that begin at one place the longer
 * is meant. What may be the beginning of one is held back until it is known whether it is.
 */
export class Replacer {
  /** Texts that were replaced. */
  found = 0;
  readonly #texts: readonly Buffer[];
  readonly #value: Buffer;
  #held: Buffer = Buffer.alloc(0);

  constructor({ texts, value }: Replacement) {
    this.#texts = texts;
    this.#value = value;
  }

  /** Answers what may go on; perhaps the very piece. */
  push(piece: Buffer): readonly Buffer[] {
    return this.#replace(this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]), false);
  }

  /** Nothing comes any more. */
  end(): readonly Buffer[] {
    return this.#replace(this.#held, true);
  }

  #replace(bytes: Buffer, isLast: boolean): readonly Buffer[] {
    const done: Buffer[] = [];
    // Each looks on where it has not looked yet: what repeats one text is not searched again and again for the others.
    const places = this.#texts.map((text) => ({ text, at: bytes.indexOf(text) }));
    let from = 0;
    let held = -1;
    for (;;) {
      for (const place of places)
        if (place.at >= 0 && place.at < from) place.at = bytes.indexOf(place.text, from);
      if (held < from) held = isLast ? bytes.length : this.#beginningIn(bytes, from);
      const next = firstOf(places);
      if (next === null || next.at >= held) break;
      if (next.at > from) done.push(bytes.subarray(from, next.at));
      done.push(this.#value);
      this.found += 1;
      from = next.at + next.text.length;
    }
    if (held > from) done.push(bytes.subarray(from, held));
    // Copied: a few bytes must not keep all that they came with, which may change.
    this.#held = Buffer.from(bytes.subarray(held));
    return done;
  }

  /** Where the first text begins whose end has not come yet; else the end. */
  #beginningIn(bytes: Buffer, from: number): number {
    let first = bytes.length;
    for (const text of this.#texts) {
      const most = Math.min(text.length - 1, bytes.length - from);
      for (let length = most; length > bytes.length - first; length -= 1) {
        const at = bytes.length - length;
        if (bytes[at] !== text[0] || bytes.compare(text, 0, length, at) !== 0) continue;
        first = at;
        break;
      }
    }
    return first;
  }
}

interface Place {
  readonly text: Buffer;
  /** Where it stands next; -1: nowhere. */
  readonly at: number;
}

function firstOf(places: readonly Place[]): Place | null {
  let first: Place | null = null;
  for (const place of places) {
    if (place.at < 0) continue;
    const isBefore = first === null || place.at < first.at;
    if (isBefore || (place.at === first!.at && place.text.length > first!.text.length)) first = place;
  }
  return first;
}
