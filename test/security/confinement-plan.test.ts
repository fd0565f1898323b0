/** Paths that a checkout, or an earlier command, chose. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { accessTo } from '../../src/clients/confine/access.ts';
import { bubblewrapArguments } from '../../src/clients/confine/bubblewrap.ts';
import { born, type Exceptions, type Plan, planOf } from '../../src/clients/confine/plan.ts';
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

function withSecret(file: string): string {
  return `version: 1
providers:
  desk: { token_endpoint: https://id.desk.test/token, audience: [desk.test], client_id: x, client_secret: "file:${file}" }
`;
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

test('a cache variable with a path below the project gives no access to the target of a link there', async () => {
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

test('a client secret in the project is hidden, and the project stays writable', async () => {
  const { at, put, plan } = await machine();
  const secret = put('project/desk.secret');
  put('sidekey/config/sidekey.yaml', withSecret(secret));
  const { rules, writesFolder } = await plan('project');
  expect([accessTo(secret, rules), accessTo(at('project'), rules), writesFolder]).toEqual([
    'absent',
    'write',
    true,
  ]);
  await expect(plan('project', { show: [secret] })).rejects.toMatchObject({ code: 'input_invalid' });
});

test.each(['project/current/desk.secret', 'project/link.secret'])(
  'a client secret behind a link in the project (%s) is refused, because the command could replace the link',
  async (name) => {
    const { at, link, put, plan } = await machine();
    put('project/v2/desk.secret');
    link('project/current', 'v2');
    link('project/link.secret', 'v2/desk.secret');
    put('sidekey/config/sidekey.yaml', withSecret(at(name)));
    await expect(plan('project')).rejects.toMatchObject({
      code: 'input_invalid',
      hint: 'replace it by what it names',
    });
  },
);

test('links in a home that is the working folder grant no write access to it', async () => {
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

test('the git folders are read-only in every layout of a checkout', async () => {
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

test('files that make the project itself a repository are reported', async () => {
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
  ['[alias]\nx = "!f() { cd .; tools/alias; }; f"', 'tools/alias'],
  ['[alias]\nx = !tools/alias&&A=1 tools/other|cat', 'tools/alias'],
  ['[core]\nfsmonitor = $PWD/tools/monitor', 'tools/monitor'],
  ['[include]\npath = ~me/../project/a', 'a'],
])('files that git reads because of %j are read-only', async (config, name) => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  put('project/.git/config', `${config}\n`);
  execFileSync('chmod', ['+x', put(`project/${name}`)]);
  expect(accessTo(at('project', name), (await plan('project')).rules)).toBe('fixed');
});

test('a config that an included config includes is read-only, and circular includes end', async () => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('project'));
  put('project/.git/config', '[include]\npath = ../first\n');
  put('project/first', '[include]\npath = second\npath = first\n');
  put('project/second');
  expect(accessTo(at('project/second'), (await plan('project')).rules)).toBe('fixed');
});

test.each(['../.bashrc', '../.config/autostart', '../.not-there'])(
  'a link to %s that an earlier command left in a state folder gives no access to the target',
  async (target) => {
    const { at, link, put, plan } = await machine();
    for (const name of ['.bashrc', '.config/autostart/x', '.claude.json', '.claude/x']) put(`home/${name}`);
    link('home/.claude/.claude.json', target);
    const { rules } = await plan('project', { program: 'claude' });
    expect(accessTo(at('home/.claude', target), rules)).toMatch(/^(read|scratch)$/);
    expect(existsSync(at('home/.not-there'))).toBe(false);
  },
);

test('a link in a state folder to a file that runs later outside is refused unless --write permits the file', async () => {
  const { at, link, put, plan } = await machine();
  put('home/dotfiles/settings.json');
  put('home/.claude/x');
  link('home/.claude/settings.json', '../dotfiles/settings.json');
  await expect(plan('project')).rejects.toMatchObject({ code: 'input_invalid' });
  const write = [at('home/dotfiles/settings.json')];
  expect((await plan('project', { write })).rules.get(at('home/dotfiles/settings.json'))).toBe('write');
});

test('hooks of working trees and submodules below the project are read-only', async () => {
  const { at, git, put, plan } = await machine();
  git('init', '--quiet', at('library'));
  git('-C', at('library'), 'commit', '--quiet', '--allow-empty', '-m', 'x');
  git('init', '--quiet', at('project'));
  const inProject = (...words: readonly string[]) => git('-C', at('project'), ...words);
  inProject('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', at('library'), 'library');
  inProject('commit', '--quiet', '-m', 'x');
  inProject('worktree', 'add', '--quiet', at('project/trees/side'), '-b', 'side');
  inProject('config', 'core.hooksPath', '.hooks');
  git('-C', at('project/library'), 'config', 'core.hooksPath', '.hooks');
  const hooks = ['project/trees/side/.hooks/pre-commit', 'project/library/.hooks/pre-commit'];
  for (const name of hooks) put(name);
  const { rules } = await plan('project');
  for (const name of hooks) expect([name, accessTo(at(name), rules)]).toEqual([name, 'fixed']);
});

test('every repository stays protected if there are many others', async () => {
  const { at, put, plan } = await machine();
  const names = Array.from({ length: 70 }, (_, index) => `project/group-${index % 7}/part-${index}`);
  for (const name of names) put(`${name}/.git/hooks/pre-commit`);
  const { rules } = await plan('project');
  expect(names.filter((name) => accessTo(at(name, '.git/commondir'), rules) !== 'fixed')).toEqual([]);
});

test.each<[what: string, leave: (machine: Machine) => void]>([
  [
    'a link to nowhere as the hooks of a submodule',
    ({ link, put }) => {
      put('project/.git/modules/x/HEAD');
      link('project/.git/modules/x/hooks', 'nowhere');
    },
  ],
  [
    'a link to nowhere as the common folder of a repository',
    ({ link, put }) => {
      put('project/part/.git/hooks/x');
      link('project/part/.git/commondir', 'nowhere');
    },
  ],
  [
    'a file as a working tree',
    ({ put }) => {
      put('project/.git/config', '[extensions]\nworktreeConfig = true\n');
      put('project/.git/worktrees/x');
    },
  ],
  ['a folder as a config of git', ({ put }) => put('project/part/.git/config/x')],
  [
    'a pipe as a config of git',
    ({ at, put }) => {
      put('project/part/.git/hooks/x');
      execFileSync('mkfifo', [at('project/part/.git/config')]);
    },
  ],
])('%s, which an earlier command left, is refused with its path', async (_what, leave) => {
  const world = await machine();
  leave(world);
  await expect(world.plan('project')).rejects.toMatchObject({
    code: 'input_invalid',
    message: expect.stringContaining(world.at('project')),
  });
});

test('a pipe in place of a link to a repository does not block the plan', async () => {
  const { at, plan } = await machine();
  execFileSync('mkfifo', [at('project/.git')]);
  expect((await plan('project')).rules.get(at('project/.git'))).toBe('fixed');
});

/** Root can search every folder. */
const isRoot = process.getuid?.() === 0;

