/**
 * The config file decides which programs run and where refresh tokens are sent. A user who can change the
 * file, replace it in its folder or redirect a link to it has every credential.
 */
import { chmod, chown, lchown, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeConfigAtomically } from '../../src/config/edit.ts';
import { loadConfig } from '../../src/config/load.ts';
import { configSources } from '../../src/config/reload.ts';
import { exposureOf, isGroupOfUser } from '../../src/lib/exposed.ts';
import { tempFolder } from '../support/temp-folder.ts';

const isRoot = process.getuid?.() === 0;
const self = process.getuid?.() ?? 0;
const stranger = 54_321;

/** Creates a config file with mode `file` in a folder with mode `folder`. */
async function place({ file = 0o600, folder = 0o700 }) {
  const at = join(await tempFolder(), 'config');
  await mkdir(at);
  const path = join(at, 'sidekey.yaml');
  await writeFile(path, 'version: 1\n');
  await chmod(path, file);
  await chmod(at, folder);
  return { folder: at, path, load: () => loadConfig(path, { env: {} }) };
}

describe.skipIf(process.platform === 'win32')('the modes of the file and of its folder', () => {
  test.each([
    { file: '600', folder: '700', at: null },
    { file: '644', folder: '755', at: null },
    { file: '440', folder: '700', at: null },
    { file: '602', folder: '700', at: 'file' },
    { file: '666', folder: '700', at: 'file' },
    { file: '620', folder: '700', at: 'file' },
    { file: '664', folder: '775', at: 'file' },
    { file: '644', folder: '777', at: 'folder' },
    { file: '644', folder: '770', at: 'folder' },
    { file: '644', folder: '702', at: 'folder' },
    // In a sticky folder, such as /tmp, nobody else can replace the file.
    { file: '600', folder: '1777', at: null },
    { file: '666', folder: '1777', at: 'file' },
    // With user-private groups, as on Debian and Fedora, and a umask of 002.
    { file: '664', folder: '775', isPrivate: true, at: null },
    { file: '660', folder: '2770', isPrivate: true, at: null },
    { file: '666', folder: '775', isPrivate: true, at: 'file' },
    { file: '664', folder: '777', isPrivate: true, at: 'folder' },
  ] as const)(
    'mode $file in a folder of mode $folder: the unsafe part is $at',
    async ({ file, folder, at, ...more }) => {
      const made = await place({ file: Number.parseInt(file, 8), folder: Number.parseInt(folder, 8) });
      const exposure = exposureOf(made.path, self, () => 'isPrivate' in more);
      if (at === null) return expect(exposure).toBeNull();
      const named = at === 'file' ? made.path : made.folder;
      const mode = at === 'file' ? file : folder;
      expect(exposure).toMatchObject({
        code: 'permissions_unsafe',
        message: expect.stringContaining(`${named} is writable by others (mode ${mode})`),
        hint: `chmod go-w ${named}`,
      });
    },
  );
});

describe.skipIf(!isRoot)('the owners of the file and of its folder', () => {
  test.each([
    { me: 0, file: 0, folder: 0, at: null },
    { me: 1000, file: 1000, folder: 1000, at: null },
    { me: 1000, file: 0, folder: 1000, at: null },
    { me: 1000, file: 1000, folder: 0, at: null },
    { me: 1000, file: 0, folder: 0, at: null },
    { me: 1000, file: stranger, folder: 1000, at: 'file' },
    { me: 1000, file: 1000, folder: stranger, at: 'folder' },
    { me: 1000, file: stranger, folder: stranger, at: 'file' },
    // Root would run what the user writes.
    { me: 0, file: 1000, folder: 1000, at: 'file' },
    { me: 0, file: 0, folder: 1000, at: 'folder' },
  ] as const)(
    'user $me, file of $file, folder of $folder: the unsafe part is $at',
    async ({ me, file, folder, at }) => {
      const made = await place({ file: 0o644, folder: 0o755 });
      await chown(made.path, file, file);
      await chown(made.folder, folder, folder);
      const exposure = exposureOf(made.path, me);
      if (at === null) return expect(exposure).toBeNull();
      const [named, owner] = at === 'file' ? [made.path, file] : [made.folder, folder];
      expect(exposure).toMatchObject({
        message: expect.stringContaining(`${named} belongs to user ${owner}`),
        hint: `run as that user, or: sudo chown ${me} ${named}`,
      });
    },
  );

  test('a sticky folder of another user is refused, because its owner can replace every file', async () => {
    const made = await place({ folder: 0o1777 });
    await chown(made.folder, stranger, stranger);
    expect(exposureOf(made.path)).toMatchObject({ message: expect.stringContaining(made.folder) });
  });
});

