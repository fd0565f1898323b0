import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { realPath } from '../../lib/paths.ts';
import { type PlaceContext, pathsOf, type Repository, repositoryAt, textOf } from './places.ts';

/** Files of repositories that decide which programs git runs outside of the run later. */

/** Levels of folders below the project in which repositories are looked for. */
const nestedLevels = 3;
/** Most repositories below the project that the command may use. All others are read only. */
export const maxNested = 50;

/** Returns the repositories below a folder, such as submodules, or the projects in a folder of projects. */
export function repositoriesBelow(folder: string, levels = nestedLevels): readonly Repository[] {
  return foldersIn(folder).flatMap((each) => {
    const repository = repositoryAt(each);
    return [
      ...(repository === null ? [] : [repository]),
      ...(levels > 1 && isOpen(each) ? repositoriesBelow(each, levels - 1) : []),
    ];
  });
}

/**
 * Returns the folders below a folder that cannot be listed or searched. The command could open those of this
 * user (chmod), and a plan cannot cover their content.
 */
export function closedFolders(folder: string, levels = nestedLevels): readonly string[] {
  return foldersIn(folder).flatMap((each) => {
    if (!isOpen(each)) return [each];
    return levels > 1 ? closedFolders(each, levels - 1) : [];
  });
}

function foldersIn(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'node_modules' && entry.name !== '.git')
    .map(({ name }) => join(folder, name));
}

/** Reports whether this process can list and search a folder. */
function isOpen(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Content of a `commondir` that names its own folder (gitrepository-layout(5)). */
const ownCommonDir = '.\n';

/**
 * Returns the paths that decide which programs git runs: its config, the files that the config includes or
 * names, hooks, and the links between working trees. Creates `hooks`, `commondir` and the configs of working
 * trees in use if they are missing, so that the command cannot create them.
 */
export function gitPaths(folder: string, tree: string, context: PlaceContext): readonly string[] {
  // A file `HEAD` beside folders `objects` and `refs` makes a repository of the tree itself.
  const ofTree = [...(isFolder(join(tree, '.git')) ? [] : [join(tree, '.git')]), join(tree, 'HEAD')];
  if (!isFolder(folder)) return [folder, ...ofTree];
  const at = (...names: string[]) => join(folder, ...names);
  if (!existsSync(at('hooks'))) mkdirSync(at('hooks'));
  if (!existsSync(at('commondir'))) writeFileSync(at('commondir'), ownCommonDir, { flag: 'wx' });
  const worktrees = isFolder(at('worktrees')) ? readdirSync(at('worktrees')) : [];
  const configs = [folder, ...worktrees.map((name) => at('worktrees', name))].map((each) =>
    join(each, 'config.worktree'),
  );
  const config = existsSync(at('config')) ? textOf(at('config')) : '';
  if (/worktreeConfig/i.test(config))
    for (const path of configs) if (!existsSync(path)) writeFileSync(path, '', { flag: 'wx' });
  const ofUser = [
    ...pathsOf({ path: '~/.gitconfig', variable: 'GIT_CONFIG_GLOBAL' }, context),
    ...pathsOf({ path: '~/.config/git/config' }, context),
  ];
  return [
    ...['hooks', 'config', 'commondir'].map((name) => at(name)),
    ...[at('modules'), ...worktrees.map((name) => at('worktrees', name, 'modules'))]
      .flatMap(modulesIn)
      .flatMap((each) => gitPaths(each, tree, context)),
    ...hookTargets(at('hooks')),
    ...configs,
    ...worktrees.flatMap((name) => ['commondir', 'gitdir'].map((file) => at('worktrees', name, file))),
    ...ofTree.filter((path) => folder !== tree || path !== join(tree, 'HEAD')),
    ...namedByGit([at('config'), ...configs, ...ofUser, '/etc/gitconfig'], tree, context.homes),
  ];
}

/** Returns paths of includes, folders of hooks and programs of the tree in configs of git (git-config(1)). */
function namedByGit(
  configs: readonly string[],
  tree: string,
  homes: readonly string[],
  read = new Set<string>(),
): readonly string[] {
  const at = (base: string, path: string) =>
    // The folder of a user by name may be that of this user.
    path.startsWith('~')
      ? homes.map((home) => join(home, path.replace(/^~[^/]*/, '')))
      : [resolve(base, path)];
  return configs.flatMap((file) => {
    if (read.has(file) || !isFile(file)) return [];
    read.add(file);
    const lines = readFileSync(file, 'utf8')
      .replaceAll(/\\\r?\n/g, '')
      .split('\n');
    return lines.flatMap((line) => {
      const [, key = '', raw = ''] = gitSetting.exec(line) ?? [];
      const value = raw
        .replaceAll(/"((?:\\.|[^"\\])*)"|\s*[;#].*$/g, (_all, quoted: string | undefined) => quoted ?? '')
        .replaceAll(/\\(.)/g, '$1')
        .trim();
      // The scripts of husky lie beside the folder of hooks.
      if (/^hookspath$/i.test(key))
        return at(tree, value).flatMap((each) => [
          ...(each.endsWith('/_') ? [dirname(each)] : []),
          each,
          ...hookTargets(each),
        ]);
      if (/^path$/i.test(key)) {
        const included = at(dirname(file), value);
        return [...included, ...namedByGit(included, tree, homes, read)];
      }
      // A word may follow a variable, as in `$PWD/tools/x`.
      const words = value
        .split(/[\s!'"`$;&|<>(){}=,]+/)
        .flatMap((word) => [word, word.slice(word.indexOf('/') + 1)]);
      return words.flatMap((word) => at(tree, word)).filter(isFile);
    });
  });
}

/** A line of a config of git, which may begin with the name of its section. */
const gitSetting = /^\s*(?:\[(?:[^"\]]|"(?:\\.|[^"\\])*")*\])?\s*([A-Za-z][\w-]*)\s*=\s*(.*?)\s*$/;

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Returns the files that links in a folder of hooks name. */
function hookTargets(folder: string): readonly string[] {
  if (!isFolder(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isSymbolicLink());
  return entries.map(({ name }) => realPath(join(folder, name)));
}

/** Returns the folders of submodules, whose names may have several parts (gitrepository-layout(5)). */
function modulesIn(folder: string): readonly string[] {
  if (!isFolder(folder)) return [];
  const entries = readdirSync(folder).map((name) => join(folder, name));
  return entries.flatMap((each) => (existsSync(join(each, 'HEAD')) ? [each] : modulesIn(each)));
}

/** Reports whether a path is a folder. A link to a folder is not. */
function isFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
