/**
 * The commands of the service with a real user manager of systemd. It runs in a mount namespace of its own,
 * and in the cgroup of the tests: that must belong to this user, as it does in a session of systemd.
 * `.ci/run` makes one.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { basename, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openListeningSocket } from '../../../src/app/worker-ipc.ts';
import { home, type Ran, program } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const manager = '/lib/systemd/systemd';

const why = whyNot();

function whyNot(): string | null {
  if (!existsSync(manager)) return 'systemd is missing';
  if (spawnSync('unshare', ['-Urm', 'true']).status !== 0) return 'user namespaces are forbidden';
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '';
  const root = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((each) =>
    existsSync(join(each, own, 'cgroup.procs')),
  );
  try {
    accessSync(join(root ?? '', own), constants.W_OK);
    return null;
  } catch {
    return 'the cgroup belongs to another user';
  }
}

/** Runs commands of the shell where a user manager of systemd runs. */
async function session(folder: string): Promise<(command: string) => Promise<Ran>> {
  const shell = spawn('unshare', ['-Urm', 'sh'], {
    env: { PATH: process.env['PATH'], HOME: folder, XDG_RUNTIME_DIR: '/run/user' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  shell.stdin.on('error', () => {});
  onTestFinished(() => void shell.kill('SIGKILL'));
  let [stdout, stderr] = ['', ''];
  shell.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  shell.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  const run = (command: string) =>
    new Promise<Ran>((resolve) => {
      [stdout, stderr] = ['', ''];
      const look = () => {
        const end = /^==(\d+)==\n$/m.exec(stdout);
        if (end === null) return;
        shell.stdout.off('data', look);
        resolve({ exit: Number(end[1]), stdout: stdout.slice(0, end.index), stderr });
      };
      shell.stdout.on('data', look);
      shell.stdin.write(`${command}\nprintf '==%s==\\n' $?\n`);
    });
  await run('mount -t tmpfs tmpfs /run && mkdir -m 700 -p /run/systemd/system /run/user');
  await run(`${manager} --user 2>/dev/null & manager=$!`);
  const { stdout: state } = await run(
    'for i in $(seq 100); do systemctl --user is-system-running 2>/dev/null && break; sleep 0.1; done',
  );
  expect(state.trim()).toMatch(/running|degraded/);
  onTestFinished(async () => void (await run('kill $manager; wait $manager')));
  return run;
}

function status(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/healthz', agent: false }, (answer) =>
      resolve(answer.resume().statusCode),
    ).once('error', reject);
  });
}

describe.skipIf(why !== null)(
  `the systemd service${why === null ? '' : ` (${why})`}`,
  { timeout: 120_000 },
  () => {
    test('is installed, refuses no connection during a restart, and is removed', async () => {
      const at = await home();
      const socket = await openListeningSocket('127.0.0.1', 0);
      const { port } = socket.address;
      socket.close();
      const text = { version: 1, proxy: { listen: `127.0.0.1:${port}` }, admin: { listen: '127.0.0.1:0' } };
      await writeFile(at.configFile, JSON.stringify(text));
      const run = await session(await tempFolder());
      // Like a package manager that links a program in a folder with its version.
      const links = await tempFolder();
      const link = join(links, basename(process.execPath));
      await symlink(process.execPath, link);
      const sidekey = (args: string) =>
        run(
          `PATH='${links}:'"$PATH" '${process.execPath}' '${program}' service ${args} --json --config '${at.configFile}'`,
        );

      const before = await sidekey('status');
      expect([before.exit, JSON.parse(before.stdout)]).toEqual([1, { installed: false }]);
      const installed = await sidekey('install');
      expect(installed).toMatchObject({ exit: 0, stderr: '' });
      expect(JSON.parse((await sidekey('status')).stdout)).toMatchObject({ installed: true, running: true });
      expect(await status(port)).toBe(200);
      const { file } = JSON.parse((await sidekey('status')).stdout) as { file: string };
      expect(readFileSync(file, 'utf8')).toMatch(new RegExp(`^ExecStart="?${link}\\b`, 'm'));

      const restarting = { now: true };
      const restart = run('systemctl --user restart sidekey.service').finally(() => (restarting.now = false));
      let answers = 0;
      for (; restarting.now; answers += 1) expect(await status(port)).toBe(200);
      expect((await restart).exit).toBe(0);
      expect(answers).toBeGreaterThan(0);

      // Repeated, it replaces itself.
      expect((await sidekey('install')).exit).toBe(0);
      expect(await status(port)).toBe(200);
      const removed = JSON.parse((await sidekey('uninstall')).stdout) as { files: string[] };
      expect(removed.files.map((file) => [file.split('/').at(-1), existsSync(file)])).toEqual([
        ['sidekey.socket', false],
        ['sidekey.service', false],
      ]);
      await expect(status(port)).rejects.toThrow('ECONNREFUSED');
      expect((await sidekey('status')).exit).toBe(1);
    });

    test('is not installed while another program serves on its port', async () => {
      const at = await home();
      const { url } = await at.start();
      await writeFile(
        at.configFile,
        JSON.stringify({ version: 1, proxy: { listen: url.replace('http://', '') } }),
      );
      const run = await session(await tempFolder());
      const { exit, stderr } = await run(
        `'${process.execPath}' '${program}' service install --json --config '${at.configFile}'`,
      );
      expect([exit, JSON.parse(stderr)]).toMatchObject([1, { error: { code: 'port_in_use' } }]);
    });
  },
);
