import { SidekeyError } from '../lib/errors.ts';
import { readFrameHead } from '../lib/websocket-frame.ts';
import type { Matcher } from './matcher.ts';
import { Redactor } from './redactor.ts';

/** Frames that wait behind what is held back; then that goes on. */
const mostWaiting = 1_000;

/** What stands between two bytes of the payloads of one message. */
interface Between {
  /** Bytes of payload that stand before it in its message. */
  readonly at: number;
  readonly bytes: Buffer;
}

/**
 * The frames of a WebSocket server (RFC 6455 §5) without renderings of a secret: they are looked for in each message as a
 * whole, however it is cut into fragments. Frames keep their lengths, and what a message has goes on when it ends; the end of
 * one that breaks off is lost, where it may be the beginning of a rendering. No extension may have been negotiated.
 */
export class ServerFrames {
  /** Renderings that were found. */
  found = 0;
  readonly #matcher: Matcher;
  #redactor: Redactor;
  #pending: Buffer = Buffer.alloc(0);
  /** The frame whose payload is coming, with the bytes of it that are yet to come. */
  #frame: { left: number; readonly isFinal: boolean } | null = null;
  /** Of the message that is under way: bytes of payload that came, and that went on. */
  #came = 0;
  #went = 0;
  #waiting: Between[] = [];

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
    this.#redactor = new Redactor(matcher);
  }

  /**
   * Answers what goes on.
   *
   * @throws SidekeyError `upstream_protocol` where the bytes are no frames of a server
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
      this.#came += part.length;
      this.#send(this.#redactor.push(part), out);
      if (this.#frame.left > 0) break;
      if (this.#frame.isFinal) this.#flush(out);
      this.#frame = null;
    }
    this.#pending = Buffer.from(bytes);
    return out;
  }

  /** It has the reason for a close, which may show what was wrong. All of it is there. */
  #control(frame: Buffer, start: number): Buffer {
    const redactor = new Redactor(this.#matcher);
    const payload = [...redactor.push(frame.subarray(start)), ...redactor.end()];
    this.found += redactor.found;
    return Buffer.concat([frame.subarray(0, start), ...payload]);
  }

  /** Puts it behind the payload that came before it. */
  #between(bytes: Buffer, out: Buffer[]): void {
    if (this.#waiting.length >= mostWaiting) this.#flush(out);
    if (this.#went === this.#came) out.push(bytes);
    // Copied: what it came with may be large.
    else this.#waiting.push({ at: this.#came, bytes: Buffer.from(bytes) });
  }

  #flush(out: Buffer[]): void {
    this.#send(this.#redactor.end(), out);
    this.found += this.#redactor.found;
    this.#redactor = new Redactor(this.#matcher);
    this.#came = this.#went = 0;
  }

  #send(pieces: readonly Buffer[], out: Buffer[]): void {
    for (let piece of pieces) {
      for (
        let next = this.#waiting[0];
        next !== undefined && next.at <= this.#went + piece.length;
        next = this.#waiting[0]
      ) {
        const before = piece.subarray(0, next.at - this.#went);
        out.push(before, next.bytes);
        piece = piece.subarray(before.length);
        this.#went += before.length;
        this.#waiting.shift();
      }
      out.push(piece);
      this.#went += piece.length;
    }
  }
}

function noFrames(): SidekeyError {
  return new SidekeyError('upstream_protocol', 'The upstream sent bytes that are no frames of a WebSocket.');
}
