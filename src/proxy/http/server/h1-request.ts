import { SidekeyError } from '../../../lib/errors.ts';
import type { Limits } from '../../policy/limits.ts';
import type { RawFields } from '../fields.ts';
import { type BodyReader, createBodyReader, payloadIn } from '../h1/body.ts';
import { type BodyFraming, bytesBehindLast, persists, requestFraming } from '../framing.ts';
import { type RequestHeadBytes } from '../head.ts';
import { createRequestReader, type HeadReader } from '../h1/read-head.ts';
import { CR, LF, Malformed } from '../h1/scan.ts';

/** A request with a complete head. */
export interface Incoming {
  readonly head: RequestHeadBytes;
  readonly body: IncomingBody | null;
}

/** The reason to stop reading. */
export type Stop =
  /** The head of a request, or this body, is malformed. */
  | { readonly kind: 'malformed'; readonly why: Malformed; readonly body: IncomingBody | null }
  /** A request takes over the connection, with the bytes after it. */
  | { readonly kind: 'taken over'; readonly head: RequestHeadBytes; readonly early: Buffer };

/** The connection that an intake reads for. */
export interface IntakeOwner extends BodySource {
  /** Reports whether a request takes over the connection. */
  takesOver(head: RequestHeadBytes, framing: BodyFraming): boolean;
  /** Receives a request. Returns whether to read more. */
  requested(request: Incoming): boolean;
}

/** Reads the requests of a connection, each body before the next head. */
export class RequestIntake {
  /** True if no further request is read. A body that has begun is still read. */
  isClosed = false;
  /** True if the client announced its last request as the last of the connection. */
  saidLast = false;
  /** The body in progress. */
  body: IncomingBody | null = null;
  readonly #owner: IntakeOwner;
  readonly #limits: Limits;
  readonly #heads: HeadReader<RequestHeadBytes>;
  readonly #pending = new PendingBytes();

  constructor(owner: IntakeOwner, limits: Limits) {
    this.#owner = owner;
    this.#limits = limits;
    this.#heads = createRequestReader(limits);
  }

  /** Reports whether a head, or an empty line before one, is incomplete. */
  get inHead(): boolean {
    return this.#heads.begun;
  }

  /** Reports whether only an empty line was received, as some clients send after a body. */
  get isBlank(): boolean {
    return this.#pending.isBlank;
  }

  /** Reads a piece. Returns the reason to stop, or null. */
  read(piece: Buffer): Stop | null {
    const bytes = this.#pending.with(piece);
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      if (this.body !== null) {
        const { body } = this;
        const next = body.take(bytes, at, end);
        if (typeof next !== 'number') {
          this.body = null;
          this.isClosed = true;
          return { kind: 'malformed', why: next, body };
        }
        at = next;
        if (body.over) this.body = null;
      } else if (this.isClosed) {
        at = end;
      } else if (this.saidLast) {
        // An empty line is ignored (RFC 9112 §2.2), another request is refused.
        if (bytes[at] !== CR && bytes[at] !== LF) return malformed(bytesBehindLast('request'));
        at += 1;
      } else {
        const head = this.#heads.read(bytes, at, end);
        if (head === 'incomplete') break;
        if (head instanceof Malformed) return malformed(head);
        at += head.size;
        const framing = requestFraming(head);
        if (framing instanceof Malformed) return malformed(framing);
        if (this.#owner.takesOver(head, framing)) {
          return { kind: 'taken over', head, early: bytes.subarray(at) };
        }
        this.saidLast = !persists(head);
        this.body = this.#bodyOf(framing);
        if (!this.#owner.requested({ head, body: this.body })) return null;
      }
    }
    this.#pending.keep(bytes, at);
    return null;
  }

  #bodyOf(framing: BodyFraming): IncomingBody | null {
    if (framing.kind === 'none') return null;
    const reader = createBodyReader(framing, { whose: 'request', limits: this.#limits, spans: true });
    return new IncomingBody(this.#owner, reader);
  }
}

function malformed(why: Malformed): Stop {
  return { kind: 'malformed', why, body: null };
}

/** The connection that a body is received on. */
interface BodySource {
  /** Called when a reader starts or stops waiting for a piece. */
  bodyAwaited(isAwaited: boolean): void;
  /** Called when buffered bytes were read or discarded. */
  bodyTaken(bytes: number): void;
}

/**
 * A request body (`InboundRequest.body`): the connection fills it, an exchange reads it. Pieces are views of
 * the received buffers, without their chunk framing.
 *
 * `next` rejects with SidekeyError `bad_request` if the body is malformed, late or incomplete. `return` does
 * not wait: later input is discarded.
 */
export class IncomingBody implements AsyncIterableIterator<Buffer> {
  readonly #source: BodySource;
  readonly #reader: BodyReader;
  /** See `InboundRequest.trailers`. Empty before the end of the body. */
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

  /** Reports whether the body has ended. */
  get over(): boolean {
    return this.#reader.over;
  }

  /** Number of unread bytes. */
  get held(): number {
    return this.#held;
  }

  /** Reads the bytes of this body. Returns their end, or their fault. */
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

  /** Fails the body: the current and later calls of `next` reject with `why`. */
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
        this.#failure ??= new SidekeyError('bad_request', 'The request body was not read to its end.');
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

/** Returns the error for a client that paused too long in the middle of its body. */
export function silent(idleMs: number): SidekeyError {
  return new SidekeyError('bad_request', `Nothing of the request body came for ${idleMs / 1_000} s.`, {
    hint: 'send it without such a pause, or raise limits.client_body_idle',
  });
}

/** Returns the error for a client that left in the middle of its body. */
export function left(): SidekeyError {
  return new SidekeyError('bad_request', 'The client left before its request body had come.', {
    hint: 'let the client wait for the response, and send the whole request again',
  });
}

/** The bytes of an incomplete head. The buffer doubles, so that a head in small pieces costs linear time. */
export class PendingBytes {
  #buffer: Buffer | null = null;
  #size = 0;

  /** Reports whether there is at most an empty line, as some clients send after a body. */
  get isBlank(): boolean {
    return this.#size <= 2 && (this.#buffer === null || this.#buffer[0] === CR);
  }

  /** Returns the pending bytes followed by a piece. The buffer is never reused for other bytes. */
  with(piece: Buffer): Buffer {
    const before = this.#size;
    const size = before + piece.length;
    if (before === 0) return piece;
    if (this.#buffer === null || size > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, 2 * before));
      this.#buffer?.copy(larger, 0, 0, before);
      this.#buffer = larger;
    }
    piece.copy(this.#buffer, before);
    this.#size = size;
    return this.#buffer.subarray(0, size);
  }

  /** Keeps the bytes of `with` from this index on. */
  keep(bytes: Buffer, at: number): void {
    if (at === 0 && this.#size === bytes.length && this.#buffer !== null) return;
    this.#size = bytes.length - at;
    // The bytes of an earlier message may still be in use.
    this.#buffer = this.#size === 0 ? null : Buffer.from(bytes.subarray(at));
  }
}
