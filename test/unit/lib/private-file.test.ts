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
  ['600', true, false],
  ['700', true, false],
  ['640', false, false],
  ['604', false, false],
  ['620', false, false],
  ['610', false, false],
  ['601', false, false],
  ['602', false, true],
  ['777', false, true],
])('a file of mode %s: is private: %s, is writable by every user: %s', (text, isOfOwner, isOfAll) => {
  const mode = Number.parseInt(text, 8) | 0o100000;
  expect([isPrivate(mode), isWritableByAll(mode)]).toEqual([isOfOwner, isOfAll]);
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

test('an existing folder is synced, and a missing folder is reported', async () => {
  const folder = await tempFolder();
  await syncFolder(folder);
  const failure: unknown = await syncFolder(join(folder, 'none')).catch((error: unknown) => error);
  expect(systemCode(failure)).toBe('ENOENT');
  expect(isSystemError(failure, 'EEXIST', 'ENOENT')).toBe(true);
  expect(isSystemError(failure, 'EEXIST')).toBe(false);
  expect(systemCode('no error')).toBe('unknown error');
});
