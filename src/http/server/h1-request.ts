import { SidekeyError } from '../../lib/errors.ts';
import type { Limits } from '../../policy/limits.ts';
import type { RawFields } from '../fields.ts';
import { type BodyReader, createBodyReader, payloadIn } from '../h1/body.ts';
import { type BodyPlan, bytesBehindLast, persists, requestPlan } from '../framing.ts';
import { type RequestHeadBytes } from '../head.ts';
import { createRequestReader, type HeadReader } from '../h1/read-head.ts';
import { CR, LF, Malformed } from '../h1/scan.ts';

/** A request that has come, at least its head. */
export interface Incoming {
  readonly head: RequestHeadBytes;
  readonly body: IncomingBody | null;
}

/** Why no more is read. */
export type Stop =
  /** Something is malformed: the head of a request, or this body. */
  | { readonly kind: 'malformed'; readonly why: Malformed; readonly body: IncomingBody | null }
  /** A request takes the connection over, with the bytes behind it. */
  | { readonly kind: 'taken over'; readonly head: RequestHeadBytes; readonly early: Buffer };

/** What an intake tells the connection that it reads. */
export interface IntakeOwner extends BodySource {
  /** Whether a request takes the whole connection over. */
  takesOver(head: RequestHeadBytes, plan: BodyPlan): boolean;
  /** A request has come, in its turn; answers whether more is to be read. */
  requested(request: Incoming): boolean;
}

/** Reads the requests of one connection out of its bytes, each body before the next head. */
export class RequestIntake {
  /** No request is read any more; a body that has begun still is. */
  isClosed = false;
  /** The client said that its last request is the last of the connection. */
  saidLast = false;
  /** The body that is coming. */
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

  /** Whether a head, or an empty line before one, has begun and not ended. */
  get inHead(): boolean {
    return this.#heads.begun;
  }

  /** Whether no more has begun than an empty line, as some clients send it behind a body. */
  get isBlank(): boolean {
    return this.#pending.isBlank;
  }

  /** Reads what came; null: and waits for more. */
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
        // An empty line is forgiven (RFC 9112 §2.2), another request is not.
        if (bytes[at] !== CR && bytes[at] !== LF) return malformed(bytesBehindLast('request'));
        at += 1;
      } else {
        const head = this.#heads.read(bytes, at, end);
        if (head === 'incomplete') break;
        if (head instanceof Malformed) return malformed(head);
        at += head.size;
        const plan = requestPlan(head);
        if (plan instanceof Malformed) return malformed(plan);
        if (this.#owner.takesOver(head, plan)) {
          return { kind: 'taken over', head, early: bytes.subarray(at) };
        }
        this.saidLast = !persists(head);
        this.body = this.#bodyOf(plan);
        if (!this.#owner.requested({ head, body: this.body })) return null;
      }
    }
    this.#pending.keep(bytes, at);
    return null;
  }

  #bodyOf(plan: BodyPlan): IncomingBody | null {
    if (plan.kind === 'none') return null;
    const reader = createBodyReader(plan, { whose: 'request', limits: this.#limits, spans: true });
    return new IncomingBody(this.#owner, reader);
  }
}

function malformed(why: Malformed): Stop {
  return { kind: 'malformed', why, body: null };
}

/** What a body tells the connection that it comes on. */
interface BodySource {
  /** Somebody waits for a piece; `false`: nobody does any more. */
  bodyAwaited(isAwaited: boolean): void;
  /** So many bytes that were held are held no more. */
  bodyTaken(bytes: number): void;
}

/**
 * The body of a request as it comes: what an exchange reads (`InboundRequest.body`), and what its connection puts in. Pieces are
 * parts of the buffers that were read, without their chunk framing; a body cannot be taken for whole that is not.
 *
 * `next` rejects with SidekeyError `bad_request` where the body is malformed, stops coming, or is left unfinished. `return`
 * waits for nothing: from then on what comes is thrown away.
 */
export class IncomingBody implements AsyncIterableIterator<Buffer> {
  readonly #source: BodySource;
  readonly #reader: BodyReader;
  /** As `InboundRequest.trailers`; none before all of it has come. */
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

/** Bytes of a head that has not all come, in a buffer that grows: a head in small pieces is not copied over and over. */
export class PendingBytes {
  #buffer: Buffer | null = null;
  #size = 0;

  /** Whether there is no more than an empty line, as some clients send it behind a body. */
  get isBlank(): boolean {
    return this.#size <= 2 && (this.#buffer === null || this.#buffer[0] === CR);
  }

  /** All that is pending, this piece behind it. The buffer is not used again for other bytes. */
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

  /** What of the bytes that `with` answered is still pending, from here on. */
  keep(bytes: Buffer, at: number): void {
    if (at === 0 && this.#size === bytes.length && this.#buffer !== null) return;
    this.#size = bytes.length - at;
    // The bytes of a message that went on may still be in use: they keep their buffer.
    this.#buffer = this.#size === 0 ? null : Buffer.from(bytes.subarray(at));
  }
}
