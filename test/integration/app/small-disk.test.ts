/** States of a real file system: a tmpfs of 1 MB in a mount namespace of the test. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { home, program } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const storeProgram = fileURLToPath(new URL('../../support/store-on-small-disk.ts', import.meta.url));

const mounts = 'mount -t tmpfs -o size=1m,mode=0700 tmpfs "$0"';

const canMount = (() => {
  try {
    execFileSync('unshare', ['-rm', 'sh', '-c', 'mount -t tmpfs tmpfs /mnt'], { stdio: 'ignore' });
    return process.platform === 'linux';
  } catch {
    return false;
  }
})();

interface Attempt {
  readonly what: string;
  readonly code: string;
  readonly message?: string;
  readonly hint?: string;
}

test.skipIf(!canMount)('a store on a full disk is unavailable, and never damaged', async () => {
  const script = `${mounts} && exec "$1" "$2" "$0"`;
  const args = ['-rm', 'sh', '-c', script, await tempFolder(), process.execPath, storeProgram];
  const printed = execFileSync('unshare', args, { encoding: 'utf8' });
  const attempts = printed
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Attempt);
  const failures = attempts.filter(({ code }) => code !== 'ok');
  expect(failures.length).toBeGreaterThan(20);
  for (const failure of failures)
    expect(failure).toMatchObject({
      code: expect.stringMatching(/^(store_unavailable|file_unwritable)$/) as string,
      message: expect.stringMatching(/: the disk is full\.$/) as string,
      hint: expect.stringMatching(/^free space/) as string,
    });
  const whats = failures.map(({ what }) => what);
  expect(whats).toEqual(expect.arrayContaining(['insert 3', 'transaction 3']));
  expect(whats.filter((what) => what.includes('after'))).toEqual([]);
});

test.skipIf(!canMount).each([1, 2])(
  'SIGTERM ends a proxy with %i processes whose file system has become read-only',
  async (workers) => {
    const at = await home({ version: 1, workers, proxy: { listen: '127.0.0.1:0' } });
    const signals = await tempFolder();
    const script = `(
      while ! test -e "$1/change"; do sleep 0.05; done
      mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && touch "$1/changed"
    ) & shift; exec "$@"`;
    const within = ['unshare', '-rm', 'sh', '-c', script, at.at('.'), signals];
    const { stop } = await at.start({ within });
    await writeFile(join(signals, 'change'), '');
    await expect.poll(() => existsSync(join(signals, 'changed')), { timeout: 10_000 }).toBe(true);
    const { stderr } = await stop();
    expect(stderr).not.toContain('Internal error');
    expect(stderr).not.toContain('SuppressedError');
    // The namespace has ended with its processes.
    expect(await at.run(['status'])).toMatchObject({ stdout: expect.stringMatching(/✓ store/) as string });
  },
  30_000,
);

test.skipIf(!canMount)('commands on a read-only file system name it, and not permissions', async () => {
  const at = await home();
  await at.grant('work', { type: 'api_key', value: 'key-0123456789' });
  const script = `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99
    for word in status 'grant list' start; do "$@" $word; done 2>&1
    SIDEKEY_HOME="$0/new" "$1" "$2" start 2>&1`;
  const words = [process.execPath, program, '--config', at.configFile];
  const { stdout } = spawnSync('unshare', ['-rm', 'sh', '-c', script, at.at('.'), ...words], {
    encoding: 'utf8',
    cwd: at.folder,
    env: { PATH: process.env['PATH'], HOME: at.folder },
  });
  expect(stdout.match(/its file system is read-only/g)).toHaveLength(4);
  expect(stdout).toMatch(/The config file .*new\/config\/sidekey.yaml cannot be made/);
  expect(stdout).toContain('→ mount it writable again');
  expect(stdout).not.toMatch(/chmod|chown|away|Internal error/);
});
