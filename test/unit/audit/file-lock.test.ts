import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tryLockFile } from '../../../src/audit/log-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const source = new URL('../../../src/audit/log-files.ts', import.meta.url).href;

/** Another process that tries the lock, says whether it has it, and keeps it until it is killed. */
async function otherProcess(path: string): Promise<{ has: boolean; kill: () => Promise<void> }> {
  const script = `
    const { tryLockFile } = await import(${JSON.stringify(source)});
    globalThis.lock = tryLockFile(${JSON.stringify(path)});
    console.log(globalThis.lock === undefined ? 'busy' : 'has it');
    setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [answer] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    has: String(answer).trim() === 'has it',
    async kill() {
      const closed = once(child, 'close');
      child.kill('SIGKILL');
      await closed;
    },
  };
}

it('the file lock has one holder in a process, and is free after its release', async () => {
  const path = join(await tempFolder(), 'lock');
  const first = tryLockFile(path);
  expect(first).toBeDefined();
  expect(tryLockFile(path)).toBeUndefined();
  // A refused try must not loosen the lock (a closed descriptor drops bare POSIX locks).
  expect(tryLockFile(path)).toBeUndefined();
  first?.release();
  const second = tryLockFile(path);
  expect(second).toBeDefined();
  second?.release();
});

it('the file lock is refused immediately to another process, even after a failed attempt in this process', async () => {
  const path = join(await tempFolder(), 'lock');
  const lock = tryLockFile(path);
  tryLockFile(path);
  const other = await otherProcess(path);
  expect(other.has).toBe(false);
  await other.kill();
  lock?.release();
});

it('the file lock is free after its holder is killed', async () => {
  const path = join(await tempFolder(), 'lock');
  const other = await otherProcess(path);
  expect(other.has).toBe(true);
  expect(tryLockFile(path)).toBeUndefined();
  await other.kill();
  const lock = tryLockFile(path);
  expect(lock).toBeDefined();
  lock?.release();
});

it('the file lock leaves one empty file that only its owner may open, and notices when the file is removed', async () => {
  const folder = await tempFolder();
  const lock = tryLockFile(join(folder, 'lock'));
  expect(fs.readdirSync(folder)).toEqual(['lock']);
  expect(fs.statSync(join(folder, 'lock'))).toMatchObject({ size: 0, mode: 0o100600 });
  expect(lock?.held()).toBe(true);
  fs.rmSync(join(folder, 'lock'));
  expect(lock?.held()).toBe(false);
  lock?.release();
});

it('the file lock fails on a file that is not a lock file', async () => {
  const path = join(await tempFolder(), 'lock');
  fs.writeFileSync(path, 'something else entirely, long enough to have a header of its own'.repeat(20));
  expect(() => tryLockFile(path)).toThrow();
});
