import { fieldLines } from './head-writer.ts';
import type { FieldTable } from './field-table.ts';
import { NameSet } from './name-set.ts';
import { notInTrailers, type RawFields } from '../fields.ts';

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
