import { SidekeyError } from '../errors.ts';
import type { Automaton } from './automaton.ts';
import { Redactor } from './redactor.ts';

/** Opcodes from here on are of control frames, which may stand between the fragments of a message (RFC 6455 §5.4). */
const firstControl = 8;

/** Frames that wait behind what is held back; then that goes on. */
const mostWaiting = 1_000;

/** What stands between two bytes of the payloads of one message. */
interface Between {
  /** Bytes of payload that stand before it in its message. */
  readonly at: number;
  readonly bytes: Buffer;
}

interface Head {
  /** Bytes of itself. */
  readonly length: number;
  readonly payload: number;
  readonly isControl: boolean;
  readonly isFinal: boolean;
}

/**
 * The frames of a WebSocket server (RFC 6455 §5) without renderings of a secret: they are looked for in each message as a
 * whole, however it is cut into fragments. Frames keep their lengths, and what a message has goes on when it ends. No
 * extension may have been negotiated.
 */
export class ServerFrames {
  /** Renderings that were found. */
  found = 0;
  readonly #automaton: Automaton;
  #redactor: Redactor;
  #pending: Buffer = Buffer.alloc(0);
  /** The frame whose payload is coming, with the bytes of it that are yet to come. */
  #frame: { left: number; readonly isFinal: boolean } | null = null;
  /** Of the message that is under way: bytes of payload that came, and that went on. */
  #came = 0;
  #went = 0;
  #waiting: Between[] = [];

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
    this.#redactor = new Redactor(automaton);
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
        const head = readHead(bytes);
        if (head === null) break;
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

  /** Nothing comes any more. A head that was cut off is of no use. */
  end(): readonly Buffer[] {
    const out: Buffer[] = [];
    this.#flush(out);
    return out;
  }

  /** It has the reason for a close, which may show what was wrong. All of it is there. */
  #control(frame: Buffer, start: number): Buffer {
    const redactor = new Redactor(this.#automaton);
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
    this.#redactor = new Redactor(this.#automaton);
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

/** Null: not all of it has come. */
function readHead(bytes: Buffer): Head | null {
  if (bytes.length < 2) return null;
  const [first, second] = [bytes[0]!, bytes[1]!];
  // A server does not mask (§5.1); without an extension no other bit is set (§5.2).
  if ((first & 0x70) !== 0 || (second & 0x80) !== 0) throw noFrames();
  const length = second === 127 ? 10 : second === 126 ? 4 : 2;
  if (bytes.length < length) return null;
  const payload =
    second === 127 ? Number(bytes.readBigUInt64BE(2)) : second === 126 ? bytes.readUInt16BE(2) : second;
  const isControl = (first & 0x0f) >= firstControl;
  if (!Number.isSafeInteger(payload) || (isControl && payload > 125)) throw noFrames();
  return { length, payload, isControl, isFinal: (first & 0x80) !== 0 };
}

function noFrames(): SidekeyError {
  return new SidekeyError('upstream_protocol', 'The upstream sent bytes that are no frames of a WebSocket.');
}
