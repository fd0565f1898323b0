import { SidekeyError } from '../../../lib/errors.ts';
import { isFieldName } from '../../policy/text.ts';
import { hopByHop, nominatedBy, notInTrailers, type RawFields } from '../fields.ts';
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

const removedTrailers = new NameSet(notInTrailers);

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
  /** Fields to insert after the first line. */
  readonly front?: RawFields;
  /** Fields to append. */
  readonly back?: RawFields;
  /** Lines to append after `back`, as `fieldLines` returns them. */
  readonly lines?: string;
  /** Removes all `names`, and inserts `fields` at the first of them, or in front if there is none. */
  readonly replace?: { readonly names: NameSet; readonly fields: RawFields };
}

/** The hop-by-hop fields except `Transfer-Encoding`, because the body keeps its framing. */
const hopByHopNames = new NameSet([...hopByHop].filter((name) => name !== 'transfer-encoding'));

const noNames = new NameSet([]);

/** A latin1 text without control bytes except tabs. */
const oneLine = /^[\t\x20-\x7e\x80-\xff]*$/;

/** A head that is ready to be written. */
interface PreparedHead {
  readonly size: number;
  /** Writes the head. Returns its end. The target needs `size` bytes from `at` on. */
  write(target: Buffer, at: number): number;
}

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

/**
 * Prepares a changed head. The bytes of the original must not change before `write`.
 *
 * @throws SidekeyError `policy_violation` if an added field has a line break. The message does not quote it
 */
export function prepareHead(head: ReadHead, edit: HeadEdit): PreparedHead {
  const prepared = new Prepared();
  prepared.prepare(head, edit);
  return prepared;
}

/** Like `prepareHead`, but writes into a new buffer. */
export function headBytes(head: ReadHead, edit: HeadEdit): Buffer {
  shared.prepare(head, edit);
  const bytes = Buffer.allocUnsafe(shared.size);
  shared.write(bytes, 0);
  return bytes;
}

/** Like `prepareHead`, but writes into `into`. */
export function addHead(into: HeadTarget, head: ReadHead, edit: HeadEdit): void {
  shared.prepare(head, edit);
  const room = into.room(shared.size);
  if (room !== null) into.filledTo(shared.write(room, into.end));
  else {
    const bytes = Buffer.allocUnsafe(shared.size);
    shared.write(bytes, 0);
    into.add(bytes);
  }
}

class Prepared implements PreparedHead {
  size = 0;
  #head: ReadHead | null = null;
  #keepsLine = true;
  /** The new first line, and the fields after it. A received line is copied from `#head` instead. */
  #before = '';
  #instead = '';
  /** The two parts after the fields, without the empty line. */
  #back = '';
  #lines = '';
  /** Ranges of bytes to keep, relative to `base`: the first `#spanCount` entries, start and end in turn. */
  readonly #spans: number[] = [];
  #spanCount = 0;
  /** Index in `#spans` before which the replacement is written. */
  #insteadAt = -1;

  prepare(head: ReadHead, edit: HeadEdit): void {
    this.#head = head;
    this.#keepsLine = edit.line === undefined;
    const front = edit.front === undefined ? '' : fieldLines(edit.front);
    this.#instead = edit.replace === undefined ? '' : fieldLines(edit.replace.fields);
    this.#back = edit.back === undefined ? '' : fieldLines(edit.back);
    this.#lines = edit.lines ?? '';
    this.#before = edit.line === undefined ? front : `${checked(edit.line)}\r\n${front}`;
    this.#select(edit);
    let size = this.#before.length + this.#instead.length + this.#back.length + this.#lines.length + 2;
    if (this.#keepsLine) size += head.lineEnd - head.lineStart;
    for (let i = 0; i < this.#spanCount; i += 2) size += this.#spans[i + 1]! - this.#spans[i]!;
    this.size = size;
  }

  #select(edit: HeadEdit): void {
    const head = this.#head!;
    const nominated = nominatesSome(head) ? nominatedBy(head.values('connection')) : null;
    const { drop } = edit;
    const replaced = edit.replace?.names ?? noNames;
    const bits = hopByHopNames.bits | drop.bits;
    this.#spanCount = 0;
    this.#insteadAt = -1;
    let from = -1;
    for (let index = 0; index < head.count; index += 1) {
      const isReplaced = replaced.has(head, index);
      const stays =
        !isReplaced &&
        ((bits >> head.numberAt(index)) & 1) === 0 &&
        !drop.hasOther(head, index) &&
        (nominated === null || !nominated.has(head.nameAt(index).toLowerCase()));
      if (stays) {
        if (from < 0) from = head.lineAt(index);
        continue;
      }
      if (from >= 0) this.#span(from, head.lineAt(index));
      from = -1;
      if (isReplaced && this.#insteadAt < 0) this.#insteadAt = this.#spanCount;
    }
    if (from >= 0) this.#span(from, head.lineAt(head.count));
    if (this.#insteadAt < 0) this.#insteadAt = 0;
  }

  #span(from: number, to: number): void {
    this.#spans[this.#spanCount] = from;
    this.#spans[this.#spanCount + 1] = to;
    this.#spanCount += 2;
  }

  write(target: Buffer, start: number): number {
    const { bytes, base, lineStart, lineEnd } = this.#head!;
    // Node would truncate silently.
    if (target.length - start < this.size)
      throw new RangeError('the head does not fit where it is to be written');
    let at = start;
    if (this.#keepsLine) at += bytes.copy(target, at, base + lineStart, base + lineEnd);
    at = put(target, at, this.#before);
    for (let i = 0; i < this.#spanCount; i += 2) {
      if (i === this.#insteadAt) at = put(target, at, this.#instead);
      at += bytes.copy(target, at, base + this.#spans[i]!, base + this.#spans[i + 1]!);
    }
    if (this.#insteadAt === this.#spanCount) at = put(target, at, this.#instead);
    at = put(target, at, this.#back);
    at = put(target, at, this.#lines);
    target[at] = CR;
    target[at + 1] = LF;
    return at + 2;
  }
}

/** Shared by all heads that are written immediately. */
const shared = new Prepared();

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
 * @throws SidekeyError `policy_violation` as `prepareHead`
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

function checked(text: string): string {
  if (!oneLine.test(text)) throw notOneLine();
  return text;
}

function notOneLine(): SidekeyError {
  const sentence = 'A line that was to be added to a message holds a control byte.';
  return new SidekeyError('policy_violation', sentence);
}
