import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readRegularFile } from '../../../src/config/reload.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test('a file is read completely, or to one byte over the limit', async () => {
  const path = join(await tempFolder(), 'file');
  await writeFile(path, 'abcdef', { mode: 0o640 });
  const text = (most: number) => readRegularFile(path, most)?.bytes.toString();
  expect([text(100), text(6), text(5), text(3)]).toEqual(['abcdef', 'abcdef', 'abcdef', 'abcd']);
  expect((readRegularFile(path, 6)?.mode ?? 0) & 0o777).toBe(0o640);
});

test.skipIf(!existsSync('/proc/self/status'))('a file that reports a size of zero is read to its end', () => {
  expect(readRegularFile('/proc/self/status', 65_536)?.bytes.toString()).toMatch(/^Name:.*\nThreads:/ms);
});

test('null is returned for a path that is not a regular file, and an error is thrown for a missing path', async () => {
  const folder = await tempFolder();
  expect(readRegularFile(folder, 10)).toBe(null);
  expect(readRegularFile('/dev/null', 10)).toBe(null);
  expect(() => readRegularFile(join(folder, 'none'), 10)).toThrow('ENOENT');
});