describe.skipIf(process.platform === 'win32')('links', () => {
  test('are refused by the owner or mode of any folder on the chain or of the target', async () => {
    const target = await place({});
    const [middle, first] = [await tempFolder(), await tempFolder()];
    await symlink(target.path, join(middle, 'b.yaml'));
    await symlink(join(middle, 'b.yaml'), join(first, 'a.yaml'));
    const path = join(first, 'a.yaml');
    expect(exposureOf(path)).toBeNull();
    for (const place of [first, middle, target.folder, target.path]) {
      await chmod(place, 0o777);
      expect(exposureOf(path)?.hint, place).toBe(`chmod go-w ${place}`);
      await chmod(place, 0o700);
    }
  });

  test.skipIf(!isRoot)('of another user are refused, even in a sticky folder', async () => {
    const target = await place({});
    const folder = await tempFolder();
    await chmod(folder, 0o1777);
    await symlink(target.path, join(folder, 'a.yaml'));
    await lchown(join(folder, 'a.yaml'), stranger, stranger);
    expect(exposureOf(join(folder, 'a.yaml'))).toMatchObject({
      message: expect.stringContaining(`user ${stranger}`),
    });
  });

  test('with a missing or circular target are refused', async () => {
    const folder = await tempFolder();
    await symlink('/tmp/nothing-is-here', join(folder, 'a.yaml'));
    await symlink('b.yaml', join(folder, 'b.yaml'));
    expect(exposureOf(join(folder, 'a.yaml'))?.message).toContain('cannot be looked at (ENOENT)');
    expect(exposureOf(join(folder, 'b.yaml'))?.message).toContain('cannot be looked at (ELOOP)');
  });

  test.skipIf(!isRoot)(
    'of a Kubernetes ConfigMap are accepted: a folder of root with mode 0777, mounted read-only',
    async () => {
      const folder = await tempFolder();
      await mkdir(join(folder, '..2026_11_25'), { mode: 0o755 });
      await writeFile(join(folder, '..2026_11_25', 'sidekey.yaml'), 'version: 1\n', { mode: 0o644 });
      await symlink('..2026_11_25', join(folder, '..data'));
      await symlink('..data/sidekey.yaml', join(folder, 'sidekey.yaml'));
      await chmod(folder, 0o777);
      const path = join(folder, 'sidekey.yaml');
      expect(exposureOf(path, 1000, undefined, (at) => at === folder)).toBeNull();
      expect(exposureOf(path, 1000)?.hint).toBe(`chmod go-w ${folder}`);
      // Not root's: who owns it can write where it is mounted otherwise.
      await chown(folder, 1000, 1000);
      expect(exposureOf(path, 1000, undefined, () => true)?.hint).toBe(`chmod go-w ${folder}`);
    },
  );
});

describe.skipIf(process.platform !== 'linux')('a private group of one user', () => {
  const { username: me } = userInfo();
  test.each([
    ['may have the user as primary member', `${me}:x:7000:`, `${me}:x:7000:7000::/:/bin/sh`, true],
    ['may have the user in its member list', `private:x:7000:${me}`, `${me}:x:7000:1::/:/bin/sh`, true],
    ['may have root as another member', `private:x:7000:root,${me}`, 'root:x:0:7000::/:/bin/sh', true],
    ['must not have a second listed member', `${me}:x:7000:mallory`, `${me}:x:7000:7000::/:/bin/sh`, false],
    [
      'must not be the primary group of a second user',
      `${me}:x:7000:`,
      `${me}:x:1:7000::/:\nmallory:x:2:7000::/:`,
      false,
    ],
    [
      'must not have a second row in /etc/group',
      `${me}:x:7000:\nother:x:7000:mallory`,
      `${me}:x:1:7000::/:`,
      false,
    ],
    ['must have the user', 'staff:x:7000:daemon', 'daemon:x:1:1::/:/bin/sh', false],
    ['is in the file: others may be in a directory', 'users:x:100:', `${me}:x:1:7000::/:/bin/sh`, false],
    ['has that number, and not one that contains it', `${me}:x:70001:`, `${me}:x:1:70001::/:`, false],
  ])('%s', async (_what, group, passwd, expected) => {
    const folder = await tempFolder();
    await writeFile(join(folder, 'group'), `root:x:0:\n${group}\n`);
    await writeFile(join(folder, 'passwd'), `${passwd}\n`);
    expect(isGroupOfUser(7000, folder)).toBe(expected);
  });

  test('is never assumed if the files are missing', async () => {
    expect(isGroupOfUser(7000, await tempFolder())).toBe(false);
  });
});

describe.skipIf(process.platform === 'win32')('a file that others may write', () => {
  test('is refused by a load, an edit and a read of its text', async () => {
    const { path, load } = await place({ file: 0o666 });
    const refused = { code: 'permissions_unsafe', hint: `chmod go-w ${path}` };
    await expect(load()).rejects.toMatchObject(refused);
    const text = 'version: 1\n# mine\n';
    await expect(writeConfigAtomically(path, text, { env: {}, isLocal: true })).rejects.toMatchObject(
      refused,
    );
    expect(await readFile(path, 'utf8')).toBe('version: 1\n');
    await chmod(path, 0o600);
    expect((await load()).file).toBe(path);
  });

  test.each([
    ['the file', { file: 0o600 }, 0o666],
    ['the file without a change of its text', { file: 0o666 }, 0o600],
    ['the folder of a file that was refused', { folder: 0o777 }, 0o700],
  ])('makes a reload due when the mode of %s changes', async (what, modes, mode) => {
    const { path, folder } = await place(modes);
    // Old stamps, which show that nothing changed.
    const sources = configSources(path, (at) => {
      const stamp = statSync(at, { bigint: true, throwIfNoEntry: false });
      return stamp && Object.assign(stamp, { ctimeMs: 0n });
    });
    expect(sources.differ()).toBe(false);
    await chmod(what.startsWith('the file') ? path : folder, mode);
    expect(sources.differ()).toBe(true);
    sources.take();
    expect(sources.differ()).toBe(false);
  });
});
