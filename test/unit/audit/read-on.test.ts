import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { rotatedName } from '../../../src/audit/log-files.ts';
import { endOfLog, readLinesFrom, startOfLog, type LogPosition } from '../../../src/audit/position.ts';
import { newLogFile, openLog, write, writtenLog } from './log-for-test.ts';

const later = () => Date.now() + 60_000;
const limits = { lines: 1_000, bytes: 262_144 };

async function pathsFrom(file: string, position: LogPosition, now = later()) {
  const found: (string | undefined)[] = [];
  let at = position;
  for (;;) {
    const { lines, next } = await readLinesFrom(file, at, limits, now);
    found.push(...lines.flatMap(({ line }) => line.path ?? []));
    if (lines.length === 0 && next.segment === at.segment && next.offset === at.offset) return { found, at };
    at = next;
  }
}

const all = (count: number) => Array.from({ length: count }, (_, index) => `/${index + 1}`);

it('reading on returns a log from its start to its end', async () => {
  const file = await writtenLog(30, { maxBytes: 900 });
  const { found, at } = await pathsFrom(file, startOfLog(file));
  expect(found).toEqual(all(30));
  expect(at).toEqual(endOfLog(file));
  const nothing = await newLogFile();
  expect(await pathsFrom(nothing, endOfLog(nothing))).toEqual({ found: [], at: { segment: 1, offset: 0 } });
});

it('reading on stays in a rotated file while its writer may still write to it', async () => {
  const file = await writtenLog(10, { maxBytes: 900 });
  const { at } = await pathsFrom(file, startOfLog(file), Date.now());
  expect(at).toEqual({ segment: 1, offset: fs.statSync(rotatedName(file, 1)).size });
});

it('reading on waits for the newline in a live file, and returns a last line without a newline in a complete file', async () => {
  const file = await writtenLog(2);
  const text = fs.readFileSync(file, 'utf8');
  fs.truncateSync(file, text.length - 1);
  expect((await pathsFrom(file, startOfLog(file))).found).toEqual(['/1']);
  fs.renameSync(file, rotatedName(file, 1));
  const log = await openLog(file);
  await write(log, 1, 3);
  expect((await pathsFrom(file, startOfLog(file))).found).toEqual(all(3));
});

it('reading on skips torn lines', async () => {
  const file = await writtenLog(2);
  fs.appendFileSync(file, '{"v":1,"seq":9,"ti');
  const log = await openLog(file);
  await write(log, 1, 3);
  expect((await pathsFrom(file, startOfLog(file))).found).toEqual(all(3));
});

it('reading on starts at the first line of a log that replaced another log', async () => {
  const file = await writtenLog(30, { maxBytes: 900 });
  const end = endOfLog(file);
  for (const name of fs.readdirSync(dirname(file))) fs.rmSync(join(dirname(file), name));
  const log = await openLog(file);
  await write(log, 2);
  expect((await pathsFrom(file, end)).found).toEqual(all(2));
});

it('reading on respects the limits of lines and bytes, and returns at least one line', async () => {
  const file = await writtenLog(10);
  const one = await readLinesFrom(file, startOfLog(file), { lines: 3, bytes: 262_144 }, later());
  expect(one.lines).toHaveLength(3);
  const other = await readLinesFrom(file, one.next, { lines: 100, bytes: 1 }, later());
  expect(other.lines.map(({ line }) => line.path)).toEqual(['/4']);
});

it('reading on starts again in a file that became shorter', async () => {
  const file = await writtenLog(3);
  expect((await pathsFrom(file, { segment: 1, offset: 1_000_000 })).found).toEqual(all(3));
});
