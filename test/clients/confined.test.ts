/** Work of programs in a confined command, each in a project folder below a home folder. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findClient } from '../support/client-program.ts';
import { runHome, type EndedCommand } from '../support/run-command.ts';
import { missing } from './support/stage.ts';

// It needs user namespaces, which some machines do not permit.
const bwrap = await findClient('bwrap', ['--dev-bind', '/', '/', '--unshare-net', '--', 'true']);

const gitEnv = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@acme.test',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@acme.test',
};

interface Project {
  readonly home: string;
  readonly folder: string;
  /** Runs lines of the shell in a folder of the project, confined, from the first command that fails on. */
  readonly script: (lines: readonly string[], folder?: string) => Promise<EndedCommand>;
}

async function project(): Promise<Project> {
  const { at, run } = await runHome();
  const home = at.at('user');
  const folder = join(home, 'project');
  await mkdir(folder, { recursive: true });
  const path = `${process.env['PATH']}${delimiter}/usr/sbin`;
  return {
    home,
    folder,
    script: (lines, cwd = folder) =>
      run(['--isolate', '--quiet', '--', 'sh', '-ec', lines.join('\n')], {
        env: { ...gitEnv, HOME: home, PATH: path, LANG: 'C.UTF-8' },
        cwd,
      }),
  };
}

/** Runs the lines, and expects a last line of output. */
async function expectLast(last: string, lines: readonly string[]): Promise<void> {
  const { script } = await project();
  const { exit, stdout, stderr } = await script(lines);
  expect({ exit, last: stdout.trimEnd().split('\n').at(-1), stderr: exit === 0 ? '' : stderr }).toEqual({
    exit: 0,
    last,
    stderr: '',
  });
}

const git = (folder: string, ...words: readonly string[]) =>
  execFileSync('git', ['-c', 'protocol.file.allow=always', '-C', folder, ...words], {
    env: { ...process.env, ...gitEnv },
    stdio: 'pipe',
  });

