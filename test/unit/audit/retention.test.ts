import fs from 'node:fs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { rotatedFiles, rotatedName } from '../../../src/audit/log-files.ts';
import type { OpenAuditLog } from '../../../src/audit/log.ts';
import { packRotated, removeExpired } from '../../../src/audit/retention.ts';
import { formatGap, retentionFile } from '../../../src/audit/sealed-heads.ts';
import { allLines, asKilled, newLogFile, openLog, paths, problems, verify, write } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const day = 86_400_000;
const vault = vaultForTest();

/** A log of two writers over ten days, a file for each day. */
async function tenDays() {
  const file = await newLogFile();
  let now = Date.UTC(2026, 0, 1);
  const options = { now: () => now, maxAgeMs: day };
  const [first, second] = [await openLog(file, options), await openLog(file, options)];
  for (let n = 1; n <= 10; n += 1) {
    await write(first, 1, n);
    if (n < 4) await write(second, 1, n + 100);
    now += day;
  }
  return { file, log: first, other: second, now };
}

const remove = (
  file: string,
  log: OpenAuditLog,
  now: number,
  keepMs: number | null,
  keepFiles: number | null = null,
  keepBytes: number | null = null,
) => removeExpired({ file, vault, audit: log, keepMs, keepFiles, keepBytes, now });

describe('rotation by age', () => {
  it('starts a new file with the first event after the interval, and starts none for an idle log', async () => {
    const { file } = await tenDays();
    expect(rotatedFiles(file)).toHaveLength(9);
    const days = (await allLines(file))
      .filter(({ path }) => path !== undefined)
      .map(({ time }) => time.slice(8, 10));
    expect(new Set(days).size).toBe(10);
    expect(await problems(file)).toEqual([]);
  });

  it('counts from the first line of the file, whichever writer or process wrote it', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { now: () => 0, maxAgeMs: day });
    await write(log, 1);
    await log.close();
    const next = await openLog(file, { now: () => day - 1, maxAgeMs: day });
    await write(next, 1, 2);
    expect(rotatedFiles(file)).toHaveLength(0);
    await next.close();
    const last = await openLog(file, { now: () => day, maxAgeMs: day });
    await write(last, 1, 3);
    expect(fs.readFileSync(rotatedName(file, 1), 'utf8').match(/"path"/g)).toHaveLength(2);
  });
});

