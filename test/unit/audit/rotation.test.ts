import fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { rotate } from '../../../src/audit/live-file.ts';
import { fileId, rotatedName, snapshotLog, tryLockFile } from '../../../src/audit/log-files.ts';
import { allLines, newLogFile, openLog, paths, problems, verify, write } from './log-for-test.ts';

function idAt(path: string): string {
  return fileId(fs.statSync(path, { bigint: true })) ?? '';
}

function names(file: string): string[] {
  return fs
    .readdirSync(dirname(file))
    .filter((name) => !/lock$|head$/.test(name))
    .map((name) => name.replace(basename(file), 'log'));
}

describe('rotating a file', () => {
  it('renames it to the next number', async () => {
    const file = await newLogFile();
    for (const text of ['first', 'second']) {
      fs.writeFileSync(file, text);
      rotate(file, idAt(file));
    }
    expect(names(file)).toEqual(['log.000001', 'log.000002']);
    expect(fs.readFileSync(rotatedName(file, 2), 'utf8')).toBe('second');
  });

  it('keeps a newer file of another writer', async () => {
    const file = await newLogFile();
    fs.writeFileSync(file, 'old');
    const id = idAt(file);
    fs.renameSync(file, rotatedName(file, 1));
    fs.writeFileSync(file, 'new');
    expect(rotate(file, id)).toBeUndefined();
    expect(names(file)).toEqual(['log', 'log.000001']);
  });

  it('has no effect while another writer rotates', async () => {
    const file = await newLogFile();
    fs.writeFileSync(file, 'text');
    const lock = tryLockFile(`${file}.rotate.lock`);
    expect(rotate(file, idAt(file))).toBeUndefined();
    lock?.release();
    expect(rotate(file, idAt(file))).toBe(rotatedName(file, 1));
  });

  it('completes an interrupted rotation with both names present', async () => {
    const file = await newLogFile();
    fs.writeFileSync(file, 'text');
    fs.linkSync(file, rotatedName(file, 1));
    expect(snapshotLog(file).map(({ path }) => path)).toEqual([rotatedName(file, 1)]);
    expect(rotate(file, idAt(file))).toBe(rotatedName(file, 1));
    expect(names(file)).toEqual(['log.000001']);
  });
});

describe('a log that is rotated', () => {
  it('continues its chain, and names the previous file', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 600 });
    await write(log, 10);
    const { files, ok, chains } = await verify(file);
    expect(files).toBeGreaterThan(3);
    expect([ok, chains]).toEqual([true, [{ node: 'host/1', first: 1, last: 10 + files - 1 }]]);
    const first = fs.readFileSync(rotatedName(file, 2), 'utf8').split('\n')[0] ?? '';
    expect(JSON.parse(first)).toMatchObject({
      event: 'audit.rotated',
      reason: 'Continues audit.jsonl.000001.',
    });
    expect(await paths(file)).toEqual(Array.from({ length: 10 }, (_, index) => `/${index + 1}`));
  });

  it('is detected by other writers at their next event', async () => {
    const file = await newLogFile();
    const [idle, busy] = [await openLog(file), await openLog(file, { maxBytes: 600 })];
    await write(idle, 1);
    await write(busy, 5, 10);
    await write(idle, 1, 2);
    expect(fs.readFileSync(file, 'utf8')).toContain('"path":"/2"');
    expect(await problems(file)).toEqual([]);
    expect((await verify(file)).lines).toBeGreaterThan(7);
    expect((await allLines(file)).map(({ event }) => event)).not.toContain('audit.repaired');
  });

  it('accepts events after a crash left both names', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 2);
    fs.linkSync(file, rotatedName(file, 1));
    await write(log, 2, 3);
    await log.close();
    const next = await openLog(file, { maxBytes: 100 });
    await write(next, 1, 5);
    expect(await paths(file)).toEqual(['/1', '/2', '/3', '/4', '/5']);
    expect(names(file)).toEqual(['log', 'log.000001']);
    expect(await problems(file)).toEqual([]);
  });

  it('keeps growing if it cannot be rotated, with one warning a second', async () => {
    const file = await newLogFile();
    const warnings: string[] = [];
    let time = 0;
    const logger = { warn: (_: object, text: string) => warnings.push(text), error: () => undefined };
    const log = await openLog(file, { maxBytes: 100, now: () => time, logger });
    // Not a lock file, so that no lock can be taken on it (a folder's mode would not stop a superuser).
    fs.writeFileSync(`${file}.rotate.lock`, 'not a database, and long enough to have a header'.repeat(20));
    await write(log, 3);
    expect(warnings).toHaveLength(1);
    fs.rmSync(`${file}.rotate.lock`);
    await write(log, 1, 4);
    expect(names(file)).toEqual(['log']);
    time = 1_000;
    await write(log, 1, 5);
    expect(names(file)).toEqual(['log', 'log.000001']);
    expect(await problems(file)).toEqual([]);
  });
});
