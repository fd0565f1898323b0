/** `src/sidekey.js`, which plain JavaScript starts before any library is there. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram, sourceProgram } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test('a checkout without installed dependencies prints the command that installs them', async () => {
  const folder = await tempFolder();
  await mkdir(join(folder, 'src', 'cli'), { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  await writeFile(join(folder, 'src', 'cli', 'index.ts'), "import 'commander';");
  const entryFile = join(folder, 'src', 'sidekey.js');
  await copyFile(sourceProgram, entryFile);
  const { exit, stderr } = await runProgram(['status'], folder, { entryFile });
  expect([exit, stderr]).toEqual([1, expect.stringContaining(`→ npm ci --prefix ${folder}`)]);
});
