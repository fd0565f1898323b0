import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeConfigAtomically } from '../../../src/config/edit.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const before = 'version: 1\n';
const after = 'version: 1\nlog: { level: debug }\n';

async function configFile(): Promise<{ folder: string; file: string }> {
  const folder = await tempFolder();
  const file = join(folder, 'sidekey.yaml');
  await writeFile(file, before);
  return { folder, file };
}

test('a new text replaces the file, keeps its mode, and leaves no temporary file', async () => {
  const { folder, file } = await configFile();
  await chmod(file, 0o640);
  await writeConfigAtomically(file, after, { env: {}, previous: before });
  await expect(readFile(file, 'utf8')).resolves.toBe(after);
  expect((await stat(file)).mode & 0o777).toBe(0o640);
  await expect(readdir(folder)).resolves.toEqual(['sidekey.yaml']);
});

test('the file is replaced by a rename, so no reader sees a partial file', async () => {
  const { file } = await configFile();
  const { ino } = await stat(file);
  await writeConfigAtomically(file, after, { env: {} });
  expect((await stat(file)).ino).not.toBe(ino);
});

test('an invalid text changes nothing', async () => {
  const { folder, file } = await configFile();
  await expect(writeConfigAtomically(file, 'version: 1\nstroe: x\n', { env: {} })).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('did you mean store?'),
  });
  await expect(readFile(file, 'utf8')).resolves.toBe(before);
  await expect(readdir(folder)).resolves.toEqual(['sidekey.yaml']);
});

test('a symlink stays, and its target changes', async () => {
  const { folder, file } = await configFile();
  const shortcut = join(folder, 'shortcut.yaml');
  await symlink('sidekey.yaml', shortcut);
  await writeConfigAtomically(shortcut, after, { env: {} });
  expect((await lstat(shortcut)).isSymbolicLink()).toBe(true);
  await expect(readFile(file, 'utf8')).resolves.toBe(after);
});

test('a concurrent edit by another program is not overwritten', async () => {
  const { file } = await configFile();
  await writeFile(file, 'version: 1 # theirs\n');
  await expect(writeConfigAtomically(file, after, { env: {}, previous: before })).rejects.toMatchObject({
    code: 'file_unwritable',
  });
  await expect(readFile(file, 'utf8')).resolves.toBe('version: 1 # theirs\n');
});

test('a missing file, or a folder, is refused', async () => {
  const folder = await tempFolder();
  await mkdir(join(folder, 'folder.yaml'));
  const write = (name: string): Promise<void> =>
    writeConfigAtomically(join(folder, name), after, { env: {} });
  await expect(write('none.yaml')).rejects.toMatchObject({ code: 'config_missing' });
  await expect(write('folder.yaml')).rejects.toMatchObject({ code: 'config_invalid' });
});
