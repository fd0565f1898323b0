import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { appended, type Attempt, type Target } from './attempt.ts';

const noFixed = 'a right of Landlock for a folder is one for all below it';
const noModes = 'Landlock has no right for modes, times and attributes of files';

/** Files that run outside later, that others own, or that no run changes: to create, or to append to. */
const files: readonly (readonly [what: string, path: (target: Target) => string, landlock?: string])[] = [
  ['a profile of the shell', ({ home }) => join(home, '.bashrc')],
  ['a new profile of the shell', ({ home }) => join(home, '.bash_login')],
  ['a program that starts with the session', ({ home }) => join(home, '.config/autostart/x.desktop')],
  ['a service of the user', ({ home }) => join(home, '.config/systemd/user/x.service')],
  ['a program in the PATH of home', ({ home }) => join(home, '.local/bin/ls')],
  ['a table of cron', () => '/var/spool/cron/crontabs/sidekey-test'],
  ['a file of another project', ({ outside }) => join(outside, 'project/index.js')],
  ['a new file of another project', ({ outside }) => join(outside, 'project/new.js')],
  ['the config of Sidekey', ({ sidekey }) => join(sidekey, 'config/sidekey.yaml')],
  ['a provider of Sidekey', ({ sidekey }) => join(sidekey, 'config/providers/x.yaml')],
  ['Sidekey at its usual place', ({ home }) => join(home, '.config/sidekey/sidekey.yaml')],
  ['the settings of an agent', ({ home }) => join(home, '.claude/settings.json'), noFixed],
  [
    'a profile through a link in a cache',
    ({ home }) => linked(join(home, '.cache/pip/link'), join(home, '.bashrc')),
  ],
  [
    'a profile through a link in the project',
    ({ home, project }) => linked(join(project, 'profile'), join(home, '.bashrc')),
  ],
  ['a hook of git', ({ project }) => join(project, '.git/hooks/pre-commit'), noFixed],
  ['the config of git', ({ project }) => join(project, '.git/config'), noFixed],
  ['the config of a work tree of git', ({ project }) => join(project, '.git/config.worktree'), noFixed],
  ['a program that the config of git names', ({ project }) => join(project, 'tools/monitor'), noFixed],
  ['the folder that git shares', ({ project }) => join(project, '.git/commondir'), noFixed],
  [
    'the folder that a work tree of git shares',
    ({ project }) => join(project, '.git/worktrees/side/commondir'),
    noFixed,
  ],
  ['a config that that of git includes', ({ project }) => join(project, 'included.gitconfig'), noFixed],
  [
    'a config that that of the user includes',
    ({ project }) => join(project, 'nested/of-user.gitconfig'),
    noFixed,
  ],
  ['a hook in another folder of hooks', ({ project }) => join(project, 'tools/hooks/pre-commit'), noFixed],
  ['the tasks of an editor', ({ project }) => join(project, '.vscode/tasks.json'), noFixed],
  ['the environment of the folder', ({ project }) => join(project, '.envrc'), noFixed],
];

function linked(path: string, to: string): string {
  if (!existsSync(path)) symlinkSync(to, path);
  return path;
}

function append(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  // The files of git stay valid for the attempts that follow.
  appendFileSync(path, (path.endsWith('commondir') && !existsSync(path) ? '.' : '') + appended);
}

/** Renames a folder away, and puts another in its place. */
function swap(path: string): void {
  renameSync(path, `${path}.old`);
  mkdirSync(path);
  rmSync(path, { recursive: true });
  renameSync(`${path}.old`, path);
}

export const changes: readonly Attempt[] = [
  ...files.map(([what, path, landlock]): Attempt => ({
    name: `write ${what}`,
    async run(target, outer) {
      append(path(target));
      // A file of the run ends with it.
      if ((await outer(`changed ${path(target)}`)) !== 'done') throw new Error('it is not there outside');
    },
    unconfined: what === 'a table of cron' ? 'is not tried' : 'succeeds',
    ...(landlock !== undefined && { passes: { landlock } }),
  })),
  ...(['.git', '.git/hooks', '.git/worktrees', '.git/worktrees/side', '.vscode', 'tools'] as const).map(
    (name): Attempt => ({
      name: `replace ${name} by renaming it`,
      run: ({ project }) => swap(join(project, name)),
      unconfined: 'succeeds',
      passes: { landlock: noFixed },
    }),
  ),
  {
    name: 'name a program in the config of git with git',
    run: ({ project }) =>
      execFileSync('git', ['--git-dir', join(project, '.git'), 'config', 'core.fsmonitor', 'echo'], {
        stdio: 'pipe',
      }),
    unconfined: 'succeeds',
    passes: { landlock: noFixed },
  },
  {
    name: 'replace a file that is fixed by another one',
    run({ project }) {
      writeFileSync(join(project, 'new'), readFileSync(join(project, '.envrc')));
      renameSync(join(project, 'new'), join(project, '.envrc'));
    },
    unconfined: 'succeeds',
    passes: { landlock: noFixed },
  },
  {
    name: 'remove a hook of git',
    run: ({ project }) => rmSync(join(project, '.git/hooks/post-commit')),
    unconfined: 'succeeds',
    passes: { landlock: noFixed },
  },
  {
    name: 'remove a file of home',
    run: ({ home }) => rmSync(join(home, '.profile')),
    unconfined: 'succeeds',
  },
  { name: 'rename a folder of home', run: ({ home }) => swap(join(home, '.config')), unconfined: 'succeeds' },
  { name: 'rename the project', run: ({ project }) => swap(project), unconfined: 'succeeds' },
  {
    name: 'empty a file of home',
    run: ({ home }) => truncateSync(join(home, '.bashrc')),
    unconfined: 'succeeds',
  },
  {
    name: 'change the mode of a file of home',
    run: ({ home }) => chmodSync(join(home, '.bashrc'), 0o600),
    unconfined: 'succeeds',
    passes: { landlock: noModes },
  },
  {
    name: 'change the time of a file of home',
    run: ({ home }) => utimesSync(join(home, '.bashrc'), 1, 1),
    unconfined: 'succeeds',
    passes: { landlock: noModes },
  },
  {
    name: 'open the key of Sidekey to other users (chmod)',
    run: ({ sidekey }) => chmodSync(join(sidekey, 'data/master.key'), 0o600),
    unconfined: 'succeeds',
    passes: { landlock: noModes },
  },
];
