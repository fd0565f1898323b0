import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkEnds } from '../../../src/audit/ends.ts';
import { formatGap } from '../../../src/audit/sealed-heads.ts';
import { endStoreForTest } from './head-store-for-test.ts';
import {
  headsWritten,
  newLogFile,
  openLog,
  rewrite,
  rewriteLines,
  verify,
  write,
  writtenLog,
  storedHeads,
} from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const check = (file: string) => checkEnds(file, vaultForTest(), undefined);

describe('the end of an honest log', () => {
  test('has no fault when the log is missing, closed, or split into several rotated files', async () => {
    expect(check(await newLogFile())).toBeNull();
    expect(check(await writtenLog(5))).toBeNull();
    expect(check(await writtenLog(40, { maxBytes: 2_000 }))).toBeNull();
  });

  test('has no fault while two writers append and rotate', async () => {
    const file = await newLogFile();
    const logs = [await openLog(file, { maxBytes: 3_000 }), await openLog(file, { maxBytes: 3_000 })];
    for (let round = 0; round < 100; round += 1) {
      const written = Promise.all(logs.map((log) => write(log, 2)));
      expect(check(file)).toBeNull();
      await written;
      expect(check(file)).toBeNull();
    }
    expect(check(file)).toBeNull();
    expect((await verify(file)).ok).toBe(true);
  });
});

describe('the end of a log', () => {
  test('is reported when the last line is missing', async () => {
    const file = await writtenLog(5);
    rewriteLines(file, (lines) => lines.slice(0, -1));
    expect(check(file)).toBe('Lines at its end are missing or were changed.');
  });

  test('is reported when the last line was edited', async () => {
    const file = await writtenLog(5);
    rewrite(file, (text) => text.replace('"path":"/5"', '"path":"/6"'));
    expect(check(file)).toMatch(/at its end are missing/);
  });

  test('is reported when the log was removed', async () => {
    const file = await writtenLog(5);
    fs.rmSync(file);
    expect(check(file)).toMatch(/at its end are missing/);
  });

  test('is reported by the store when the log and its head record were removed', async () => {
    const store = endStoreForTest();
    const file = await writtenLog(5, { store });
    for (const name of [file, `${file}.head`]) fs.rmSync(name);
    expect(check(file)).toBeNull();
    const stored = await storedHeads(store, file);
    expect(checkEnds(file, vaultForTest(), stored)).toMatch(/at its end are missing/);
  });

  test('is reported when the head record was changed', async () => {
    const file = await writtenLog(5);
    rewrite(`${file}.head`, (text) => text.replace('"seq":', '"seq":1'));
    expect(check(file)).toBe('Its head record was changed.');
  });

  test('is reported when a writer continued after a cut, until the loss is accepted', async () => {
    const store = endStoreForTest();
    const file = await writtenLog(5, { store });
    rewriteLines(file, (lines) => lines.slice(0, -1));
    fs.rmSync(`${file}.head`);
    const log = await openLog(file, { store });
    await write(log, 1);
    await headsWritten();
    expect(check(file)).toBe('Lines 5 to 5 of host/1 are gone.');
    const [gap] = (await verify(file)).gaps;
    await log.append({ event: 'audit.accepted', reason: formatGap(gap!) });
    await headsWritten();
    expect(check(file)).toBeNull();
  });
});
