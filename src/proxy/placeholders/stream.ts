import { randomBytes } from 'node:crypto';
import { Transform } from 'node:stream';
import { readFrameHead } from '../http/framing.ts';
import { type GuardedSecrets, matcherFor } from '../leak-guard/patterns.ts';
import { ServerFrames } from '../leak-guard/redactor.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Replacement } from '../schemes/scheme.ts';
import { alphabets, type Budget, codeLength, type FoundCode, type PlaceholderCodes } from './codes.ts';

/** Opcodes of RFC 6455 §5.2. */
const continuation = 0;
const text = 1;

/** Maximum bytes of a frame that is sent whole. Each piece of a longer frame is sent as a fragment (§5.4). */
const mostHeld = 65_536;

/** A frame whose payload is being received. */
interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly mask: Buffer;
  /** Number of payload bytes not received yet. */
  left: number;
  /** Number of received payload bytes. */
  read: number;
}

/**
 * Replaces texts by a value in the text messages of a WebSocket client (RFC 6455 §5). Messages keep their
 * bounds, but long ones change their fragments. No extension may be in use, because it could change the
 * meaning of bits.
 */
export class ClientFrames {
  readonly #replacement: Replacement;
  #pending: Buffer = Buffer.alloc(0);
  #frame: Frame | null = null;
  /** Replacer of the current text message; null: none. */
  #replacer: Replacer | null = null;
  /** True if a fragment of the message was sent. */
  #hasBegun = false;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(replacement: Replacement) {
    this.#replacement = replacement;
  }

  /**
   * Returns the bytes to forward.
   * @throws SidekeyError `bad_request` if the bytes are not frames of a client
   */
  push(piece: Buffer): readonly Buffer[] {
    let bytes = this.#pending.length === 0 ? piece : Buffer.concat([this.#pending, piece]);
    const out: Buffer[] = [];
    for (;;) {
      if (this.#frame === null) {
        const head = readFrameHead(bytes, 'client');
        if (head === 'incomplete') break;
        if (head === 'malformed') throw noFrames();
        const { opcode, isFinal, payload: left } = head;
        this.#frame = { opcode, isFinal, mask: Buffer.from(head.mask), left, read: 0 };
        bytes = this.#begin(this.#frame, bytes, head.length, out);
      }
      const frame = this.#frame;
      const part = bytes.subarray(0, frame.left);
      if (part.length === 0 && frame.left > 0) break;
      bytes = bytes.subarray(part.length);
      this.#payload(frame, part, out);
      if (frame.left > 0) break;
      this.#frame = null;
    }
    this.#pending = Buffer.from(bytes);
    return out;
  }

  /** Starts a frame. The head of a frame that is not rewritten is forwarded unchanged. */
  #begin(frame: Frame, bytes: Buffer, length: number, out: Buffer[]): Buffer {
    if (frame.opcode === text) {
      if (this.#replacer !== null) throw noFrames();
      this.#replacer = new Replacer(this.#replacement);
      this.#hasBegun = false;
    }
    if (!this.#isRewritten(frame)) out.push(bytes.subarray(0, length));
    return bytes.subarray(length);
  }

  #isRewritten({ opcode }: Frame): boolean {
    return opcode === text || (opcode === continuation && this.#replacer !== null);
  }

  #payload(frame: Frame, part: Buffer, out: Buffer[]): void {
    frame.left -= part.length;
    if (!this.#isRewritten(frame)) {
      if (part.length > 0) out.push(part);
      return;
    }
    const replacer = this.#replacer!;
    const plain = masked(part, frame.mask, frame.read);
    frame.read += part.length;
    const pieces = [...replacer.push(plain)];
    const isEnd = frame.left === 0 && frame.isFinal;
    if (isEnd) pieces.push(...replacer.end());
    for (const piece of pieces) this.#hold(piece);
    if (frame.left > 0 && this.#heldBytes <= mostHeld) return;
    this.#send(isEnd, out);
    if (isEnd) this.#replacer = null;
  }

  #hold(piece: Buffer): void {
    this.#held.push(piece);
    this.#heldBytes += piece.length;
  }

  /** Sends the held bytes as one fragment. */
  #send(isFinal: boolean, out: Buffer[]): void {
    if (!isFinal && this.#heldBytes === 0) return;
    const opcode = this.#hasBegun ? continuation : text;
    out.push(frameOf(opcode, isFinal, Buffer.concat(this.#held)));
    this.#hasBegun = true;
    this.#held = [];
    this.#heldBytes = 0;
  }
}

/** Masks or unmasks bytes (§5.3). Returns a copy, because the argument may belong to another part. */
function masked(bytes: Buffer, mask: Buffer, offset: number): Buffer {
  const done = Buffer.allocUnsafe(bytes.length);
  for (let i = 0; i < bytes.length; i += 1) done[i] = bytes[i]! ^ mask[(offset + i) & 3]!;
  return done;
}

function frameOf(opcode: number, isFinal: boolean, payload: Buffer): Buffer {
  const { length } = payload;
  const size = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(6 + size);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1] = 0x80 | (size === 0 ? length : size === 2 ? 126 : 127);
  if (size === 2) head.writeUInt16BE(length, 2);
  if (size === 8) head.writeBigUInt64BE(BigInt(length), 2);
  // Not the client's: two payloads under one mask would tell of each other (§10.3).
  const mask = newMask();
  mask.copy(head, 2 + size);
  return Buffer.concat([head, masked(payload, mask, 0)]);
}

/** Random bytes for masks, drawn in bulk because single draws are slow and messages are short. */
let masks: Buffer = Buffer.alloc(0);

function newMask(): Buffer {
  if (masks.length === 0) masks = randomBytes(4_096);
  const mask = masks.subarray(0, 4);
  masks = masks.subarray(4);
  return mask;
}

function noFrames(): SidekeyError {
  return new SidekeyError('bad_request', 'The client sent bytes that are no frames of a WebSocket.');
}

/** Maximum candidates that are checked in one body. */
const mostTried = 1_000;
const marks = alphabets.map(({ mark }) => Buffer.from(mark));
/** Maximum bytes of a mark and its code. */
const longest = Math.max(...alphabets.map((alphabet) => alphabet.mark.length + codeLength(alphabet)));

/** Detects placeholders in a stream of bytes without delay: a placeholder is useless to an attacker. */
export class PlaceholderScanner {
  readonly #codes: Pick<PlaceholderCodes, 'find'>;
  readonly #budget: Budget = { left: mostTried };
  /** Last received bytes, which may be the start of a placeholder. */
  #before: Buffer = Buffer.alloc(0);

  constructor(codes: Pick<PlaceholderCodes, 'find'>) {
    this.#codes = codes;
  }

  /** Returns the placeholders that end in this piece. May repeat a placeholder of the previous piece. */
  push(piece: Buffer): readonly FoundCode[] {
    const edge = Buffer.concat([this.#before, piece.subarray(0, longest - 1)]);
    const edgeCodes = findIn(edge, this.#codes, this.#budget);
    const isInEdge = piece.length < longest;
    this.#before = Buffer.from((isInEdge ? edge : piece).subarray(1 - longest));
    return isInEdge ? edgeCodes : [...edgeCodes, ...findIn(piece, this.#codes, this.#budget)];
  }
}

/** Returns the placeholders in complete bytes. */
export function findIn(
  bytes: Buffer,
  codes: Pick<PlaceholderCodes, 'find'>,
  budget?: Budget,
): readonly FoundCode[] {
  // Most hold no mark, and are not made a text.
  return marks.some((mark) => bytes.includes(mark)) ? codes.find(bytes.toString('latin1'), budget) : [];
}

/**
 * Replaces texts by a value, in bytes that come in pieces. If two texts start at one place, replaces the
 * longer. Holds back a possible start of a text until the rest has come.
 */
export class Replacer {
  /** Number of replaced texts. */
  found = 0;
  readonly #texts: readonly Buffer[];
  readonly #value: Buffer;
  #held: Buffer = Buffer.alloc(0);

  constructor({ texts, value }: Replacement) {
    this.#texts = texts;
    this.#value = value;
  }

  /** Returns the bytes to forward, perhaps `piece` itself. */
  push(piece: Buffer): readonly Buffer[] {
    return this.#replace(this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]), false);
  }

  /** Ends the stream. Returns the remaining bytes to forward. */
  end(): readonly Buffer[] {
    return this.#replace(this.#held, true);
  }

  #replace(bytes: Buffer, isLast: boolean): readonly Buffer[] {
    const done: Buffer[] = [];
    // The next position of each text is kept: many occurrences of one text cause no new searches for others.
    const places = this.#texts.map((text) => ({ text, at: bytes.indexOf(text) }));
    let from = 0;
    let held = -1;
    for (;;) {
      for (const place of places)
        if (place.at >= 0 && place.at < from) place.at = bytes.indexOf(place.text, from);
      if (held < from) held = isLast ? bytes.length : this.#beginningIn(bytes, from);
      const next = firstOf(places);
      if (next === null || next.at >= held) break;
      if (next.at > from) done.push(bytes.subarray(from, next.at));
      done.push(this.#value);
      this.found += 1;
      from = next.at + next.text.length;
    }
    if (held > from) done.push(bytes.subarray(from, held));
    // Copied: a few bytes must not keep all that they came with, which may change.
    this.#held = Buffer.from(bytes.subarray(held));
    return done;
  }

  /** Returns the start of the first incomplete text, or the end of the bytes if there is none. */
  #beginningIn(bytes: Buffer, from: number): number {
    let first = bytes.length;
    for (const text of this.#texts) {
      const most = Math.min(text.length - 1, bytes.length - from);
      for (let length = most; length > bytes.length - first; length -= 1) {
        const at = bytes.length - length;
        if (bytes[at] !== text[0] || bytes.compare(text, 0, length, at) !== 0) continue;
        first = at;
        break;
      }
    }
    return first;
  }
}

interface Place {
  readonly text: Buffer;
  /** Position of the next occurrence of the text; -1: none. */
  readonly at: number;
}

function firstOf(places: readonly Place[]): Place | null {
  let first: Place | null = null;
  for (const place of places) {
    if (place.at < 0) continue;
    const isBefore = first === null || place.at < first.at;
    if (isBefore || (place.at === first!.at && place.text.length > first!.text.length)) first = place;
  }
  return first;
}

/** Transforms of WebSocket frames, one for each direction. */
export interface MessageRewriting {
  readonly toUpstream: Transform;
  readonly toClient: Transform;
}

/**
 * Puts a credential into the messages of a client, and removes it from answers that repeat a message.
 *
 * If bytes are not frames, the streams fail with SidekeyError: `bad_request` for bytes of the client,
 * `upstream_protocol` for bytes of the upstream.
 */
export function messageRewriting(
  replacement: Replacement,
  secrets: GuardedSecrets | undefined,
  onLeaks: (times: number) => void,
): MessageRewriting {
  const frames = new ClientFrames(replacement);
  const matcher = secrets === undefined ? null : matcherFor(secrets);
  const shown = matcher === null ? null : new ServerFrames(matcher);
  let reported = 0;
  const tell = (pieces: readonly Buffer[]) => {
    const { found = 0 } = shown ?? {};
    if (found > reported) onLeaks(found - reported);
    reported = found;
    return pieces;
  };
  return {
    toUpstream: through((chunk) => frames.push(chunk)),
    toClient: through((chunk) => tell(shown?.push(chunk) ?? [chunk])),
  };
}

function through(pieces: (chunk: Buffer) => readonly Buffer[]): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        for (const piece of pieces(chunk)) this.push(piece);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
