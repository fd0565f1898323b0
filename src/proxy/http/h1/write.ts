import { SidekeyError } from '../../../lib/errors.ts';
import { isFieldName } from '../../policy/text.ts';
import { framingFields, hopByHop, nominatedBy, notInTrailers, type RawFields } from '../fields.ts';
import { type FieldTable, NameSet } from '../head.ts';
import { CR, known, LF, SP } from './scan.ts';

/** Returns the line before a chunk. `size` is at least 1, because an empty chunk ends the body. */
export function chunkStart(size: number): string {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError('a chunk has at least one byte');
  return `${size.toString(16)}\r\n`;
}

export const chunkEnd = '\r\n';

/** The end of a body without trailers. */
export const lastChunk = '0\r\n\r\n';

const removedTrailers = new NameSet([...notInTrailers, ...framingFields]);

/** Returns the trailers to forward. */
export function trailersToPass(trailers: FieldTable): RawFields {
  const kept: string[] = [];
  for (let index = 0; index < trailers.count; index += 1) {
    if (!removedTrailers.has(trailers, index)) kept.push(trailers.nameAt(index), trailers.valueAt(index));
  }
  return kept;
}

/** Returns a field section (RFC 9112 §2.1): field lines or trailer lines, and the empty line. */
export function fieldSection(fields: RawFields): Buffer {
  return Buffer.from(`${fieldLines(fields)}\r\n`, 'latin1');
}

/** A received head of a request or a response. */
type ReadHead = FieldTable & { readonly lineStart: number; readonly lineEnd: number };

/** The changes to a forwarded head. All other bytes are copied in order. */
export interface HeadEdit {
  /** The request or status line, without its end. Absent: the received line. */
  readonly line?: string;
  /** Fields to remove besides the hop-by-hop ones. */
  readonly drop: NameSet;
  /** Lines to append, as `fieldLines` returns them. */
  readonly lines: string;
}

/** The hop-by-hop fields except `Transfer-Encoding`, because the body keeps its framing. */
const hopByHopNames = new NameSet([...hopByHop].filter((name) => name !== 'transfer-encoding'));

/** A latin1 text without control bytes except tabs. */
const oneLine = /^[\t\x20-\x7e\x80-\xff]*$/;

/** A buffer to write a head into, such as `WriteBuffer`. */
interface HeadTarget {
  /** Returns a buffer with room for `size` bytes from `end` on, or null if they are too many. */
  room(size: number): Buffer | null;
  readonly end: number;
  /** Adds the bytes that were written from `end` on. `isFlushed`: writes everything at once. */
  filledTo(end: number, isFlushed?: boolean): void;
  /** Adds a copy of a piece. */
  add(piece: Buffer): boolean;
  /** Writes everything at once. */
  flush(): void;
}

/** Ranges of bytes of a head that stay, relative to its `base`: start and end in turn. Used by one call. */
const spans: number[] = [];

/**
 * Adds a changed head to a buffer.
 *
 * @throws SidekeyError `policy_violation` if the line has a line break. The message does not quote it
 */
export function addHead(into: HeadTarget, head: ReadHead, { line, drop, lines }: HeadEdit): void {
  const before = line === undefined ? '' : `${checked(line)}\r\n`;
  const count = selectSpans(head, drop);
  let size = before.length + lines.length + 2;
  if (line === undefined) size += head.lineEnd - head.lineStart;
  for (let i = 0; i < count; i += 2) size += spans[i + 1]! - spans[i]!;
  const room = into.room(size);
  const target = room ?? Buffer.allocUnsafe(size);
  const { bytes, base, lineStart, lineEnd } = head;
  let at = room === null ? 0 : into.end;
  // Node would truncate silently.
  if (target.length - at < size) throw new RangeError('the head does not fit where it is to be written');
  if (line === undefined) at += bytes.copy(target, at, base + lineStart, base + lineEnd);
  else at = put(target, at, before);
  for (let i = 0; i < count; i += 2) at += bytes.copy(target, at, base + spans[i]!, base + spans[i + 1]!);
  at = put(target, at, lines);
  target[at] = CR;
  target[at + 1] = LF;
  if (room === null) into.add(target);
  else into.filledTo(at + 2);
}

