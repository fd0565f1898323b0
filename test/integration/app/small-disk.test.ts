/** States of a real file system: a tmpfs of 1 MB, or an ext4 in a file, in a mount namespace of the test. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { home, program } from '../../support/command-line.ts';
import { curl, curlMissing } from '../../support/curl.ts';
import { runHome } from '../../support/run-command.ts';
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

/** Mounts the file `$1/image` at `$0`, with the files that are there. */
const mountImage = `mount -o loop,errors=remount-ro "$1/image" /mnt && cp -a "$0/." /mnt &&
  mount --bind /mnt "$0" && umount /mnt && cd "$0" || exit 99`;

/** Reports an error of the disk to ext4, which then refuses to write, also to open files. */
const breakDisk = `device=$(findmnt -n -o SOURCE --target "$0" | sed 's/\\[.*//') &&
  echo 1 > "/sys/fs/ext4/$(basename "$device")/trigger_fs_error"`;

/** Creates `image`, a file with an ext4 file system. Without a journal, no thread of the kernel writes. */
function makeImage(folder: string): void {
  const image = join(folder, 'image');
  execFileSync('truncate', ['-s', '32M', image]);
  execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', image], { stdio: 'pipe' });
}

/** Reports whether this user may mount an image, and this kernel can break it. */
const canBreak = (() => {
  const folder = mkdtempSync(join(tmpdir(), 'sidekey-disk-'));
  try {
    makeImage(folder);
    mkdirSync(join(folder, 'disk'));
    const script = `${mountImage} && ${breakDisk} && ! touch "$0/file"`;
    const words = ['-m', 'sh', '-c', script, join(folder, 'disk'), folder];
    return spawnSync('unshare', words, { stdio: 'ignore' }).status === 0;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
})();

test.skipIf(!canBreak || curlMissing !== false)(
  'a disk that becomes read-only below open files: requests are refused, and each message names it',
  async () => {
    const { at, upstream, seen } = await runHome();
    const folder = await tempFolder();
    makeImage(folder);
    const script = `${mountImage}
      ( while ! test -e "$1/change"; do sleep 0.05; done; ${breakDisk}; touch "$1/changed" ) &
      shift; exec "$@"`;
    // The CA, before the folder of the home is mounted over.
    await (await at.start()).stop();
    const trusted = join(folder, 'trusted.crt');
    await writeFile(trusted, readFileSync(at.at('certs', 'ca.crt')));
    const running = await at.start({ within: ['unshare', '-m', 'sh', '-c', script, at.folder, folder] });
    const request = () => curl('--proxy', running.url, '--cacert', trusted, upstream.url);
    const inside = (...words: readonly string[]) =>
      spawnSync(
        'nsenter',
        [
          '--target',
          String(running.pid),
          '--mount',
          `--wd=${at.folder}`,
          process.execPath,
          program,
          ...words,
          '--config',
          at.configFile,
        ],
        { encoding: 'utf8', timeout: 20_000, env: { PATH: process.env['PATH'], HOME: at.folder } },
      );
    expect((await request()).body).toBe('hello');
    await writeFile(join(folder, 'change'), '');
    await expect.poll(() => existsSync(join(folder, 'changed')), { timeout: 10_000 }).toBe(true);
    // A line of the audit log before the failure was seen may be lost with its request.
    await expect.poll(async () => (await request()).status, { timeout: 15_000 }).toBe(503);
    const served = seen.length;
    const refused = await request();
    expect(refused.body).toContain('"audit_unavailable"');
    expect(refused.body).toContain('mount it writable again');
    expect(seen.length).toBe(served);
    expect(inside('audit', 'verify')).toMatchObject({ status: 0 });
    expect(inside('audit', 'tail').stdout).toContain(`GET ${upstream.authority}`);
    for (const words of [['start'], ['grant', 'remove', 'desk']])
      expect(inside(...words)).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(
          /^sidekey: The store at .+ cannot be used: its file system is read-only\.\n {2}→ mount it writable again/,
        ) as string,
      });
    const { exit, stderr } = await running.stop();
    expect(exit).toBe(1);
    expect(stderr).toContain('mount it writable again');
    expect(stderr).not.toMatch(/Internal error|SuppressedError/);
  },
  60_000,
);
