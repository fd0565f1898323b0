import { existsSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { packageText, shippedFile } from '../../lib/package-files.ts';
import { isWithin, realPath } from '../../lib/paths.ts';

/** A place of another program. */
interface Place {
  /** Absolute, or below the home folder (`~/`); in `protected`, also below the folder of the project. */
  readonly path: string;
  /** Variable that names another place; several paths are separated by `:`. */
  readonly variable?: string;
  /** Page that documents the place. */
  readonly source: string;
}

/** Places of other programs, from `config/confinement.json`. Places that do not exist are ignored. */
interface Places {
  /** Credentials. A folder is hidden whole. */
  readonly hidden: readonly Place[];
  /** Caches and states, shared with programs outside of the run. */
  readonly writable: readonly (Place & {
    /** The place is created if this is the command. */
    readonly program?: string;
    /** The command gets `variable` with the path. */
    readonly sets?: boolean;
    /** Path of the file whose content a new file gets. */
    readonly from?: string;
  })[];
  /** Folders in which the command may create entries that end with the run. */
  readonly scratch: readonly string[];
  /** Files and folders that run outside later: read only. */
  readonly protected: readonly Place[];
  /** Variables with the address of a socket. */
  readonly sockets: readonly string[];
}

let places: Places | undefined;

/** Reads the table once. It is part of the program, and a test checks its form. */
export function readPlaces(): Places {
  return (places ??= JSON.parse(packageText(shippedFile('confinement.json'))) as Places);
}

/** Variables that move a whole folder of the home folder, and the folder that they move. */
const movedFolders: readonly (readonly [variable: string, folder: string])[] = [
  ['XDG_CONFIG_HOME', '~/.config'],
  ['XDG_CACHE_HOME', '~/.cache'],
  ['XDG_DATA_HOME', '~/.local/share'],
  ['XDG_STATE_HOME', '~/.local/state'],
  ['CARGO_HOME', '~/.cargo'],
  ['GRADLE_USER_HOME', '~/.gradle'],
  ['GOPATH', '~/go'],
  ['NPM_CONFIG_CACHE', '~/.npm'],
];

/** Returns the home folders of this user: from the environment, and from the system's list of users. */
export function homeFolders(env: NodeJS.ProcessEnv): readonly string[] {
  const ofUser = (() => {
    try {
      return userInfo().homedir;
    } catch {
      // A container may run as a user that is in no list.
      return '/';
    }
  })();
  const folders = [env['HOME'] ?? '', ofUser].filter((folder) => isAbsolute(folder));
  return [...new Set(folders.map(realPath))].filter((folder) => folder !== sep);
}

/**
 * Reports whether a link in one of the folders leads out of it. An earlier command may have created the link
 * in a writable folder, to choose a path that the user did not intend.
 */
export function leadsOut(path: string, folders: readonly string[], real = realPath): boolean {
  const target = real(path);
  if (target === path) return false;
  const parent = real(dirname(path));
  return (
    folders.some((each) => isWithin(parent, each) && !isWithin(target, each)) ||
    leadsOut(dirname(path), folders, real)
  );
}

/** The environment, the folder of the command and the homes, to which entries of the table are relative. */
export interface PlaceContext {
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;
  readonly homes: readonly string[];
  /** Resolves links; absent: `realPath`. */
  readonly real?: typeof realPath;
}

/** A path of the table, or of a variable. */
interface ListedPlace {
  readonly path: string;
  readonly variable?: string | undefined;
}

/**
 * Returns the absolute paths that an entry of the table stands for, with the links in them resolved.
 *
 * @param linked leaves out paths that a link in one of these folders leads to
 */
export function pathsOf(
  place: ListedPlace,
  context: PlaceContext,
  linked: readonly string[] = [],
): readonly string[] {
  const { real = realPath } = context;
  const names = namesOf(place, context).filter((each) => !leadsOut(each, linked, real));
  return [...new Set(names.map(real))];
}

/** Returns the absolute paths that an entry of the table stands for. */
export function namesOf(
  { path, variable }: ListedPlace,
  { env, folder, homes }: PlaceContext,
): readonly string[] {
  const moved = movedFolders.flatMap(([name, from]) =>
    isAbsolute(env[name] ?? '') && (path === from || path.startsWith(`${from}/`))
      ? [`${env[name]}${path.slice(from.length)}`]
      : [],
  );
  const named = variable === undefined ? [] : (env[variable] ?? '').split(delimiter);
  const usual = path.startsWith('~/') ? homes.map((home) => join(home, path.slice(2))) : [path];
  return [...usual, ...moved, ...named.filter((each) => each !== '').map((each) => resolve(folder, each))];
}

/** A git repository that holds the current folder. */
export interface Repository {
  /** Folder of the working tree. */
  readonly tree: string;
  /** Folders with files of git: `.git` and, for a linked worktree, the `.git` of the main repository. */
  readonly folders: readonly string[];
}

/**
 * Finds the repository of a folder. A checkout can have a `.git` file that names any folder. So the file
 * counts only if the repository lists this working tree, has it as a submodule (gitrepository-layout(5)), or
 * lies in the tree.
 */
export function repositoryOf(folder: string): Repository | null {
  const repository = repositoryAt(folder);
  if (repository !== null) return repository;
  if (['HEAD', 'objects', 'refs'].every((name) => existsSync(join(folder, name))))
    return { tree: folder, folders: [folder] };
  const parent = dirname(folder);
  return parent === folder ? null : repositoryOf(parent);
}

/** Returns the repository whose working tree is this folder. */
export function repositoryAt(tree: string): Repository | null {
  const marker = join(tree, '.git');
  return existsSync(marker) ? (linkedWorktree(tree, marker) ?? separateFolder(tree, marker)) : null;
}

/** Returns the content of a file. @throws Error if the path is no file, such as a pipe, which would block */
export function textOf(path: string): string {
  if (statSync(path).isFile()) return readFileSync(path, 'utf8');
  throw Object.assign(new Error(`${path} is no file`), { code: 'EINVAL', path });
}

/** Returns the repository of a tree that may have git's own files in another folder of it. */
function separateFolder(tree: string, marker: string): Repository {
  const named = gitFolderOf(tree, marker);
  return { tree, folders: [named !== null && isWithin(named, tree) ? named : marker] };
}

/** Returns the folder that a `.git` file names; null if the file has another form. */
function gitFolderOf(tree: string, marker: string): string | null {
  try {
    const [, named] = /^gitdir: (.+)$/m.exec(textOf(marker)) ?? [];
    return named === undefined ? null : realPath(resolve(tree, named));
  } catch {
    return null;
  }
}

function linkedWorktree(tree: string, marker: string): Repository | null {
  try {
    const gitFolder = gitFolderOf(tree, marker);
    if (gitFolder === null) return null;
    const config = join(gitFolder, 'config');
    const [, worktree] = (existsSync(config) && /^\s*worktree = (.+)$/m.exec(textOf(config))) || [];
    if (worktree !== undefined && realPath(resolve(gitFolder, worktree)) === tree)
      return { tree, folders: [gitFolder] };
    if (realPath(textOf(join(gitFolder, 'gitdir')).trim()) !== realPath(marker)) return null;
    const common = realPath(resolve(gitFolder, textOf(join(gitFolder, 'commondir')).trim()));
    const isRepository = ['HEAD', 'objects', 'refs'].every((name) => existsSync(join(common, name)));
    return isRepository && dirname(gitFolder) === join(common, 'worktrees')
      ? { tree, folders: [common] }
      : null;
  } catch {
    // A folder, or a file that names no worktree of this tree.
    return null;
  }
}
