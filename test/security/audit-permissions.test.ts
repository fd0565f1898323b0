import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { checkLogFile } from '../../src/audit/log-files.ts';
import { newLogFile, openLog, writtenLog } from '../unit/audit/log-for-test.ts';

const isRoot = process.getuid?.() === 0;

describe('an audit log that others could read or replace is not written to', () => {
  it.each(['640', '604', '622'])(
    'refuses a file of mode %s, with the command that fixes it',
    async (mode) => {
      const file = await writtenLog(1);
      fs.chmodSync(file, mode);
      await expect(openLog(file)).rejects.toMatchObject({
        code: 'permissions_unsafe',
        hint: `chmod 600 ${file}`,
      });
      fs.chmodSync(file, 0o600);
      await openLog(file);
    },
  );

  it.each(['770', '702', '1777'])('refuses a folder of mode %s', async (mode) => {
    const file = await newLogFile();
    fs.chmodSync(dirname(file), mode);
    await expect(openLog(file)).rejects.toMatchObject({
      code: 'permissions_unsafe',
      hint: `chmod go-w ${dirname(file)}`,
    });
    expect(fs.readdirSync(dirname(file))).toEqual([]);
  });

  it('refuses a file of another user', async () => {
    const file = await writtenLog(1);
    const stats = fs.statSync(file);
    checkLogFile(file, stats);
    const strange = Object.assign(stats, { uid: stats.uid + 12_345 });
    expect(() => checkLogFile(file, strange)).toThrow('belongs to another user');
  });

  it('refuses a folder of another user', async () => {
    const file = await writtenLog(1);
    // Only root can give a folder away; for anybody else the process plays the other user.
    if (isRoot) fs.chownSync(dirname(file), 12_345, 12_345);
    else vi.spyOn(process, 'getuid').mockReturnValue(fs.statSync(file).uid + 12_345);
    onTestFinished(() => void vi.restoreAllMocks());
    await expect(openLog(file)).rejects.toMatchObject({ code: 'permissions_unsafe' });
  });
});

describe('an audit log that cannot be written', () => {
  it('is reported at the start: a folder that cannot be created, a path that is not a file', async () => {
    const file = await newLogFile();
    fs.writeFileSync(file, '', { mode: 0o600 });
    await expect(openLog(join(file, 'audit.jsonl'))).rejects.toMatchObject({ code: 'file_unwritable' });
    const folder = join(dirname(file), 'folder');
    fs.mkdirSync(folder);
    await expect(openLog(folder)).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringContaining(folder) as string,
    });
  });

  it('is reported at the start: a path that is a pipe', async () => {
    const file = await newLogFile();
    execFileSync('mkfifo', ['-m', '600', file]);
    await expect(openLog(file)).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: `The audit log ${file} is not a regular file.`,
    });
  });

  it.skipIf(isRoot)('is reported at the start: a folder without write permission', async () => {
    const file = await newLogFile();
    fs.chmodSync(dirname(file), 0o500);
    await expect(openLog(file)).rejects.toMatchObject({ code: 'file_unwritable' });
    fs.chmodSync(dirname(file), 0o700);
  });

  it('releases its writer slot', async () => {
    const file = await writtenLog(1);
    fs.chmodSync(file, 0o644);
    await expect(openLog(file)).rejects.toThrow();
    fs.chmodSync(file, 0o600);
    expect((await openLog(file)).node).toBe('host/1');
  });
});
