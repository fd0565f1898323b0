import { SidekeyError } from '../../errors.ts';
import type { RawFields } from '../fields.ts';
import type { BodyReader } from '../h1/body-reader.ts';
import type { Malformed } from '../h1/faults.ts';
import { payloadIn } from '../h1/payload.ts';

/** What a body tells the connection that it comes on. */
export interface BodySource {
  /** Somebody waits for a piece; `false`: nobody does any more. */
  bodyAwaited(isAwaited: boolean): void;
  /** So many bytes that were held are held no more. */
  bodyTaken(bytes: number): void;
}

/**
 * The body of a request as it comes: what an exchange reads (`Arrival.body`), and what its connection puts in. Pieces are
 * parts of the buffers that were read, without their chunk framing; a body cannot be taken for whole that is not.
 *
 * `next` rejects with SidekeyError `bad_request` where the body is malformed, stops coming, or is left unfinished. `return`
 * waits for nothing: from then on what comes is thrown away.
 */
export class IncomingBody implements AsyncIterableIterator<Buffer> {
  readonly #source: BodySource;
  readonly #reader: BodyReader;
  /** As `Arrival.trailers`; none before all of it has come. */
  trailers: RawFields = [];
  #pieces: Buffer[] = [];
  #failure: Error | null = null;
  #isReleased = false;
  #waiting: PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null = null;
  #held = 0;

  constructor(source: BodySource, reader: BodyReader) {
    this.#source = source;
    this.#reader = reader;
  }

  /** Whether all of it has come. */
  get over(): boolean {
    return this.#reader.over;
  }

  /** Bytes that came and were not read yet. */
  get held(): number {
    return this.#held;
  }

  /** Takes what belongs to it; answers where that ends, or what is wrong with it. */
  take(bytes: Buffer, start: number, end: number): number | Malformed {
    const next = this.#reader.read(bytes, start, end);
    if (typeof next !== 'number') {
      this.fail(next);
      return next;
    }
    if (this.over) this.trailers = this.#reader.trailers?.raw() ?? [];
    const piece = payloadIn(bytes, this.#reader.spans);
    if (piece !== null && !this.#isReleased && this.#failure === null) this.#put(piece);
    if (this.over && this.#waiting !== null) this.#settle()?.resolve({ done: true, value: undefined });
    return next;
  }

  /** No more of it will be read: who waits for a piece, or asks for one later, is told why. */
  fail(why: Error): void {
    if (this.#failure !== null || (this.over && this.#waiting === null)) return;
    this.#failure = why;
    this.#settle()?.reject(why);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    const piece = this.#pieces.shift();
    if (piece !== undefined) {
      this.#held -= piece.length;
      this.#source.bodyTaken(piece.length);
      return Promise.resolve({ done: false, value: piece });
    }
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.over) return Promise.resolve({ done: true, value: undefined });
    if (this.#waiting === null) {
      this.#waiting = Promise.withResolvers();
      this.#source.bodyAwaited(true);
    }
    return this.#waiting.promise;
  }

  return(): Promise<IteratorResult<Buffer, undefined>> {
    if (!this.#isReleased) {
      this.#isReleased = true;
      const bytes = this.#held;
      this.#pieces = [];
      this.#held = 0;
      if (bytes > 0 || !this.over) {
        this.#failure ??= unread();
        this.#settle()?.reject(this.#failure);
      }
      this.#source.bodyTaken(bytes);
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  #put(piece: Buffer): void {
    const waiting = this.#settle();
    if (waiting !== null) {
      waiting.resolve({ done: false, value: piece });
      return;
    }
    this.#pieces.push(piece);
    this.#held += piece.length;
  }

  #settle(): PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null {
    const waiting = this.#waiting;
    if (waiting === null) return null;
    this.#waiting = null;
    this.#source.bodyAwaited(false);
    return waiting;
  }
}

function unread(): SidekeyError {
  return new SidekeyError('bad_request', 'The request body was not read to its end.');
}

/** The client let too much time pass in the middle of its body. */
export function silent(idleMs: number): SidekeyError {
  return new SidekeyError('bad_request', `Nothing of the request body came for ${idleMs / 1_000} s.`, {
    hint: 'send it without such a pause, or raise limits.client_body_idle',
  });
}

/** The client is gone, and its body is not whole. */
export function left(): SidekeyError {
  return new SidekeyError('bad_request', 'The client left before its request body had come.');
}