/** Sets `spans`. Returns the number of its entries. */
function selectSpans(head: ReadHead, drop: NameSet): number {
  const nominated = nominatesSome(head) ? nominatedBy(head.values('connection')) : null;
  const bits = hopByHopNames.bits | drop.bits;
  let count = 0;
  let from = -1;
  for (let index = 0; index <= head.count; index += 1) {
    const stays =
      index < head.count &&
      ((bits >> head.numberAt(index)) & 1) === 0 &&
      !drop.hasOther(head, index) &&
      (nominated === null || !nominated.has(head.nameAt(index).toLowerCase()));
    if (stays) {
      if (from < 0) from = head.lineAt(index);
    } else if (from >= 0) {
      spans[count++] = from;
      spans[count++] = head.lineAt(index);
      from = -1;
    }
  }
  return count;
}

/** Number of characters from which a call into V8 is faster than a loop. */
const longText = 64;

/** Writes a latin1 text. Returns its end. */
function put(target: Buffer, at: number, text: string): number {
  const { length } = text;
  if (length >= longText) return at + target.write(text, at, 'latin1');
  for (let i = 0; i < length; i += 1) target[at + i] = text.charCodeAt(i);
  return at + length;
}

/** Reports whether `Connection` has options other than `keep-alive` and `close`, which nominate no field. */
function nominatesSome(head: FieldTable): boolean {
  for (let index = 0; index < head.count; index += 1) {
    if (head.numberAt(index) !== known.connection) continue;
    if (!head.isPlain(index, 'keep-alive') && !head.isPlain(index, 'close')) return true;
  }
  return false;
}

/**
 * Returns a new head.
 *
 * @throws SidekeyError `policy_violation` if a text has a line break
 */
export function ownHead(line: string, fields: RawFields): Buffer {
  return Buffer.from(`${checked(line)}\r\n${fieldLines(fields)}\r\n`, 'latin1');
}

/** Method and target of a request. */
export interface OutgoingLine {
  readonly method: string;
  readonly path: string;
}

const requestLineEnd = ' HTTP/1.1\r\n';

/**
 * Adds the head of a request to a buffer.
 *
 * @param line its target has no spaces. Like the method, it must pass `isOneLine`
 * @param section as `fieldSection` returns it
 * @param isFlushed writes everything at once
 */
export function addRequestHead(
  into: HeadTarget,
  line: OutgoingLine,
  section: Buffer,
  isFlushed: boolean,
): void {
  const { method, path: target } = line;
  const size = method.length + 1 + target.length + requestLineEnd.length + section.length;
  const room = into.room(size);
  if (room === null) {
    into.add(Buffer.from(`${method} ${target}${requestLineEnd}`, 'latin1'));
    into.add(section);
    if (isFlushed) into.flush();
    return;
  }
  let at = put(room, into.end, method);
  room[at] = SP;
  at = put(room, at + 1, target);
  at = put(room, at, requestLineEnd);
  at += section.copy(room, at);
  into.filledTo(at, isFlushed);
}

/** Returns field lines, each with its CR LF. */
export function fieldLines(fields: RawFields): string {
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) {
    if (!isFieldName(fields[i]!)) throw notOneLine();
    lines += `${fields[i]}: ${checked(fields[i + 1]!)}\r\n`;
  }
  return lines;
}

/** Reports whether a text is latin1 without control bytes except tabs. */
export function isOneLine(text: string): boolean {
  return oneLine.test(text);
}

/** Reports whether a path can be the target of a request line. A space would end it. */
export function isOneTarget(path: string): boolean {
  return path.startsWith('/') && !path.includes(' ') && isOneLine(path);
}

function checked(text: string): string {
  if (!oneLine.test(text)) throw notOneLine();
  return text;
}

function notOneLine(): SidekeyError {
  const sentence = 'A line that was to be added to a message holds a control byte.';
  return new SidekeyError('policy_violation', sentence);
}
