import type { ServerHttp2Stream } from 'node:http2';
import type { SidekeyError } from '../../errors.ts';
import type { RawFields } from '../fields.ts';
import { left } from '../front/incoming-body.ts';
import { Malformed, type HeadLimits } from '../h1/faults.ts';
import { listSize } from './request-head.ts';

/** What a body tells of itself. */
export interface BodyOwner {
  /** Somebody waits for a piece; `false`: nobody does any more. */
  bodyAwaited(isAwaited: boolean): void;
  /** A piece has come from the client, or goes to it. */
  passed(bytesIn: number, bytesOut: number): void;
}

/**
 * The body of one stream, as an exchange reads it (`Arrival.body`). What nobody reads stays within the stream's window:
 * the client is let send more when it has been taken.
 *
 * `next` rejects with SidekeyError `bad_request` where the client resets the stream or leaves in the middle, and with what
 * `fail` was given. `return` waits for nothing: from then on what comes is thrown away.
 */
export class StreamBody implements AsyncIterableIterator<Buffer> {
  /** As `Arrival.trailers`; none before all of it has come. */
  trailers: RawFields = [];
  /** Whether all of it has come. */
  over = false;
  readonly #stream: ServerHttp2Stream;
  readonly #owner: BodyOwner;
  #pieces: Buffer[] = [];
  #failure: Error | null = null;
  #isReleased = false;
  #waiting: PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null = null;

  constructor(stream: ServerHttp2Stream, owner: BodyOwner, limits: HeadLimits) {
    this.#stream = stream;
    this.#owner = owner;
    stream
      .on('data', this.#onData)
      .on('trailers', (_fields, _flags, raw) => {
        if (listSize(raw) <= limits.head_bytes) this.trailers = raw;
        else this.fail(new Malformed('request', 'trailers_too_large', limits));
      })
      .on('end', this.#onEnd)
      .on('aborted', () => this.fail(left()))
      .on('close', () => this.fail(left()))
      .pause();
  }

  /** No more of it will be read: who waits for a piece, or asks for one later, is told why. */
  fail(why: SidekeyError): void {
    if (this.#failure !== null || this.over) return;
    this.#failure = why;
    this.#pieces = [];
    this.#settle()?.reject(why);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    const piece = this.#pieces.shift();
    if (piece !== undefined) return Promise.resolve({ done: false, value: piece });
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.over || this.#isReleased) return Promise.resolve({ done: true, value: undefined });
    if (this.#waiting === null) {
      this.#waiting = Promise.withResolvers();
      this.#owner.bodyAwaited(true);
      this.#stream.resume();
    }
    return this.#waiting.promise;
  }

  return(): Promise<IteratorResult<Buffer, undefined>> {
    if (!this.#isReleased) {
      if (!this.over || this.#pieces.length > 0) this.fail(left());
      this.#isReleased = true;
      this.#pieces = [];
      this.#stream.resume();
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  readonly #onData = (piece: Buffer): void => {
    this.#owner.passed(piece.length, 0);
    if (this.#isReleased || this.#failure !== null) return;
    this.#stream.pause();
    const waiting = this.#settle();
    if (waiting === null) this.#pieces.push(piece);
    else waiting.resolve({ done: false, value: piece });
  };

  readonly #onEnd = (): void => {
    // Node ends a stream that the client has reset without an error as if it were whole.
    if (this.#stream.closed) {
      this.fail(left());
      return;
    }
    if (this.#failure !== null) return;
    this.over = true;
    this.#settle()?.resolve({ done: true, value: undefined });
  };

  #settle(): PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null {
    const waiting = this.#waiting;
    if (waiting === null) return null;
    this.#waiting = null;
    this.#owner.bodyAwaited(false);
    return waiting;
  }
}