describe.skipIf(bwrap.missing)(`a confined command${bwrap.missing ? ` (${bwrap.missing})` : ''}`, () => {
  describe.skipIf(missing('git', '--version'))('git', () => {
    const work = [
      'echo 1 >file',
      'git add file',
      'git commit -qm one',
      'git switch -qc topic',
      'echo 2 >file',
      'git stash -q',
      'git stash pop -q',
      'git commit -qam two',
      'git rebase -q main',
      'git gc -q',
      'git log --format=%s -1',
    ];

    test.each(['.', 'below', 'linked', 'module'])(
      'commits, switches, stashes, rebases and collects garbage in a repository (%s)',
      async (place) => {
        const { folder, script } = await project();
        const main = join(folder, 'main');
        execFileSync('git', ['init', '-q', '-b', 'main', join(folder, 'source')]);
        git(join(folder, 'source'), 'commit', '-q', '--allow-empty', '-m', 'first');
        execFileSync('git', ['clone', '-q', join(folder, 'source'), main]);
        git(main, 'submodule', '--quiet', 'add', '-b', 'main', join(folder, 'source'), 'module');
        git(main, 'commit', '-q', '-m', 'module');
        await mkdir(join(main, 'below'));
        git(main, 'worktree', 'add', '-q', join(folder, 'linked'));
        const at = place === 'linked' ? join(folder, place) : join(main, place);
        const { exit, stdout, stderr } = await script(work, at);
        expect({ exit, stdout, stderr }).toMatchObject({ exit: 0, stdout: 'two\n' });
        expect(git(at, 'log', '--format=%s', '-1').toString()).toBe('two\n');
      },
    );

    test('commits in the submodules of its repository', async () => {
      const { folder, script } = await project();
      const [source, main] = [join(folder, 'source'), join(folder, 'main')];
      execFileSync('git', ['init', '-q', '-b', 'main', source]);
      git(source, 'commit', '-q', '--allow-empty', '-m', 'first');
      execFileSync('git', ['clone', '-q', source, main]);
      git(main, 'submodule', '--quiet', 'add', '--name', 'a/b', source, 'module');
      const hooks = join(main, '.git', 'modules', 'a', 'b', 'hooks', 'post-checkout');
      const ran = await script(
        ['cd module', 'git commit -q --allow-empty -m inner', `echo x >${hooks} || echo refused`],
        main,
      );
      expect(ran).toMatchObject({ exit: 0, stdout: 'refused\n' });
      expect(git(join(main, 'module'), 'log', '--format=%s', '-1').toString()).toBe('inner\n');
      expect(existsSync(hooks)).toBe(false);
    });
  });

  test('creates cache folders, which are removed at the end of the run', async () => {
    const { home, script } = await project();
    // Hidden, beside the new folder.
    await mkdir(join(home, '.cache', 'rbw'), { recursive: true });
    const lines = ['mkdir -p ~/.cache/new/a ~/.local/share/new ~/.config/new', 'ls ~/.cache'];
    expect(await script(lines)).toMatchObject({ exit: 0, stdout: 'new\n' });
    expect(existsSync(join(home, '.cache', 'new'))).toBe(false);
  });

  test('named claude keeps its state, except programs that would start outside the sandbox', async () => {
    const { at, run } = await runHome();
    const home = at.at('user');
    const folder = join(home, 'project');
    await mkdir(folder, { recursive: true });
    await writeFile(join(home, '.claude.json'), '{"starts":1}');
    // In the place of Claude Code: replaces its file by rename, as that does.
    const program = '#!/bin/sh\ncat "$CLAUDE_CONFIG_DIR/.claude.json"; cd "$CLAUDE_CONFIG_DIR"\n';
    const replaces =
      'echo "{}" >.claude.json.tmp && mv .claude.json.tmp .claude.json; echo x >~/.claude.json';
    await writeFile(join(folder, 'claude'), `${program}${replaces}\n`, { mode: 0o755 });
    const options = { env: { HOME: home }, cwd: folder };
    const { stdout } = await run(['--isolate', '--quiet', '--', './claude'], options);
    expect(stdout).toBe('{"starts":1}');
    expect(await readFile(join(home, '.claude.json'), 'utf8')).toBe('{"starts":1}');
    expect(await readFile(join(home, '.claude', '.claude.json'), 'utf8')).toBe('{}\n');
  });

  test('can run servers that its other programs reach', async () => {
    const server = `require('node:http').createServer((_, response) => response.end('served')).listen(3000, () => {
      const asked = require('node:child_process').spawn('curl', ['-sS', 'http://localhost:3000/'], { stdio: 'inherit' });
      asked.once('exit', (code) => process.exit(code));
    });`;
    await expectLast('served', [`'${process.execPath}' -e "${server}"`]);
  });

  test('can fork in Node.js', async () => {
    const { folder, script } = await project();
    const program = `const cluster = require('node:cluster');
      if (cluster.isPrimary) cluster.fork().once('message', (text) => { console.log(text); cluster.disconnect(); });
      else process.send('from the worker');`;
    await writeFile(join(folder, 'cluster.cjs'), program);
    expect(await script([`'${process.execPath}' cluster.cjs`])).toMatchObject({
      stdout: 'from the worker\n',
    });
  });

  test.skipIf(missing('python3', '--version'))('can use processes and shared memory in Python', async () => {
    const { folder, script } = await project();
    const program = [
      'import multiprocessing as m, pty, os',
      'from multiprocessing import shared_memory',
      'def double(x): return 2 * x',
      'if __name__ == "__main__":',
      '  for kind in ("fork", "spawn", "forkserver"):',
      '    with m.get_context(kind).Pool(2) as pool: print(kind, pool.map(double, [1, 2]))',
      '  with m.Manager() as manager: print(manager.dict({"a": 1}))',
      '  memory = shared_memory.SharedMemory(create=True, size=10); memory.close(); memory.unlink()',
      '  print(os.path.exists(os.ttyname(pty.openpty()[1])))',
    ];
    await writeFile(join(folder, 'work.py'), program.join('\n'));
    const { stdout } = await script(['python3 work.py']);
    expect(stdout.split('\n')).toEqual([
      'fork [2, 4]',
      'spawn [2, 4]',
      'forkserver [2, 4]',
      "{'a': 1}",
      'True',
      '',
    ]);
  });

  test.skipIf(missing('go', 'version'))('can build with Go without the build cache of the home folder', () =>
    expectLast('built', [
      'export GOFLAGS=-mod=mod GOPROXY=off',
      'printf "module acme.test/x\\n\\ngo 1.19\\n" >go.mod',
      `printf 'package main\\n\\nfunc main() { println("built") }\\n' >main.go`,
      'go run . 2>&1',
    ]),
  );

  test.skipIf(missing('javac', '-version'))('can compile and run Java', () =>
    expectLast('ran', [
      `echo 'class A { public static void main(String[] a) { System.out.println("ran"); } }' >A.java`,
      'javac A.java',
      'java A',
    ]),
  );

  test.skipIf(missing('npm', '--version'))('can install a package with npm', () =>
    expectLast('installed', [
      'mkdir part app',
      `echo '{"name":"part","version":"1.0.0","main":"index.js"}' >part/package.json`,
      `echo 'console.log("installed")' >part/index.js`,
      'cd app',
      `echo '{"name":"app"}' >package.json`,
      'npm install --no-audit --no-fund --install-links ../part >&2',
      `'${process.execPath}' -e 'require("part")'`,
    ]),
  );

  test.skipIf(missing('chromium', '--version'))('can show a page in Chromium', { timeout: 120_000 }, () =>
    expectLast('<html><head></head><body>shown</body></html>', [
      'chromium --headless --no-sandbox --disable-gpu --dump-dom data:text/html,shown',
    ]),
  );

  test('has a DOCKER_HOST that names the option which grants the Docker socket', () =>
    expectLast('unix:///not-in-this-run/sidekey-run--socket/run/docker.sock', ['echo $DOCKER_HOST']));
});
