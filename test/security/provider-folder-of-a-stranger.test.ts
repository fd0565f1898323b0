/**
 * Definitions beside the config file say where refresh tokens are sent, and may name a command that is run.
 * Where a folder is open to all (a config in /tmp), anybody could put a `providers` folder beside a file that
 * only its owner can write.
 */
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { tempFolder } from '../support/temp-folder.ts';

const definition =
  'title: Corp\ncategory: generic\ndocs: [https://corp.test/docs]\naudience: [git.corp.test]\nclient_secret: command:/tmp/x\n';

async function place() {
  const folder = await tempFolder();
  const own = join(folder, 'providers');
  await mkdir(own, { mode: 0o755 });
  const file = join(own, 'github.yaml');
  await writeFile(file, definition, { mode: 0o644 });
  const config = join(folder, 'sidekey.yaml');
  await writeFile(config, 'version: 1\n', { mode: 0o600 });
  return { folder, own, file, load: () => loadConfig(config, { env: {} }) };
}

const refused = {
  code: 'permissions_unsafe',
  message: expect.stringContaining('decides what Sidekey runs and where secrets are sent'),
};

test('a folder of the owner is accepted', async () => {
  const { load } = await place();
  expect((await load()).providers.get('github')?.audience).toEqual(['git.corp.test']);
});

test('a folder that all users may write is refused, even if sticky', async () => {
  const { own, load } = await place();
  for (const mode of [0o777, 0o1777]) {
    await chmod(own, mode);
    await expect(load()).rejects.toMatchObject(refused);
  }
});

test('a file that all users may write is refused, even behind a link', async () => {
  const { folder, own, file, load } = await place();
  await chmod(file, 0o666);
  await expect(load()).rejects.toMatchObject(refused);
  await chmod(file, 0o644);
  await writeFile(join(folder, 'elsewhere.yaml'), definition);
  await chmod(join(folder, 'elsewhere.yaml'), 0o666);
  await symlink(join(folder, 'elsewhere.yaml'), join(own, 'corp.yaml'));
  await expect(load()).rejects.toMatchObject(refused);
});

test.skipIf(process.getuid?.() !== 0)('a folder and a file of another user are refused', async () => {
  const { own, file, load } = await place();
  for (const path of [file, own]) {
    await chown(path, 54_321, 54_321);
    await expect(load()).rejects.toMatchObject({
      code: 'permissions_unsafe',
      hint: expect.stringContaining(path),
    });
    await chown(path, 0, 0);
  }
  expect((await load()).providers.own).toEqual([]);
});

test('a link with a missing target is refused, because another user may create the target later', async () => {
  const { own, load } = await place();
  await symlink('/tmp/nothing-is-here', join(own, 'corp.yaml'));
  await expect(load()).rejects.toMatchObject(refused);
});
