import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { door } from '../../../src/lib/package-files.ts';
import { asTyped, commandName, isLinked } from '../../../src/lib/command-name.ts';
import { tempFolder } from '../../support/temp-folder.ts';

// npm for Windows puts scripts on the PATH, and no links: hints there say npx.
const noLinks = process.platform === 'win32';

test.skipIf(noLinks)('sidekey on the PATH is recognized as this program', async () => {
  const folder = await tempFolder();
  for (const name of ['linked', 'other', '.bin']) await mkdir(join(folder, name));
  await symlink(door, join(folder, 'linked', 'sidekey'));
  await symlink(door, join(folder, '.bin', 'sidekey'));
  await writeFile(join(folder, 'other', 'sidekey'), '');
  const path = (...names: string[]) => names.map((name) => join(folder, name)).join(delimiter);
  expect(isLinked(path('other', 'linked'))).toBe(true);
  // npm adds .bin for its children alone.
  expect(isLinked(path('other', '.bin', 'none'))).toBe(false);
});

test('commands are shown without npx when sidekey on the PATH is this program', () => {
  expect(commandName('start', true)).toBe('sidekey');
});

test('commands are shown with npx in a checkout when npm runs the program', () => {
  expect(commandName('exec', false)).toBe('npx sidekey');
  expect(commandName('start', false)).toBe('npx sidekey');
  expect(commandName('test', false)).toBe('sidekey');
  expect(asTyped('sidekey domain list', 'npx sidekey')).toBe('npx sidekey domain list');
  expect(asTyped('To go on:\n  → sidekey start', 'npx sidekey')).toBe('To go on:\n  → npx sidekey start');
  expect(asTyped('sidekey status, or sidekey doctor', 'npx sidekey')).toBe(
    'npx sidekey status, or npx sidekey doctor',
  );
  expect(asTyped('sidekey agent bind, then: sidekey agent list', 'npx sidekey')).toBe(
    'npx sidekey agent bind, then: npx sidekey agent list',
  );
  expect(asTyped('as "sidekey status" says', 'npx sidekey')).toBe('as "npx sidekey status" says');
  expect(asTyped('eval "$(sidekey env)"', 'npx sidekey')).toBe('eval "$(npx sidekey env)"');
});

test('only the command is replaced, at any position in a sentence', () => {
  for (const text of [
    'sidekey: it failed',
    'the file /etc/sidekey is there',
    'npx sidekey status',
    'name: sidekey',
  ])
    expect(asTyped(text, 'npx sidekey')).toBe(text);
  expect(asTyped('begin again: sidekey connect acme (`sidekey status` shows it)', 'npx sidekey')).toBe(
    'begin again: npx sidekey connect acme (`npx sidekey status` shows it)',
  );
});
