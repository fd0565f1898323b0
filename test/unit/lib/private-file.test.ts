import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  isPrivate,
  isPrivateFile,
  isReplaceableByAll,
  isWritableByAll,
  syncFolder,
} from '../../../src/lib/os.ts';
import { isSystemError, systemCode } from '../../../src/lib/errors.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.each([
  [0o600, true, false],
  [0o700, true, false],
  [0o640, false, false],
  [0o604, false, false],
  [0o620, false, false],
  [0o610, false, false],
  [0o601, false, false],
  [0o602, false, true],
  [0o777, false, true],
])('mode %i: private %s, writable by all %s', (mode, alone, byAll) => {
  expect([isPrivate(mode | 0o100000), isWritableByAll(mode | 0o100000)]).toEqual([alone, byAll]);
});

test('the files of a sticky folder cannot be replaced by other users', () => {
  expect([0o777, 0o1777, 0o3777, 0o755].map(isReplaceableByAll)).toEqual([true, false, false, false]);
});

const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1];

test.skipIf(process.platform !== 'linux' || uid === 0)(
  'a file of root is private if only the group of this process may read it (Linux only, not as root)',
  () => {
    expect(isPrivateFile({ mode: 0o440, uid: 0, gid })).toBe(true);
    for (const other of [
      { mode: 0o460, uid: 0, gid },
      { mode: 0o444, uid: 0, gid },
      { mode: 0o440, uid: 0, gid: gid + 1 },
      { mode: 0o440, uid, gid },
    ])
      expect([other, isPrivateFile(other)]).toEqual([other, false]);
  },
);

test('an existing folder is synced, and a missing one is reported', async () => {
  const folder = await tempFolder();
  await syncFolder(folder);
  const failure: unknown = await syncFolder(join(folder, 'none')).catch((error: unknown) => error);
  expect(systemCode(failure)).toBe('ENOENT');
  expect(isSystemError(failure, 'EEXIST', 'ENOENT')).toBe(true);
  expect(isSystemError(failure, 'EEXIST')).toBe(false);
  expect(systemCode('no error')).toBe('unknown error');
});
