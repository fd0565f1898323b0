import type { Matcher } from './matcher.ts';
import { Redactor } from './redactor.ts';

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
