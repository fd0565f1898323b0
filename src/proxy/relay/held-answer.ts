import type { RawFields } from '../fields.ts';
import type { Passing } from './passing.ts';

/** Bytes of an answer that are held before its connection is paused. */
const most = 65_536;

/** An answer that is not passed on yet: it is not known whether it is the one. */
export class HeldAnswer {
  readonly #fields: RawFields;
  readonly #reason: string;
  readonly #pieces: Buffer[] = [];
  #bytes = 0;
  /** Not null: it is whole. */
  #trailers: RawFields | null = null;
  /** Not null: it ended before it was whole, and what came is good to be passed on. */
  #shortened: Error | null = null;
  /** Not null: it is good for nothing. */
  #broken: Error | null = null;

  constructor(fields: RawFields, reason: string) {
    this.#fields = fields;
    this.#reason = reason;
  }

  /** False: no more of it is to be read for now. */
  add(piece: Buffer): boolean {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    return this.#bytes < most;
  }

  whole(trailers: RawFields): void {
    this.#trailers = trailers;
  }

  cut(error: Error): void {
    this.#shortened = error;
  }

  /** Of one that was whole, the connection's end says nothing. */
  broke(error: Error): void {
    if (this.#trailers === null) this.#broken = error;
  }

  /** Passes on what has come of it. Answers whether more is to come, or what ended it too early. */
  passOn(status: number, passing: Passing): 'more' | 'whole' | Error {
    // One that broke while it was held has not begun for the client: it can still be told why.
    if (this.#broken !== null) return this.#broken;
    passing.begin(status, this.#reason, this.#fields);
    for (const piece of this.#pieces) passing.pass(piece);
    if (this.#trailers === null) return this.#shortened ?? 'more';
    passing.complete(this.#trailers);
    return 'whole';
  }
}
