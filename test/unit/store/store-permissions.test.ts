import type * as FileSystem from 'node:fs/promises';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { checkStoreFiles } from '../../../src/store/sqlite.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const vanishing = vi.hoisted(() => new Set<unknown>());

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof FileSystem>();
  const access: typeof real.access = async (path, mode) => {
    if (vanishing.has(path)) await real.rm(path);
    return real.access(path, mode);
  };
  return { ...real, access };
});

async function storeWithLog(): Promise<string> {
  const path = join(await tempFolder(), 'sidekey.db');
  for (const file of [path, `${path}-wal`, `${path}-shm`]) await writeFile(file, '', { mode: 0o600 });
  return path;
}

test('a WAL file that another process removes during the check causes no error', async () => {
  const path = await storeWithLog();
  vanishing.add(`${path}-wal`).add(`${path}-shm`);
  await checkStoreFiles(path);
});

test('a WAL file that others can read is refused, and so is a missing folder', async () => {
  const path = await storeWithLog();
  await chmod(`${path}-wal`, 0o640);
  await expect(checkStoreFiles(path)).rejects.toMatchObject({ code: 'permissions_unsafe' });
  await rm(join(path, '..'), { recursive: true });
  await expect(checkStoreFiles(path)).rejects.toMatchObject({ code: 'file_unwritable' });
});

test.skipIf(process.getuid?.() === 0)('a WAL file that cannot be written is refused', async () => {
  const path = await storeWithLog();
  await chmod(`${path}-shm`, 0o400);
  await expect(checkStoreFiles(path)).rejects.toMatchObject({ code: 'file_unwritable' });
});
