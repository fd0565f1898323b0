import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encodeHead, headFile, headSize } from '../../src/audit/live-file.ts';
import { genesis } from '../../src/audit/line.ts';
import { anchoredLines, parseAnchors, retentionFile, takeAnchor } from '../../src/audit/sealed-heads.ts';
import { rotatedFiles, rotatedName } from '../../src/audit/log-files.ts';
import { removeExpired } from '../../src/audit/retention.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import {
  asKilled,
  newLogFile,
  openLog,
  problems,
  rewrite,
  verify,
  write,
} from '../unit/audit/log-for-test.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const vault = vaultForTest();

async function log() {
  const file = await newLogFile();
  const audit = await openLog(file, { maxBytes: 900 });
  await write(audit, 30);
  const keep = (keepFiles: number, keepMs: number | null = null) =>
    removeExpired({ file, vault, audit, keepMs, keepFiles, keepBytes: null, now: Date.UTC(2026, 0, 3) });
  return { file, audit, keep };
}

describe('an attacker who deletes files and imitates retention', () => {
  it('is detected: files beyond the recorded files are reported as missing', async () => {
    const { file, keep } = await log();
    expect(await keep(5)).toBeGreaterThan(0);
    expect(await problems(file)).toEqual([]);
    const [first] = rotatedFiles(file);
    fs.rmSync(first?.path ?? '');
    expect((await verify(file)).problems.map(({ kind }) => kind)).toContain('missing');
  });

  it('cannot change, remove or replace the retention record', async () => {
    const { file, keep } = await log();
    await keep(6);
    const older = fs.readFileSync(retentionFile(file), 'utf8');
    await keep(4);
    const newer = fs.readFileSync(retentionFile(file), 'utf8');
    const [first] = rotatedFiles(file);
    fs.rmSync(first?.path ?? '');
    rewrite(retentionFile(file), (text) =>
      text.replace(/"removed":(\d+)/, (_, removed) => `"removed":${Number(removed) + 1}`),
    );
    expect((await verify(file)).problems.map(({ file: at }) => at)).toContain(retentionFile(file));
    for (const text of [older, newer]) {
      fs.writeFileSync(retentionFile(file), text);
      expect((await verify(file)).ok).toBe(false);
    }
    fs.rmSync(retentionFile(file));
    expect((await verify(file)).ok).toBe(false);
  });

  it('cannot hide a change by retention: an unverified line stays reported', async () => {
    const { file, keep } = await log();
    rewrite(rotatedName(file, 2), (text) => text.replace('"agent":"ci"', '"agent":"xx"'));
    await keep(5);
    const first = await verify(file);
    expect(first.problems.map(({ sentence }) => sentence)).toEqual([
      expect.stringMatching(/^Retention removed .+; 1 thing in it did not verify\.$/),
    ]);
    await keep(1);
    expect((await verify(file)).ok).toBe(false);
  });

  it('cannot make retention complete an older head record of a dead writer', async () => {
    const used = await newLogFile();
    for (const each of [await openLog(used), await openLog(used)]) await write(each, 1);
    const file = await asKilled(used);
    const audit = await openLog(file, { maxBytes: 900 });
    const other = await openLog(file);
    const keep = (keepFiles: number) =>
      removeExpired({ file, vault, audit, keepMs: null, keepFiles, keepBytes: null, now: 0 });
    await write(audit, 30);
    expect(await keep(4)).toBeGreaterThan(0);
    await write(other, 1);
    await write(audit, 9);
    await other.close();
    expect(await problems(file)).toEqual([]);
    const heads = fs.readFileSync(headFile(file));
    encodeHead({ node: 'host/2', seq: 0, hash: genesis, closed: false, slots: 2 }, vault).copy(
      heads,
      headSize,
    );
    fs.writeFileSync(headFile(file), heads);
    expect(await problems(file)).toEqual(['repeated 1']);
    await write(audit, 9);
    expect(await keep(1)).toBeGreaterThan(0);
    expect(await problems(file)).toEqual(['repeated 1']);
  });

  it('cannot cause a removal with older file times', async () => {
    const { file, keep } = await log();
    for (const { path } of rotatedFiles(file)) fs.utimesSync(path, 0, 0);
    expect(await keep(1_000, 2 * 86_400_000)).toBe(0);
    expect(await keep(1_000, 21 * 3_600_000)).toBe(0);
  });

  it('is detected if the record of another log with the same key covers all files', async () => {
    const [longer, shorter] = [await log(), await log()];
    await write(longer.audit, 60, 31);
    await longer.keep(1);
    fs.copyFileSync(retentionFile(longer.file), retentionFile(shorter.file));
    for (const { path } of rotatedFiles(shorter.file)) fs.rmSync(path);
    fs.rmSync(shorter.file);
    expect((await verify(shorter.file)).problems.map(({ kind }) => kind)).toEqual(['repeated']);
  });

  it('stops retention if its record is not authentic, until a person has checked it', async () => {
    const { file, keep } = await log();
    await keep(6);
    rewrite(retentionFile(file), (text) => text.replace('"removed"', '"remover"'));
    expect(await keep(2)).toBe(0);
  });
});

describe('an older log that is restored with its own head records', () => {
  it('is detected only with an anchor', async () => {
    const file = await newLogFile();
    const audit = await openLog(file);
    await write(audit, 3);
    const names = [file, `${file}.head`];
    const older = names.map((name) => fs.readFileSync(name));
    await write(audit, 3, 4);
    await audit.close();
    const anchored = anchoredLines(parseAnchors(takeAnchor(file, vault, 0).text, vault));
    expect((await verifyAudit({ file, vault, anchored })).problems).toEqual([]);
    names.forEach((name, index) => fs.writeFileSync(name, older[index] ?? ''));
    expect((await verify(file)).ok).toBe(true);
    expect((await verifyAudit({ file, vault, anchored })).problems).toEqual([
      expect.objectContaining({
        kind: 'cut',
        sentence:
          'The anchor of 1970-01-01T00:00:00.000Z names line 6 of host/1, and the log ends at line 3 of it.',
      }),
    ]);
    // And where it was written on since, beyond the anchored line.
    const next = await openLog(file);
    await write(next, 5, 50);
    expect((await verify(file)).ok).toBe(true);
    expect((await verifyAudit({ file, vault, anchored })).first).toMatchObject({
      kind: 'repeated',
      line: 6,
      sentence: expect.stringContaining('replaced by an older copy and continued') as string,
    });
  });

  it('is detected even if anchors of the new history were added to the old anchors', async () => {
    const file = await newLogFile();
    const anchorOf = async (from: number) => {
      const audit = await openLog(file);
      await write(audit, 3, from);
      await audit.close();
      return takeAnchor(file, vault, 0).text;
    };
    const old = await anchorOf(1);
    for (const name of [file, `${file}.head`]) fs.rmSync(name);
    const anchored = anchoredLines(parseAnchors(`${old}\n\n${await anchorOf(50)}\n`, vault));
    expect((await verify(file)).ok).toBe(true);
    expect((await verifyAudit({ file, vault, anchored })).problems.map(({ kind }) => kind)).toEqual([
      'repeated',
    ]);
  });
});
