import type { Matcher } from './matcher.ts';
import { Search, type Span } from './search.ts';

/** Takes the place of each byte of a rendering, whatever the credential is. */
const mask = 0x2a;

/**
 * Takes the renderings of a credential out of bytes that come in pieces: each byte of one is replaced by the mask, so that the
 * length stays. What may be the beginning of one is held back; see `Search`.
 */
export class Redactor {
  /** Renderings that were found. */
  found = 0;
  readonly #search: Search;
  /** What is held back, as it came, and the place of its first byte. */
  #held: Buffer[] = [];
  #from = 0;
  #end = 0;
  /** Where the last mask ends: what overlaps it is the same echo. */
  #maskedTo = 0;

  constructor(matcher: Matcher) {
    this.#search = new Search(matcher);
  }

  /** Look-ups so far; see `Search`. */
  get steps(): number {
    return this.#search.steps;
  }

  /** Answers what may go on, with what was held before. It may be the very piece; a piece that changes is copied. */
  push(piece: Buffer): readonly Buffer[] {
    const spans = this.#search.push(piece);
    const all = [...this.#held, spans.length === 0 ? piece : Buffer.from(piece)];
    this.#end += piece.length;
    this.#masks(all, spans);
    return this.#release(all, this.#search.heldFrom);
  }

  /** Ends the search, and answers what was held. A body that breaks off is not ended: what was held is lost then. */
  end(): readonly Buffer[] {
    const spans = this.#search.end();
    this.#masks(this.#held, spans);
    return this.#release(this.#held, this.#end);
  }

  #masks(all: readonly Buffer[], spans: readonly Span[]): void {
    for (const { start, end } of spans) {
      if (start >= this.#maskedTo) this.found += 1;
      this.#maskedTo = Math.max(this.#maskedTo, end);
      let at = this.#from;
      for (const piece of all) {
        const until = Math.min(piece.length, end - at);
        if (start - at < until && until > 0) piece.fill(mask, Math.max(0, start - at), until);
        at += piece.length;
      }
    }
  }

  #release(all: readonly Buffer[], to: number): readonly Buffer[] {
    const released: Buffer[] = [];
    const held: Buffer[] = [];
    let at = this.#from;
    for (const piece of all) {
      const cut = Math.min(piece.length, Math.max(0, to - at));
      if (cut > 0) released.push(cut === piece.length ? piece : piece.subarray(0, cut));
      // Copied: a few bytes must not keep all that they came with, and the reader may use its memory again.
      if (cut < piece.length)
        held.push(cut === 0 && this.#held.includes(piece) ? piece : Buffer.from(piece.subarray(cut)));
      at += piece.length;
    }
    this.#held = held;
    this.#from = Math.max(this.#from, to);
    return released;
  }
}

/** A text, a character a byte, with something else in the place of each rendering; the very text where it has none. */
export function replaced(matcher: Matcher, text: string, instead: (length: number) => string): string {
  const search = new Search(matcher);
  const spans = [...search.push(Buffer.from(text, 'latin1')), ...search.end()];
  if (spans.length === 0) return text;
  let out = '';
  let at = 0;
  for (const { start, end } of merged(spans)) {
    out += `${text.slice(at, start)}${instead(end - start)}`;
    at = end;
  }
  return `${out}${text.slice(at)}`;
}

function merged(spans: readonly Span[]): readonly Span[] {
  const apart: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start)) {
    const before = apart.at(-1);
    if (before === undefined || before.end <= span.start) apart.push(span);
    else apart[apart.length - 1] = { start: before.start, end: Math.max(before.end, span.end) };
  }
  return apart;
}

/** A text of a head without renderings. */
export function redactText(matcher: Matcher, text: string): string {
  return replaced(matcher, text, (length) => String.fromCharCode(mask).repeat(length));
}

/** A flag and the length of the message (gRPC over HTTP/2, Length-Prefixed-Message). */
const prefixBytes = 5;

/**
 * The body of a gRPC response without renderings of a credential: they are looked for in each message by itself, so that none
 * waits for the next one.
 */
export class GrpcRedactor {
  readonly #redactor: Redactor;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixed = 0;
  #left = 0;

  constructor(matcher: Matcher) {
    this.#redactor = new Redactor(matcher);
  }

  /** Renderings that were found. */
  get found(): number {
    return this.#redactor.found;
  }

  /** Answers what may go on, with what was held before. */
  push(piece: Buffer): readonly Buffer[] {
    const out: Buffer[] = [];
    for (let at = 0; at < piece.length;) {
      const isPrefix = this.#prefixed < prefixBytes;
      const end = Math.min(piece.length, at + (isPrefix ? prefixBytes - this.#prefixed : this.#left));
      out.push(...this.#redactor.push(piece.subarray(at, end)));
      if (isPrefix) {
        this.#prefixed += piece.copy(this.#prefix, this.#prefixed, at, end);
        this.#left = this.#prefix.readUInt32BE(1);
      } else this.#left -= end - at;
      at = end;
      if (this.#prefixed < prefixBytes || this.#left > 0) continue;
      out.push(...this.#redactor.end());
      this.#prefixed = 0;
    }
    return out;
  }

  /** Answers what was held. */
  end(): readonly Buffer[] {
    return this.#redactor.end();
  }
}
