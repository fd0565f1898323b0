import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { verifyAudit } from '../../../src/audit/verify.ts';
import { newLogFile, openLog, problems, rewriteLines, verify, write, writtenLog } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

describe('verifying a log', () => {
  it('finds no problem in a log that was never written', async () => {
    expect(await verify(await newLogFile())).toEqual({
      ok: true,
      lines: 0,
      files: 0,
      removed: 0,
      removedLines: 0,
      removedAt: null,
      compared: false,
      gaps: [],
      accepted: 0,
      first: null,
      torn: 0,
      chains: [],
      problems: [],
      omitted: 0,
    });
  });

  it('counts what it checked', async () => {
    const file = await newLogFile();
    const [first, second] = [await openLog(file), await openLog(file)];
    await write(first, 3);
    await write(second, 2);
    expect(await verify(file)).toEqual({
      ok: true,
      lines: 5,
      files: 1,
      removed: 0,
      removedLines: 0,
      removedAt: null,
      compared: false,
      gaps: [],
      accepted: 0,
      first: null,
      torn: 0,
      chains: [
        { node: 'host/1', first: 1, last: 3 },
        { node: 'host/2', first: 1, last: 2 },
      ],
      problems: [],
      omitted: 0,
    });
  });

  it('sorts problems in the order of the log, with file and line', async () => {
    const file = await writtenLog(12, { maxBytes: 900 });
    rewriteLines(`${file}.000002`, (lines) => lines.toSpliced(1, 1));
    rewriteLines(`${file}.000001`, (lines) => lines.with(1, (lines[1] ?? '').replace('/2', '/9')));
    const found = await verify(file);
    expect(found.ok).toBe(false);
    expect(found.problems).toEqual([
      {
        file: `${file}.000001`,
        line: 2,
        kind: 'edited',
        sentence: 'Line 2 of host/1 was changed after it was written.',
      },
      {
        file: `${file}.000002`,
        line: 2,
        kind: 'missing',
        sentence: expect.stringMatching(/^Line \d+ \(writer host\/1\) is missing/) as string,
      },
    ]);
  });

  it('may run while a writer is in the middle of a line', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 2);
    fs.appendFileSync(file, '{"v":1,"seq":3,"time":"2026-');
    expect(await verify(file)).toMatchObject({ ok: true, lines: 2 });
  });

  it('reports a log of another key as such, instead of reporting every line as edited', async () => {
    const file = await writtenLog(3);
    await expect(verifyAudit({ file, vault: vaultForTest('other') })).rejects.toMatchObject({
      code: 'key_mismatch',
    });
  });

  it('uses bounded memory on a file of one endless line', async () => {
    const file = await writtenLog(1);
    fs.appendFileSync(file, 'x'.repeat(3_000_000));
    expect(await problems(file)).toContain('foreign 2');
  });
});
