/**
 * Definitions beside the config file say where refresh tokens are sent, and may name a command that is run. Where a
 * folder is open to all (a config in /tmp), anybody could put a `providers` folder beside a file that only its owner can
 * write.
 */
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { isAStrangers, ownProviderFiles } from '../../src/config/providers.ts';
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
  message: expect.stringContaining('says where tokens are sent'),
};

test('a folder of the owner is accepted', async () => {
  const { load } = await place();
  expect((await load()).providers.get('github')?.audience).toEqual(['git.corp.test']);
});

test('a folder that all users may write is refused, also if sticky', async () => {
  const { own, load } = await place();
  for (const mode of [0o777, 0o1777]) {
    await chmod(own, mode);
    await expect(load()).rejects.toMatchObject(refused);
  }
});

test('a file that all users may write is refused too, also behind a link', async () => {
  const { folder, own, file, load } = await place();
  await chmod(file, 0o666);
  await expect(load()).rejects.toMatchObject(refused);
  await chmod(file, 0o644);
  await writeFile(join(folder, 'elsewhere.yaml'), definition);
  await chmod(join(folder, 'elsewhere.yaml'), 0o666);
  await symlink(join(folder, 'elsewhere.yaml'), join(own, 'corp.yaml'));
  await expect(load()).rejects.toMatchObject(refused);
});

describe('for another user than the one who made it', () => {
  /** As if somebody else ran the program: only the superuser could make a file that is really another's. */
  const own = process.getuid?.() ?? 0;
  const somebody = own === 0 ? 0 : own + 1;

  test('a folder in a place that is writable for all is refused', async () => {
    const folder = await tempFolder();
    if (own === 0) await chown(folder, 54_321, 54_321);
    await expect(ownProviderFiles(folder, somebody)).rejects.toMatchObject(refused);
  });

  test('a folder is accepted if its parent has the same owner', async () => {
    const place = await tempFolder();
    const folder = join(place, 'providers');
    await mkdir(folder);
    if (own === 0) for (const path of [place, folder]) await chown(path, 54_321, 54_321);
    await expect(ownProviderFiles(folder, somebody)).resolves.toEqual([]);
  });
});

describe('a file of another user', () => {
  const [file, link] = [0o100644, 0o120777];
  test.each([
    ['is refused whatever its mode', { mode: 0o40755, uid: 1001 }, true],
    ['is refused as a link too', { mode: link, uid: 1001 }, true],
    ['of one’s own is taken', { mode: file, uid: 1000 }, false],
    ['of the system is taken', { mode: file, uid: 0 }, false],
    ['a link of one’s own is taken, whose mode means nothing', { mode: link, uid: 1000 }, false],
  ])('%s', (_what, facts, expected) => {
    expect(isAStrangers(facts, [1000, 0])).toBe(expected);
  });
});
