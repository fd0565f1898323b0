import { chmod, mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { configSources } from '../../../src/config/reload.ts';
import { tempFolder } from '../../support/temp-folder.ts';

async function setup() {
  const folder = await tempFolder();
  const file = join(folder, 'sidekey.yaml');
  await writeFile(file, 'version: 1\n');
  const sources = configSources(file);
  /** True when the sources differ; marks the present ones as loaded. */
  const news = () => {
    const found = sources.differ();
    sources.take();
    sources.loaded();
    expect(sources.differ()).toBe(false);
    return found;
  };
  return { folder, file, sources, news };
}

/** An old modification time; `ctime` cannot be set back. */
const longAgo = new Date('2020-01-01');

test('an edit in place is detected at once, even with the same size and time stamp', async () => {
  const { file, sources } = await setup();
  for (let i = 0; i < 500; i += 1) {
    writeFileSync(file, `version: ${i % 2} # ${String(i).padStart(4, '0')}\n`);
    expect(sources.differ()).toBe(true);
    sources.take();
    expect(sources.differ()).toBe(false);
  }
});

test('an edit with the same size is detected on a file system with coarse time stamps', async () => {
  const file = join(await tempFolder(), 'sidekey.yaml');
  const tick = BigInt(2 * 86_400_000) * 1_000_000n;
  const sources = configSources(file, (path) => {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    const { ctimeNs, mtimeNs } = stat;
    return Object.assign(stat, { ctimeNs: ctimeNs - (ctimeNs % tick), mtimeNs: mtimeNs - (mtimeNs % tick) });
  });
  for (const text of ['version: 1\n', 'version: 2\n', 'version: 3\n']) {
    writeFileSync(file, text);
    expect(sources.differ()).toBe(true);
    sources.take();
  }
});

test('a file renamed onto the config is detected, even with old time stamps', async () => {
  const { file, news } = await setup();
  for (const text of ['version: 2\n', 'version: 3\n']) {
    await writeFile(`${file}~`, text);
    await utimes(`${file}~`, longAgo, longAgo);
    await rename(`${file}~`, file);
    expect(news()).toBe(true);
  }
});

test('a swapped folder behind a symlink is detected, as in a mounted ConfigMap', async () => {
  const folder = await tempFolder();
  for (const [name, text] of [
    ['..one', 'version: 1\n'],
    ['..two', 'version: 2\n'],
  ] as const) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'sidekey.yaml'), text);
    await utimes(join(folder, name, 'sidekey.yaml'), longAgo, longAgo);
  }
  await symlink('..one', join(folder, '..data'));
  await symlink('..data/sidekey.yaml', join(folder, 'sidekey.yaml'));
  const sources = configSources(join(folder, 'sidekey.yaml'));
  expect(sources.differ()).toBe(false);
  await symlink('..two', join(folder, '..tmp'));
  await rename(join(folder, '..tmp'), join(folder, '..data'));
  expect(sources.differ()).toBe(true);
});

test('a touch, or a write of the same text, does not count as a change', async () => {
  const { file, sources } = await setup();
  await utimes(file, new Date(), new Date());
  await writeFile(file, 'version: 1\n');
  expect(sources.differ()).toBe(false);
});

test('a missing file does not count as a change, and neither does its return with the same text', async () => {
  const { file, sources, news } = await setup();
  await rm(file);
  expect(sources.differ()).toBe(false);
  await writeFile(file, 'version: 1\n');
  expect(sources.differ()).toBe(false);
  await rm(file);
  await writeFile(file, 'version: 2\n');
  expect(news()).toBe(true);
});

test('creating, editing, removing or changing the mode of a provider file counts as a change', async () => {
  const { folder, news } = await setup();
  const own = join(folder, 'providers');
  await mkdir(own, { mode: 0o755 });
  expect(news()).toBe(true);
  await writeFile(join(own, 'acme.yaml'), 'one\n');
  expect(news()).toBe(true);
  await writeFile(join(own, 'acme.yaml'), 'two\n');
  expect(news()).toBe(true);
  await chmod(own, 0o777);
  expect(news()).toBe(true);
  await rm(join(own, 'acme.yaml'));
  expect(news()).toBe(true);
});

test('a write during a load counts as a change after the load', async () => {
  const { file, sources } = await setup();
  await writeFile(file, 'version: 2\n');
  sources.take();
  // A load that runs now may have read either text.
  await writeFile(`${file}~`, 'version: 2\n');
  await rename(`${file}~`, file);
  sources.loaded();
  expect(sources.differ()).toBe(true);
});

test('a path that becomes a folder counts as a change, and is not read', async () => {
  const { file, news } = await setup();
  await rm(file);
  await mkdir(file);
  expect(news()).toBe(true);
});