test.skipIf(isRoot).each([
  ['a repository', 'project/part', 'part/.git/hooks/pre-commit'],
  ['the folder above a repository', 'project/group', 'group/part/.git/hooks/pre-commit'],
  ['the folder of a protected file', 'project/.claude', '.claude/settings.json'],
  ['the folder of a credential', 'project/a/b/c/secret', 'a/b/c/secret/aws'],
])('%s that an earlier command made inaccessible (chmod) is read-only', async (_what, closed, name) => {
  const { at, put, plan } = await machine();
  const env = { AWS_SHARED_CREDENTIALS_FILE: at('project/a/b/c/secret/aws') };
  put(`project/${name}`);
  const mode = (bits: number) => chmodSync(at(closed), bits);
  try {
    mode(0o000);
    expect((await plan('project', { env })).rules.get(at(closed))).toBe('fixed');
    // The folder can be searched, and cannot be listed.
    mode(0o300);
    expect(accessTo(at('project', name), (await plan('project', { env })).rules)).toMatch(/^(fixed|absent)$/);
  } finally {
    mode(0o700);
  }
});

test.skipIf(isRoot)('a folder that the command makes inaccessible (chmod) is reported', async () => {
  const { at, put, plan } = await machine();
  put('project/.claude/settings.json');
  const made = await plan('project');
  chmodSync(at('project/.claude'), 0o000);
  const names = born(made);
  chmodSync(at('project/.claude'), 0o700);
  expect(names).toEqual([at('project/.claude')]);
});

test.each([
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AZURE_CLIENT_CERTIFICATE_PATH',
  'AZURE_FEDERATED_TOKEN_FILE',
  'GOOGLE_APPLICATION_CREDENTIALS',
])('the file of %s, an identity of the machine, is hidden', async (name) => {
  const { put, plan } = await machine();
  const file = put('outside/identity');
  expect((await plan('project')).rules.get(file)).toBeUndefined();
  expect((await plan('project', { env: { [name]: file } })).rules.get(file)).toBe('absent');
});

test('a program gets its state folder, and Sidekey’s files stay hidden from --show', async () => {
  const { at, plan } = await machine();
  const { rules } = await plan('project', { program: '/opt/claude' });
  expect([existsSync(at('home/.claude')), rules.get(at('home/.claude'))]).toEqual([true, 'write']);
  await expect(plan('project', { show: [at('sidekey/config/sidekey.yaml')] })).rejects.toMatchObject({
    code: 'input_invalid',
  });
});

test('a home is mounted entry by entry, without hidden entries', async () => {
  const { at, put, plan } = await machine();
  for (let index = 0; index < 300; index += 1) put(`home/file-${index}`);
  put('home/.netrc');
  const words = bubblewrapArguments(await plan('project'), (path) => path, []);
  expect(words.filter((word) => word === at('home/file-299')).length).toBe(2);
  expect(words).not.toContain(at('home/.netrc'));
});
