import { SidekeyError } from '../../lib/errors.ts';
import { readFrameHead } from '../http/framing.ts';
import type { Matcher } from './patterns.ts';
import type { Span } from './reading.ts';
import { Search } from './search.ts';

/** `*`: replaces each byte of a rendering. */
const mask = 0x2a;

/**
 * Masks the renderings of a credential in a stream. The length does not change. Holds back bytes that may
 * begin a rendering; see `Search`.
 */
export class Redactor {
  /** Number of renderings found. */
  found = 0;
  readonly #search: Search;
  /** The held pieces, and the position of their first byte in the stream. */
  #held: Buffer[] = [];
  #from = 0;
  #end = 0;
  /** The end of the last mask. An overlapping rendering is the same leak. */
  #maskedTo = 0;

  constructor(matcher: Matcher) {
    this.#search = new Search(matcher);
  }

  /** Number of table look-ups; see `Search`. */
  get steps(): number {
    return this.#search.steps;
  }

  /** Returns the bytes to forward, including bytes held before. Copies a piece before masking it. */
  push(piece: Buffer): readonly Buffer[] {
    const spans = this.#search.push(piece);
    const all = [...this.#held, spans.length === 0 ? piece : Buffer.from(piece)];
    this.#end += piece.length;
    this.#masks(all, spans);
    return this.#release(all, this.#search.heldFrom);
  }

  /** Ends the search. Returns the held bytes: a truncated body loses them, so do not call it then. */
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
      // Copied: a few bytes must not keep their large piece alive, and the reader may reuse its memory.
      if (cut < piece.length)
        held.push(cut === 0 && this.#held.includes(piece) ? piece : Buffer.from(piece.subarray(cut)));
      at += piece.length;
    }
    this.#held = held;
    this.#from = Math.max(this.#from, to);
    return released;
  }
}

/** Replaces each rendering in a latin1 text. Returns a text without renderings unchanged. */
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

/** Masks each rendering in a latin1 text. */
export function redactText(matcher: Matcher, text: string): string {
  return replaced(matcher, text, (length) => String.fromCharCode(mask).repeat(length));
}

/** Length of the prefix of a gRPC message: a flag and the message length. */
const prefixBytes = 5;

/** Masks a credential in a gRPC body. Searches each message separately, so that none waits for the next. */
export class GrpcRedactor {
  readonly #redactor: Redactor;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixed = 0;
  #left = 0;

  constructor(matcher: Matcher) {
    this.#redactor = new Redactor(matcher);
  }

  /** Number of renderings found. */
  get found(): number {
    return this.#redactor.found;
  }

  /** Returns the bytes to forward, including bytes held before. */
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

  /** Returns the held bytes. */
  end(): readonly Buffer[] {
    return this.#redactor.end();
  }
}

/** Maximum number of frames that wait for held bytes. Beyond it, the held bytes are forwarded. */
const maxWaiting = 1_000;

/** Bytes between two payload bytes of a message: frame heads and control frames. */
interface Between {
  /** Number of payload bytes of the message before these bytes. */
  readonly at: number;
  readonly bytes: Buffer;
}

/**
 * Masks the renderings of a secret in the frames of a WebSocket server (RFC 6455 §5). Searches each message
 * across its fragments. Frames keep their lengths. Held bytes are forwarded at the end of the message, and
 * lost if it breaks off. No extension may be negotiated.
 */
export class ServerFrames {
  /** Number of renderings found. */
  found = 0;
  readonly #matcher: Matcher;
  #redactor: Redactor;
  #pending: Buffer = Buffer.alloc(0);
  /** The current frame, with the number of remaining payload bytes. */
  #frame: { left: number; readonly isFinal: boolean } | null = null;
  /** Payload bytes of the current message: received, and forwarded. */
  #received = 0;
  #forwarded = 0;
  #waiting: Between[] = [];

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
    this.#redactor = new Redactor(matcher);
  }

  /**
   * Returns the bytes to forward.
   *
   * @throws SidekeyError `upstream_protocol` if the bytes are not frames of a server
   */
  push(piece: Buffer): readonly Buffer[] {
    let bytes = this.#pending.length === 0 ? piece : Buffer.concat([this.#pending, piece]);
    const out: Buffer[] = [];
    for (;;) {
      if (this.#frame === null) {
        const head = readFrameHead(bytes, 'server');
        if (head === 'incomplete') break;
        if (head === 'malformed') throw noFrames();
        const { length, payload, isControl, isFinal } = head;
        if (isControl && bytes.length < length + payload) break;
        const end = isControl ? length + payload : length;
        const between = bytes.subarray(0, end);
        this.#between(isControl ? this.#control(between, length) : between, out);
        bytes = bytes.subarray(end);
        if (isControl) continue;
        this.#frame = { left: payload, isFinal };
      }
      const part = bytes.subarray(0, this.#frame.left);
      bytes = bytes.subarray(part.length);
      this.#frame.left -= part.length;
      this.#received += part.length;
      this.#send(this.#redactor.push(part), out);
      if (this.#frame.left > 0) break;
      if (this.#frame.isFinal) this.#flush(out);
      this.#frame = null;
    }
    this.#pending = Buffer.from(bytes);
    return out;
  }

  /** Masks a complete control frame. The reason of a close frame may quote the request. */
  #control(frame: Buffer, start: number): Buffer {
    const redactor = new Redactor(this.#matcher);
    const payload = [...redactor.push(frame.subarray(start)), ...redactor.end()];
    this.found += redactor.found;
    return Buffer.concat([frame.subarray(0, start), ...payload]);
  }

  /** Queues bytes after the payload before them. */
  #between(bytes: Buffer, out: Buffer[]): void {
    if (this.#waiting.length >= maxWaiting) this.#flush(out);
    if (this.#forwarded === this.#received) out.push(bytes);
    // Copied: its piece may be large.
    else this.#waiting.push({ at: this.#received, bytes: Buffer.from(bytes) });
  }

  #flush(out: Buffer[]): void {
    this.#send(this.#redactor.end(), out);
    this.found += this.#redactor.found;
    this.#redactor = new Redactor(this.#matcher);
    this.#received = this.#forwarded = 0;
  }

  #send(pieces: readonly Buffer[], out: Buffer[]): void {
    for (let piece of pieces) {
      for (
        let next = this.#waiting[0];
        next !== undefined && next.at <= this.#forwarded + piece.length;
        next = this.#waiting[0]
      ) {
        const before = piece.subarray(0, next.at - this.#forwarded);
        out.push(before, next.bytes);
        piece = piece.subarray(before.length);
        this.#forwarded += before.length;
        this.#waiting.shift();
      }
      out.push(piece);
      this.#forwarded += piece.length;
    }
  }
}

function noFrames(): SidekeyError {
  return new SidekeyError('upstream_protocol', 'The upstream sent bytes that are no frames of a WebSocket.');
}
