import { chmod, mkdir, readdir, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { openKeyFile, plainKey } from '../../src/store/vault/key-file.ts';
import { grantRecord } from '../support/grant-record.ts';
import { tempFolder } from '../support/temp-folder.ts';

const createKeyFile = (path: string) => openKeyFile(path, plainKey).create!();
const readKeyFile = (path: string) => openKeyFile(path, plainKey).read();

const now = (): number => 1_700_000_000_000;
const mode = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

describe.skipIf(process.platform === 'win32')('the permissions of key and store files', () => {
  let umask: number;
  beforeEach(() => {
    umask = process.umask(0);
  });
  afterEach(() => {
    process.umask(umask);
  });

  it('of a new key file are 0600 in a folder 0700, with any umask', async () => {
    const folder = await tempFolder();
    await createKeyFile(join(folder, 'a', 'b', 'master.key'));
    expect(await mode(join(folder, 'a'))).toBe('700');
    expect(await mode(join(folder, 'a', 'b'))).toBe('700');
    expect(await mode(join(folder, 'a', 'b', 'master.key'))).toBe('600');
  });

  it('of a key file may permit no other user: the file is refused with the command that fixes the mode', async () => {
    const path = join(await tempFolder(), 'master.key');
    await createKeyFile(path);
    for (const bits of [0o640, 0o604, 0o660, 0o644, 0o610, 0o601, 0o602]) {
      await chmod(path, bits);
      await expect(readKeyFile(path)).rejects.toMatchObject({
        code: 'permissions_unsafe',
        hint: `chmod 600 ${path}`,
      });
      expect(await mode(path)).toBe(bits.toString(8));
    }
    await chmod(path, 0o400);
    expect(await readKeyFile(path)).not.toBeNull();
  });

  it('of a folder matter too: a key in a folder that every user can write to is neither read nor created', async () => {
    const folder = await tempFolder();
    const open = join(folder, 'open folder');
    await mkdir(open);
    await chmod(open, 0o700);
    await createKeyFile(join(open, 'master.key'));
    await chmod(open, 0o1777);
    const refusal = { code: 'permissions_unsafe', hint: `chmod 700 '${open}'` };
    await expect(readKeyFile(join(open, 'master.key'))).rejects.toMatchObject(refusal);
    await expect(createKeyFile(join(open, 'second.key'))).rejects.toMatchObject(refusal);
    expect(await readdir(open)).toEqual(['master.key']);

    await symlink(join(open, 'master.key'), join(folder, 'master.key'));
    await expect(readKeyFile(join(folder, 'master.key'))).rejects.toMatchObject(refusal);
  });

  it('of a new store and its log are 0600 in a folder 0700, with any umask', async () => {
    const folder = await tempFolder();
    const data = join(folder, 'data');
    const store = await openSqliteStore(join(data, 'sidekey.db'), { now });
    await store.grants.insert(grantRecord());
    expect(await mode(data)).toBe('700');
    const files = (await readdir(data)).toSorted();
    expect(files).toEqual(['sidekey.db', 'sidekey.db-shm', 'sidekey.db-wal']);
    for (const file of files) expect([file, await mode(join(data, file))]).toEqual([file, '600']);
    await store.close();
  });

  it('of a store may permit no other user: the store is refused with the command that fixes the mode', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const store = await openSqliteStore(path, { now });
    await store.grants.insert(grantRecord());
    for (const [file, bits] of [
      [path, 0o640],
      [path, 0o604],
      [path, 0o666],
      [`${path}-wal`, 0o644],
      [`${path}-shm`, 0o644],
    ] as const) {
      await chmod(file, bits);
      await expect(openSqliteStore(path, { now })).rejects.toMatchObject({
        code: 'permissions_unsafe',
        hint: `chmod 600 ${file}`,
      });
      await chmod(file, 0o600);
    }
    await store.close();
  });

  it('of a folder matter too: a store in a folder that every user can write to is neither opened nor created', async () => {
    const folder = join(await tempFolder(), 'data');
    await (await openSqliteStore(join(folder, 'sidekey.db'), { now })).close();
    await chmod(folder, 0o777);
    for (const name of ['sidekey.db', 'second.db']) {
      await expect(openSqliteStore(join(folder, name), { now })).rejects.toMatchObject({
        code: 'permissions_unsafe',
        hint: `chmod 700 ${folder}`,
      });
    }
    expect(await readdir(folder)).toEqual(['sidekey.db']);
  });
});
