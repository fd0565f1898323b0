import fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  packedName,
  rotatedFiles,
  rotatedName,
  snapshotLog,
  tryLockFile,
} from '../../../src/audit/log-files.ts';
import { packRotated } from '../../../src/audit/retention.ts';
import { tailAudit } from '../../../src/audit/query.ts';
import { allLines, newLogFile, openLog, paths, problems, verify, write, writtenLog } from './log-for-test.ts';

const later = () => Date.now() + 120_000;

/** A log of many files, all rotated ones packed. */
async function packedLog(count = 30): Promise<string> {
  const file = await writtenLog(count, { maxBytes: 900 });
  expect(await packRotated(file, later())).toBeGreaterThan(3);
  return file;
}

const allPaths = (count: number, from = 1) => Array.from({ length: count }, (_, index) => `/${index + from}`);

describe('packing', () => {
  it('preserves all lines, and the log verifies', async () => {
    const file = await writtenLog(30, { maxBytes: 900 });
    const before = await allLines(file);
    const texts = rotatedFiles(file).map(({ path }) => fs.readFileSync(path));
    await packRotated(file, later());
    const packed = rotatedFiles(file);
    expect(packed.every((each) => each.packed)).toBe(true);
    expect(packed.map(({ path }) => gunzipSync(fs.readFileSync(path)))).toEqual(texts);
    expect(packed.map(({ path }) => fs.statSync(path).mode & 0o777)).toEqual(packed.map(() => 0o600));
    expect(await allLines(file)).toEqual(before);
    expect(await verify(file)).toMatchObject({ ok: true, files: packed.length + 1, lines: before.length });
  });

  it('skips a file whose writer may still write to it', async () => {
    const file = await writtenLog(10, { maxBytes: 900 });
    expect(await packRotated(file, Date.now())).toBe(0);
    const other = await writtenLog(2);
    fs.linkSync(other, rotatedName(other, 1));
    expect(await packRotated(other, later())).toBe(0);
  });

  it('is done by one process at a time', async () => {
    const file = await writtenLog(10, { maxBytes: 900 });
    const lock = tryLockFile(`${file}.pack.lock`);
    expect(await packRotated(file, later())).toBe(0);
    lock?.release();
    expect(await packRotated(file, later())).toBeGreaterThan(0);
  });

  it('restarts after an interruption, and the plain file counts until then', async () => {
    const file = await writtenLog(30, { maxBytes: 900 });
    const plain = fs.readFileSync(rotatedName(file, 1));
    await packRotated(file, later());
    fs.writeFileSync(rotatedName(file, 1), plain, { mode: 0o600 });
    fs.writeFileSync(packedName(file, 1), 'half of it');
    fs.writeFileSync(`${packedName(file, 2)}.new`, 'a draft');
    expect(await problems(file)).toEqual([]);
    expect(await packRotated(file, later())).toBe(1);
    expect(await problems(file)).toEqual([]);
    expect(await paths(file)).toEqual(allPaths(30));
  });
});

describe('a packed log', () => {
  it('can be tailed and followed', async () => {
    const file = await packedLog();
    const tail: (string | undefined)[] = [];
    for await (const { path } of tailAudit({ file, lines: 100 })) if (path !== undefined) tail.push(path);
    expect(tail).toEqual(allPaths(30));
    const log = await openLog(file, { maxBytes: 900 });
    const stop = new AbortController();
    const seen: string[] = [];
    for await (const { path } of tailAudit({ file, lines: 1, follow: true, signal: stop.signal })) {
      if (path === undefined) continue;
      seen.push(path);
      if (path === '/30') await write(log, 10, 31);
      if (path === '/40') stop.abort();
    }
    expect(seen).toEqual(allPaths(11, 30));
  });

  it('can be continued, and later packs use the next numbers', async () => {
    const file = await packedLog();
    const last = rotatedFiles(file).at(-1)?.number ?? 0;
    const log = await openLog(file, { maxBytes: 900 });
    await write(log, 10, 31);
    expect(rotatedFiles(file).at(-1)?.number).toBeGreaterThan(last);
    await packRotated(file, later());
    expect(await paths(file)).toEqual(allPaths(40));
    expect(await problems(file)).toEqual([]);
  });

  it('provides the end of a chain to a writer without a head record', async () => {
    const file = await packedLog();
    fs.rmSync(file);
    fs.rmSync(`${file}.head`);
    const before = await allLines(file);
    const log = await openLog(file);
    await write(log, 1, 99);
    expect((await allLines(file)).slice(before.length).map(({ seq, event }) => [seq, event])).toEqual([
      [before.length + 1, 'audit.repaired'],
      [before.length + 2, 'access'],
    ]);
  });

  it('is readable if it was packed after the snapshot', async () => {
    const file = await writtenLog(30, { maxBytes: 900 });
    const { openSource } = await import('../../../src/audit/reader.ts');
    const [first] = snapshotLog(file);
    const text = fs.readFileSync(rotatedName(file, 1));
    await packRotated(file, later());
    const reader = first === undefined ? undefined : openSource(file, first);
    const into = Buffer.alloc(text.length);
    expect(reader?.readSync(into, 0)).toBe(text.length);
    reader?.close();
    expect(into.equals(text)).toBe(true);
  });

  it('is reported as damaged instead of ending the log silently', async () => {
    const file = await packedLog();
    const at = packedName(file, 2);
    const bytes = fs.readFileSync(at);
    bytes.writeUInt8(bytes.readUInt8(60) ^ 4, 60);
    fs.writeFileSync(at, bytes);
    const found = await verify(file);
    expect(found).toMatchObject({ ok: false, first: { kind: 'edited', file: at, line: 1 } });
    expect(found.problems.map(({ kind }) => kind)).toEqual(['edited', 'missing']);
    await expect(allLines(file)).rejects.toMatchObject({
      code: 'audit_broken',
      message: expect.stringContaining('000002.gz is damaged') as string,
    });
    const log = await openLog(await newLogFile());
    await write(log, 1);
  });
});
