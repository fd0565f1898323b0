import { SidekeyError } from '../../lib/errors.ts';
import { isFieldName } from '../../policy/text.ts';
import { hopByHop, nominatedBy, notInTrailers, type RawFields } from '../fields.ts';
import { type FieldTable, NameSet } from '../head.ts';

/** Bodies that are framed here: those of our own, and those that come in a frame that the other side cannot read. */

/** What stands before a chunk. `size` is at least 1: a chunk of none is the end. */
export function chunkStart(size: number): string {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError('a chunk has at least one byte');
  return `${size.toString(16)}\r\n`;
}

/** What stands behind it. */
export const chunkEnd = '\r\n';

/** The end of a body without trailers. */
export const lastChunk = '0\r\n\r\n';

const staysBehind = new NameSet(notInTrailers);

/** The trailers of a body that may go on: names and values in turn. */
export function trailersToPass(trailers: FieldTable): RawFields {
  const kept: string[] = [];
  for (let index = 0; index < trailers.count; index += 1) {
    if (!staysBehind.has(trailers, index)) kept.push(trailers.nameAt(index), trailers.valueAt(index));
  }
  return kept;
}

/** What ends a body behind its last chunk's line (`BodyReader.relayEnd`): the trailers and the empty line. */
export function trailerSection(fields: RawFields): Buffer {
  return Buffer.from(`${fieldLines(fields)}\r\n`, 'latin1');
}

/** A head that was read: of a request or a response. */
type ReadHead = FieldTable & { readonly lineStart: number; readonly lineEnd: number };

/** What is other in a head that goes on. All that is not named here goes on byte by byte, in its order. */
export interface HeadEdit {
  /** The request or status line, without its end; absent: the one that was read. */
  readonly line?: string;
  /** Fields that do not go on, besides those of one connection. */
  readonly drop: NameSet;
  /** Names and values in turn, right behind the first line. */
  readonly front?: RawFields;
  /** Names and values in turn, behind all others. */
  readonly back?: RawFields;
  /** Whole lines of our own behind those, as `fieldLines` makes them. */
  readonly lines?: string;
  /** Fields that stand where the first of these names stood, and in front where there is none; all of `names` go. */
  readonly replace?: { readonly names: NameSet; readonly fields: RawFields };
}

/** The hop-by-hop fields without the one that frames the body: the body keeps its framing. */
const hopByHopNames = new NameSet([...hopByHop].filter((name) => name !== 'transfer-encoding'));

const noNames = new NameSet([]);

/** What may stand in a line that is written here: no control byte but a tab, and nothing that is no byte. */
const oneLine = /^[\t\x20-\x7e\x80-\xff]*$/;

/** A head ready to be written: its size is known before there is a place for it. */
interface PreparedHead {
  /** Bytes that it takes. */
  readonly size: number;
  /** Writes it; answers where it ends. The target has room for `size` bytes from `at` on. */
  write(target: Buffer, at: number): number;
}

/**
 * What a head becomes. Its bytes must stay where they are until it is written.
 *
 * @throws SidekeyError `policy_violation` where what is added would be more than one line; it is not repeated
 */
export function prepareHead(head: ReadHead, edit: HeadEdit): PreparedHead {
  return new Prepared(head, edit);
}

/** As `prepareHead`, in a buffer of its own. */
export function headBytes(head: ReadHead, edit: HeadEdit): Buffer {
  const prepared = prepareHead(head, edit);
  const bytes = Buffer.allocUnsafe(prepared.size);
  prepared.write(bytes, 0);
  return bytes;
}

class Prepared implements PreparedHead {
  readonly size: number;
  readonly #head: ReadHead;
  readonly #keepsLine: boolean;
  /** The first line and what stands behind it; the line as it was read is in `#spans`. */
  readonly #before: string;
  readonly #instead: string;
  readonly #after: string;
  /** Bytes that are kept, start and end in turn, from `base`. */
  readonly #spans: number[] = [];
  /** Before which of `#spans` the replacement stands. */
  #insteadAt = -1;

  constructor(head: ReadHead, edit: HeadEdit) {
    this.#head = head;
    this.#keepsLine = edit.line === undefined;
    const front = edit.front === undefined ? '' : fieldLines(edit.front);
    this.#instead = edit.replace === undefined ? '' : fieldLines(edit.replace.fields);
    this.#after = `${edit.back === undefined ? '' : fieldLines(edit.back)}${edit.lines ?? ''}\r\n`;
    this.#before = `${edit.line === undefined ? '' : `${checked(edit.line)}\r\n`}${front}`;
    this.#select(edit);
    let size = this.#before.length + this.#instead.length + this.#after.length;
    if (this.#keepsLine) size += head.lineEnd - head.lineStart;
    for (let i = 0; i < this.#spans.length; i += 2) size += this.#spans[i + 1]! - this.#spans[i]!;
    this.size = size;
  }

  #select(edit: HeadEdit): void {
    const head = this.#head;
    const nominated = nominatedBy(head.values('connection'));
    const { drop } = edit;
    const replaced = edit.replace?.names ?? noNames;
    const bits = hopByHopNames.bits | drop.bits;
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
      if (from >= 0) this.#spans.push(from, head.lineAt(index));
      from = -1;
      if (isReplaced && this.#insteadAt < 0) this.#insteadAt = this.#spans.length;
    }
    if (from >= 0) this.#spans.push(from, head.size - 2);
    if (this.#insteadAt < 0) this.#insteadAt = 0;
  }

  write(target: Buffer, start: number): number {
    const { bytes, base, lineStart, lineEnd } = this.#head;
    // Node would write what fits, and say nothing.
    if (target.length - start < this.size)
      throw new RangeError('the head does not fit where it is to be written');
    let at = start;
    if (this.#keepsLine) at += bytes.copy(target, at, base + lineStart, base + lineEnd);
    at += target.write(this.#before, at, 'latin1');
    for (let i = 0; i < this.#spans.length; i += 2) {
      if (i === this.#insteadAt) at += target.write(this.#instead, at, 'latin1');
      at += bytes.copy(target, at, base + this.#spans[i]!, base + this.#spans[i + 1]!);
    }
    if (this.#insteadAt === this.#spans.length) at += target.write(this.#instead, at, 'latin1');
    return at + target.write(this.#after, at, 'latin1');
  }
}

/**
 * A head, or trailers, of our own: the first line and each field, checked.
 *
 * @throws SidekeyError `policy_violation` as `prepareHead`
 */
export function ownHead(line: string, fields: RawFields): Buffer {
  return Buffer.from(`${checked(line)}\r\n${fieldLines(fields)}\r\n`, 'latin1');
}

/** The lines of fields, each with its end. */
export function fieldLines(fields: RawFields): string {
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) {
    if (!isFieldName(fields[i]!)) throw notOneLine();
    lines += `${fields[i]}: ${checked(fields[i + 1]!)}\r\n`;
  }
  return lines;
}

/** Whether a text is no more than one line: no control byte in it but a tab, and nothing that is no byte. */
export function isOneLine(text: string): boolean {
  return oneLine.test(text);
}

function checked(text: string): string {
  if (!oneLine.test(text)) throw notOneLine();
  return text;
}

function notOneLine(): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    'A line that was to be added to a message holds a control byte.',
  );
}
