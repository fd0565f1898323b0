import { mkdir, readFile, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { SidekeyError } from '../../../src/lib/errors.ts';
import { watchConfig, type ConfigWatch } from '../../../src/config/reload.ts';
import { tempFolder } from '../../support/temp-folder.ts';

interface Watched {
  readonly watch: ConfigWatch;
  readonly changes: string[];
  readonly errors: SidekeyError[];
  /** Resolves with the text at the next change; call it before the change. */
  readonly nextChange: () => Promise<string>;
}

/** Watches without periodic checks during a test: each report comes from an event or from `check`. */
async function watched(file: string, signal?: AbortSignal, settleMs = 5): Promise<Watched> {
  const changes: string[] = [];
  const errors: SidekeyError[] = [];
  let waiting: ((text: string) => void)[] = [];
  const watch = await watchConfig(file, {
    signal,
    safetyMs: 3_600_000,
    settleMs,
    onError: (error) => errors.push(error),
    onChange: () => {
      changes.push(file);
      const told = waiting;
      waiting = [];
      if (told.length > 0) void readFile(file, 'utf8').then((text) => told.forEach((tell) => tell(text)));
    },
  });
  onTestFinished(() => watch.close());
  return { watch, changes, errors, nextChange: () => new Promise((resolve) => waiting.push(resolve)) };
}

async function configFile(): Promise<string> {
  const file = join(await tempFolder(), 'sidekey.yaml');
  await writeFile(file, 'version: 1\n');
  return file;
}

describe('a change is reported', () => {
  test('when the file is written in place', async () => {
    const file = await configFile();
    const { nextChange } = await watched(file);
    const change = nextChange();
    await writeFile(file, 'version: 1 # a\n');
    await expect(change).resolves.toBe('version: 1 # a\n');
  });

  test('when another file is renamed onto it, repeatedly', async () => {
    const file = await configFile();
    const { nextChange } = await watched(file);
    for (const text of ['version: 1 # a\n', 'version: 1 # b\n', 'version: 1 # c\n']) {
      const change = nextChange();
      await writeFile(`${file}~`, text);
      await rename(`${file}~`, file);
      await expect(change).resolves.toBe(text);
    }
  });

  test('when it is deleted and written again', async () => {
    const file = await configFile();
    const { nextChange, errors } = await watched(file);
    const change = nextChange();
    await unlink(file);
    await writeFile(file, 'version: 1 # a\n');
    await expect(change).resolves.toBe('version: 1 # a\n');
    expect(errors).toEqual([]);
  });

  test('when the folder behind a symlink is swapped repeatedly, as in a ConfigMap', async () => {
    const folder = await tempFolder();
    const publish = async (name: string, text: string): Promise<void> => {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, 'sidekey.yaml'), text);
      await symlink(name, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    await publish('..1', 'version: 1 # 1\n');
    const file = join(folder, 'sidekey.yaml');
    await symlink('..data/sidekey.yaml', file);
    const { nextChange } = await watched(file);
    for (const [name, text] of [
      ['..2', 'version: 1 # 2\n'],
      ['..3', 'version: 1 # 3\n'],
    ] as const) {
      const change = nextChange();
      await publish(name, text);
      await expect(change).resolves.toBe(text);
      await rm(join(folder, name === '..2' ? '..1' : '..2'), { recursive: true });
    }
  });

  test('when the target of a symlink in another folder is written', async () => {
    const target = await configFile();
    const file = join(await tempFolder(), 'sidekey.yaml');
    await symlink(target, file);
    const { nextChange } = await watched(file);
    const change = nextChange();
    await writeFile(target, 'version: 1 # a\n');
    await expect(change).resolves.toBe('version: 1 # a\n');
  });

  test('when the whole folder is created again', async () => {
    const file = await configFile();
    const folder = join(file, '..');
    const { watch, nextChange } = await watched(file);
    await rename(folder, `${folder}-old`);
    onTestFinished(() => rm(`${folder}-old`, { recursive: true }));
    await mkdir(folder);
    await writeFile(file, 'version: 1\n');
    // The periodic check calls the same function.
    await watch.check();
    const change = nextChange();
    await writeFile(file, 'version: 1 # a\n');
    await expect(change).resolves.toBe('version: 1 # a\n');
  });
});

describe('no change is reported', () => {
  test('for a touch, or for a write of the same text', async () => {
    const file = await configFile();
    // No periodic check: it could run between the truncation and the write of `writeFile`, and both are
    // changes.
    const { watch, changes } = await watched(file, undefined, 3_600_000);
    await utimes(file, 1, 1);
    await watch.check();
    await writeFile(file, 'version: 1\n');
    await watch.check();
    expect(changes).toEqual([]);
    await writeFile(file, 'version: 1 # a\n');
    await watch.check();
    await watch.check();
    expect(changes).toHaveLength(1);
  });

  test('after close or abort', async () => {
    const file = await configFile();
    const controller = new AbortController();
    const one = await watched(file, controller.signal);
    const two = await watched(file);
    const three = await watched(file, AbortSignal.abort());
    controller.abort();
    two.watch.close();
    two.watch.close();
    await writeFile(file, 'version: 1 # a\n');
    await Promise.all([one, two, three].map(({ watch }) => watch.check()));
    expect([...one.changes, ...two.changes, ...three.changes]).toEqual([]);
  });

  test('for a change that is in progress at close', async () => {
    const file = await configFile();
    const { watch, changes } = await watched(file);
    await writeFile(file, 'version: 1 # a\n');
    const checked = watch.check();
    await Promise.resolve();
    watch.close();
    await checked;
    expect(changes).toEqual([]);
  });
});

test('a missing file is reported once, and loaded when it is back', async () => {
  const file = await configFile();
  const { watch, changes, errors } = await watched(file);
  await unlink(file);
  for (let look = 0; look < 4; look += 1) await watch.check();
  expect(errors.map(({ code }) => code)).toEqual(['config_missing']);
  expect(changes).toEqual([]);
  await writeFile(file, 'version: 1 # a\n');
  await watch.check();
  expect(changes).toHaveLength(1);
});

test('a file that is missing at the start is reported when it is created', async () => {
  const file = join(await tempFolder(), 'sidekey.yaml');
  const { nextChange } = await watched(file);
  const change = nextChange();
  await writeFile(`${file}~`, 'version: 1\n');
  await rename(`${file}~`, file);
  await expect(change).resolves.toBe('version: 1\n');
});
