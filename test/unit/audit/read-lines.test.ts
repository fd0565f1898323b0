import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { logBytes, rotatedFiles, snapshotLog } from '../../../src/audit/log-files.ts';
import {
  type LogReader,
  openSource,
  plainReader,
  readBackwards,
  readForwards,
} from '../../../src/audit/reader.ts';
import { newLogFile } from './log-for-test.ts';

/** Lines of many lengths, so that they meet the chunks of both readers in every way. */
const lines = Array.from({ length: 400 }, (_, index) => `${index} ${'x'.repeat((index * 7_919) % 3_001)}`);

async function openWith(text: string): Promise<{ reader: LogReader; size: number }> {
  const file = await newLogFile();
  fs.writeFileSync(file, text);
  return { reader: plainReader(fs.openSync(file, 'r')), size: Buffer.byteLength(text) };
}

async function forwards(reader: LogReader, size: number): Promise<string[]> {
  const found: string[] = [];
  for await (const chunk of readForwards(reader, size)) {
    for (const { bytes, number } of chunk) {
      found.push(bytes.toString());
      expect(number).toBe(found.length);
    }
  }
  return found;
}

it.each([
  ['with', '\n'],
  ['without', ''],
])('the line reader reads the same lines in both directions, %s a last newline', async (_, end) => {
  const text = lines.join('\n') + end;
  const { reader, size } = await openWith(text);
  expect(await forwards(reader, size)).toEqual(lines);
  const back = Array.from(readBackwards(reader, size), ({ bytes, at }) => {
    expect(text.slice(at, at + bytes.length)).toBe(bytes.toString());
    return bytes.toString();
  });
  expect(back.toReversed()).toEqual(lines);
  reader.close();
});

it('the line reader reads no further than the given size', async () => {
  const { reader } = await openWith('one\ntwo\nthree\n');
  expect(await forwards(reader, 6)).toEqual(['one', 'tw']);
  expect(Array.from(readBackwards(reader, 6), ({ bytes }) => bytes.toString())).toEqual(['tw', 'one']);
  expect(await forwards(reader, 0)).toEqual([]);
  reader.close();
});

it('the line reader returns a line without an end in parts of bounded size', async () => {
  const { reader, size } = await openWith('x'.repeat(3_000_000));
  const parts = [...readBackwards(reader, size)].map(({ bytes }) => bytes.length);
  for await (const chunk of readForwards(reader, size)) parts.push(...chunk.map(({ bytes }) => bytes.length));
  expect(Math.max(...parts)).toBeLessThan(600_000);
  expect(parts.reduce((sum, length) => sum + length, 0)).toBe(2 * size);
  reader.close();
});

it('a log that cannot be read is named, with the next step', async () => {
  const file = await newLogFile();
  const loop = `${file}.loop`;
  fs.symlinkSync(loop, loop);
  const source = { path: loop, size: 1, id: '0:0', number: 1, packed: false };
  const inFile = path.join(import.meta.filename, 'audit.jsonl');
  for (const read of [
    () => snapshotLog(loop),
    () => logBytes(loop),
    () => rotatedFiles(inFile),
    () => openSource(file, source),
  ])
    expect(read).toThrow(
      expect.objectContaining({ code: 'audit_unavailable', hint: expect.stringContaining('chmod u+rw') }),
    );
});