describe('retention', () => {
  it('removes files whose last line is too old, records it, and the log verifies', async () => {
    const { file, log, now } = await tenDays();
    expect(await remove(file, log, now, 5 * day)).toBe(6);
    expect(rotatedFiles(file).map(({ number }) => number)).toEqual([7, 8, 9, 10]);
    expect((await allLines(file)).at(-1)).toMatchObject({
      event: 'audit.pruned',
      reason: expect.stringMatching(
        /^Retention removed audit\.jsonl\.000001 to audit\.jsonl\.000006 with \d+ lines\.$/,
      ) as string,
    });
    expect(await verify(file)).toMatchObject({ ok: true, removed: 6, files: 5 });
    // The chain of the second writer is gone whole, and still goes on where it ended.
    expect(await verify(file)).toMatchObject({ chains: [{ node: 'host/1' }, { node: 'host/2', first: 0 }] });
  });

  it('keeps the given number of files, packed or not, and always the newest rotated one', async () => {
    const { file, log, now } = await tenDays();
    await packRotated(file, Date.now() + 120_000);
    expect(await remove(file, log, now, null, 3)).toBe(6);
    expect(rotatedFiles(file).map(({ number }) => number)).toEqual([7, 8, 9, 10]);
    expect(await remove(file, log, now + 1_000 * day, day)).toBe(3);
    expect(rotatedFiles(file).map(({ number }) => number)).toEqual([10]);
    await write(log, 1, 11);
    expect(await problems(file)).toEqual([]);
    expect((await paths(file)).at(-1)).toBe('/11');
    expect(await remove(file, log, now, null, null)).toBe(0);
  });

  it('runs repeatedly, and returning writers continue their chains', async () => {
    const { file, log, other, now } = await tenDays();
    await remove(file, log, now, 8 * day);
    await remove(file, log, now, 6 * day);
    await other.close();
    fs.rmSync(`${file}.head`);
    await log.close();
    await remove(file, await openLog(file), now, 2 * day);
    expect(fs.readFileSync(retentionFile(file), 'utf8')).toContain('"removed":9');
    const again = [await openLog(file), await openLog(file)];
    await write(again[1] ?? log, 1, 200);
    // Both lost their head record and report that. Neither starts its chain again.
    expect(await problems(file)).not.toContainEqual(expect.stringContaining('repeated'));
  });

  it('removes the oldest files beyond a size, and verify reports the time of the removal', async () => {
    const { file, log, now } = await tenDays();
    const sizes = rotatedFiles(file).map(({ path }) => fs.statSync(path).size);
    const lastThree = sizes.slice(-4, -1).reduce((sum, size) => sum + size, 0);
    expect(await remove(file, log, now, null, null, lastThree)).toBe(5);
    expect(rotatedFiles(file).map(({ number }) => number)).toEqual([6, 7, 8, 9, 10]);
    expect(await verify(file)).toMatchObject({
      ok: true,
      removed: 5,
      removedAt: new Date(now).toISOString(),
    });
    expect(await remove(file, log, now, null, null, 1e9)).toBe(0);
  });

  it('leaves a log that verifies if it removes lines before any timer of their writer fires', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 900 });
    await write(log, 30);
    expect(await remove(file, log, 0, null, 5)).toBeGreaterThan(0);
    expect(await problems(file)).toEqual([]);
  });

  it('leaves a log that verifies if it removes the last line of a killed writer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const used = await newLogFile();
    for (const log of [await openLog(used), await openLog(used)]) await write(log, 1);
    const file = await asKilled(used);
    const log = await openLog(file, { maxBytes: 900 });
    await write(log, 30);
    expect(await remove(file, log, 0, null, 2)).toBeGreaterThan(0);
    expect(await problems(file)).toEqual([]);
    const other = await openLog(file);
    await write(other, 1);
    expect(other.node).toBe('host/2');
    expect(await problems(file)).toEqual([]);
  });

  it('treats an accepted loss as known when it removes the files around it', async () => {
    const { file, log, now } = await tenDays();
    const second = rotatedName(file, 2);
    const [gone = ''] = fs.readFileSync(second, 'utf8').split('\n');
    fs.writeFileSync(second, fs.readFileSync(second, 'utf8').replace(`${gone}\n`, ''));
    const { gaps } = await verify(file);
    expect(gaps).toHaveLength(1);
    for (const gap of gaps) await log.append({ event: 'audit.accepted', reason: formatGap(gap) });
    expect(await verify(file)).toMatchObject({ ok: true, accepted: 1 });
    expect(await remove(file, log, now, null, 3)).toBe(7);
    expect(await verify(file)).toMatchObject({ ok: true, removed: 7 });
  });

  it('removes nothing if the removal cannot be recorded', async () => {
    const { file, now } = await tenDays();
    const audit = { append: () => Promise.reject(new Error('no space')) };
    await expect(
      removeExpired({ file, vault, audit, keepMs: day, keepFiles: null, keepBytes: null, now }),
    ).rejects.toThrow('no space');
    expect(rotatedFiles(file)).toHaveLength(9);
    expect(await problems(file)).toEqual([]);
  });

  it('stops at a signal before anything is removed, and packing leaves the plain file', async () => {
    const { file, log, now } = await tenDays();
    const signal = AbortSignal.abort(new Error('the process ends'));
    await expect(
      removeExpired({ file, vault, audit: log, keepMs: day, keepFiles: null, keepBytes: null, now, signal }),
    ).rejects.toThrow('the process ends');
    await expect(packRotated(file, Date.now() + 120_000, signal)).rejects.toThrow('the process ends');
    expect(rotatedFiles(file).filter(({ packed }) => !packed)).toHaveLength(9);
    expect(await problems(file)).toEqual([]);
  });

  it('completes a removal that was interrupted after its record', async () => {
    const { file, log, now } = await tenDays();
    const second = fs.readFileSync(rotatedName(file, 2));
    await remove(file, log, now, 5 * day);
    fs.writeFileSync(rotatedName(file, 2), second, { mode: 0o600 });
    expect(await problems(file)).toEqual([]);
    await remove(file, log, now, 5 * day);
    expect(fs.existsSync(rotatedName(file, 2))).toBe(false);
  });
});
