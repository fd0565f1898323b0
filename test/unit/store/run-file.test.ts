import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readRunning, removeRunning, runFileOf, writeRunning } from '../../../src/store/run-file.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** Larger than any process id of Linux and macOS. */
const nobody = 2 ** 30;

test('the run file of a port lists the running processes until it is removed', async () => {
  const file = runFileOf(join(await tempFolder(), 'sidekey.db'), 8377);
  expect(readRunning(file)).toBeNull();
  writeRunning(file, { pid: process.pid, workers: [process.pid, nobody] });
  expect(file).toMatch(/sidekey-workers-8377\.json$/);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(readRunning(file)).toEqual({ pid: process.pid, workers: [process.pid] });
  removeRunning(file);
  expect(readRunning(file)).toBeNull();
});

test('the run file of a killed process and a malformed run file are ignored', async () => {
  const file = runFileOf(join(await tempFolder(), 'sidekey.db'), 8377);
  writeRunning(file, { pid: nobody, workers: [] });
  expect(readRunning(file)).toBeNull();
  await writeFile(file, '{"pid":-1,"workers":[]}');
  expect(readRunning(file)).toBeNull();
});
