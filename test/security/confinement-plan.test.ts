/** Paths that a checkout, or an earlier command, chose. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { accessTo } from '../../src/confine/access.ts';
import { bubblewrapArguments } from '../../src/confine/bubblewrap.ts';
import { born, type Exceptions, type Plan, planOf } from '../../src/confine/plan.ts';
import { loadConfig } from '../../src/config/load.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface Machine {
  readonly at: (...names: readonly string[]) => string;
  readonly put: (name: string, text?: string) => string;
  readonly link: (name: string, to: string) => void;
  readonly git: (...words: readonly string[]) => void;
  readonly plan: (
    folder: string,
    options?: Partial<Exceptions & { env: object; program: string; config: string }>,
  ) => Promise<Plan>;
}

async function machine(): Promise<Machine> {
  const base = realpathSync(await tempFolder());
  const at: Machine['at'] = (...names) => join(base, ...names);
  const put: Machine['put'] = (name, text = '') => {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), text, { mode: 0o600 });
    return at(name);
  };
  put('sidekey/config/sidekey.yaml', 'version: 1\n');
  for (const name of ['home', 'project']) mkdirSync(at(name));
  return {
    at,
    put,
    link: (name, to) => symlinkSync(to, at(name)),
    git: (...words) =>
      void execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@x', ...words], {
        env: { PATH: process.env['PATH'], HOME: at('home'), GIT_CEILING_DIRECTORIES: dirname(base) },
        stdio: 'pipe',
      }),
    async plan(folder, { env = {}, program = 'sh', config, ...exceptions } = {}) {
      const all = { HOME: at('home'), ...env };
      const loaded = await loadConfig(config ?? at('sidekey/config/sidekey.yaml'), { env: all });
      const none = { show: [], write: [], socket: [] };
      return planOf({ config: loaded, env: all, folder: at(folder), program, ...none, ...exceptions });
    },
  };
}

test.each(['show', 'write', 'socket'] as const)(
  '--%s through a link in the project is refused',
  async (option) => {
    const { at, link, put, plan } = await machine();
    put('home/.bashrc');
    link('project/out', at('home'));
    await expect(plan('project', { [option]: ['out/.bashrc'] })).rejects.toMatchObject({
      code: 'input_invalid',
      hint: expect.stringContaining(at('home/.bashrc')),
    });
    // The person names what it is.
    expect((await plan('project', { write: [at('home/.bashrc')] })).rules.get(at('home/.bashrc'))).toBe(
      'write',
    );
  },
);

test('a cache that a variable names below the project gives no right to where a link leads', async () => {
  const { at, link, plan } = await machine();
  mkdirSync(at('home/.config/autostart'), { recursive: true });
  link('project/.gocache', at('home/.config'));
  link('project/.cache', at('home/.config'));
  const env = { GOCACHE: at('project/.gocache/autostart'), XDG_CACHE_HOME: at('project/.cache') };
  const { rules } = await plan('project', { env });
  // What the command writes there ends with the run.
  expect(accessTo(at('home/.config/autostart'), rules)).toBe('scratch');
});

test('a folder of Sidekey behind a link in the project is refused', async () => {
  const { at, link, plan } = await machine();
  link('project/.sidekey', at('sidekey'));
  const refused = plan('project', { env: { SIDEKEY_HOME: at('project/.sidekey') } });
  await expect(refused).rejects.toMatchObject({ code: 'input_invalid' });
});

test('links of a home that is the working folder do no harm', async () => {
  const { at, link, plan } = await machine();
  mkdirSync(at('elsewhere'));
  link('home/.config', at('elsewhere'));
  expect((await plan('home')).writesFolder).toBe(false);
});

test('a hook that is a link in the project is refused', async () => {
  const { at, git, link, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  put('project/shared/pre-commit');
  link('project/hooks', 'shared');
  put('project/.git/config', '[core]\nhooksPath = hooks\n');
  await expect(plan('project')).rejects.toMatchObject({ code: 'input_invalid' });
});

test('the folders of git are fixed, wherever a checkout has them', async () => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  git('-C', at('project'), 'commit', '--quiet', '--allow-empty', '-m', 'x');
  git('-C', at('project'), 'worktree', 'add', '--quiet', at('side'), '-b', 'side');
  const side = await plan('side');
  for (const path of [
    'side/.git',
    'project/.git/hooks',
    'project/.git/config',
    'project/.git/worktrees/side/commondir',
  ])
    expect([path, accessTo(at(path), side.rules)]).toEqual([path, 'fixed']);

  git('init', '--quiet', '--bare', at('bare'));
  expect(accessTo(at('bare/hooks'), (await plan('bare')).rules)).toBe('fixed');

  git('init', '--quiet', '--bare', at('wrapped/.bare'));
  put('wrapped/.git', 'gitdir: ./.bare\n');
  const wrapped = await plan('wrapped');
  for (const path of ['wrapped/.git', 'wrapped/.bare/hooks', 'wrapped/.bare/config'])
    expect([path, accessTo(at(path), wrapped.rules)]).toEqual([path, 'fixed']);

  // A checkout names any folder it likes.
  put('hostile/.git', `gitdir: ${at('home')}\n`);
  expect(accessTo(at('home'), (await plan('hostile')).rules)).toBe('read');
});

test('files that make a repository of the project itself are reported', async () => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  const made = await plan('project');
  put('project/HEAD', 'ref: refs/heads/main\n');
  put('project/.envrc');
  expect(born(made)).toEqual(expect.arrayContaining([at('project/HEAD'), at('project/.envrc')]));
});

test.each([
  ['[include]path=../a', 'a'],
  ['[include]\n\tpath = "../b c" ; mine', 'b c'],
  ['[includeIf "gitdir:~/x]/"] path = ../d', 'd'],
  ['[include]\npath = ../a\\\nb', 'ab'],
  ['[core]\nfsmonitor = "tools/monitor --fast"', 'tools/monitor'],
  ['[alias]\nx = !tools/alias now', 'tools/alias'],
])('what git reads in %j is fixed', async (config, name) => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  put('project/.git/config', `${config}\n`);
  execFileSync('chmod', ['+x', put(`project/${name}`)]);
  expect(accessTo(at('project', name), (await plan('project')).rules)).toBe('fixed');
});

test('a config that an included config includes is fixed, and a circle ends', async () => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  put('project/.git/config', '[include]\npath = ../first\n');
  put('project/first', '[include]\npath = second\npath = first\n');
  put('project/second');
  expect(accessTo(at('project/second'), (await plan('project')).rules)).toBe('fixed');
});

test('a program gets its state folder, and Sidekey’s files stay hidden from --show', async () => {
  const { at, plan } = await machine();
  const { rules } = await plan('project', { program: '/opt/claude' });
  expect([existsSync(at('home/.claude')), rules.get(at('home/.claude'))]).toEqual([true, 'write']);
  await expect(plan('project', { show: [at('sidekey/config/sidekey.yaml')] })).rejects.toMatchObject({
    code: 'input_invalid',
  });
});

test('a home is mounted entry by entry, without what is hidden', async () => {
  const { at, put, plan } = await machine();
  for (let index = 0; index < 300; index += 1) put(`home/file-${index}`);
  put('home/.netrc');
  const words = bubblewrapArguments(await plan('project'), (path) => path, []);
  expect(words.filter((word) => word === at('home/file-299')).length).toBe(2);
  expect(words).not.toContain(at('home/.netrc'));
});
