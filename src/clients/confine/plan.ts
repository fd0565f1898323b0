import { existsSync, lstatSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Config } from '../../config/config.ts';
import { fileReferences, secretFiles } from '../../config/load.ts';
import { locateConfig } from '../../config/locate.ts';
import { machineFilesOf } from '../../config/store-place.ts';
import { isSystemError, SidekeyError, systemCode } from '../../lib/errors.ts';
import { makeFolder } from '../../lib/os.ts';
import { packageRoot } from '../../lib/package-files.ts';
import { isWithin, realPath, realPathMemo } from '../../lib/paths.ts';
import { shellWord } from '../../lib/text.ts';
import { type Access, accessTo, privateFolders } from './access.ts';
import { closedFolders, gitPaths, isFile, maxNested, repositoriesBelow } from './git-files.ts';
import {
  homeFolders,
  leadsOut,
  namesOf,
  pathsOf,
  type PlaceContext,
  readPlaces,
  type Repository,
  repositoryOf,
} from './places.ts';

/** Files and sockets that a confined command may use. All paths are absolute and have no symbolic links. */
export type Plan = ReturnType<typeof planOf>;

/** Exceptions that the person makes. */
export interface Exceptions {
  readonly show: readonly string[];
  readonly write: readonly string[];
  readonly socket: readonly string[];
}

interface PlanInput extends Exceptions {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;
  /** The program, as typed. */
  readonly program: string;
  /** Files with credentials that grants name. */
  readonly files?: readonly string[];
}

/** Folders of `/run` that stay: programs of NixOS, and disks of the user. */
const sharedRunFolders = ['/run/current-system', '/run/wrappers', '/run/opengl-driver', '/run/media'];

/**
 * Returns the plan of a command. Creates the state folders of its program, and missing files of git.
 *
 * @throws SidekeyError `not_found`: a path of an exception does not exist; `input_invalid`: an exception
 * names files of Sidekey, or a protected path is a symbolic link
 */
export function planOf(input: PlanInput) {
  const { env, config, program } = input;
  const folder = realPath(input.folder);
  const homes = homeFolders(env);
  const places = readPlaces();
  const context = { env, folder, homes, real: realPathMemo() };
  const rules = new Map<string, Access>([['/', 'read']]);
  const isCovering = (path: string) =>
    [folder, ...homes, realPath(packageRoot), realPath(process.execPath)].some((each) =>
      isWithin(each, path),
    );
  const apart = privateFolders.map(realPath);
  for (const path of apart) rules.set(path, 'private');
  for (const path of sharedRunFolders) if (existsSync(path)) rules.set(realPath(path), 'read');
  for (const path of [...homes, realPath(packageRoot), realPath(process.execPath)]) rules.set(path, 'read');

  const holdsHome = [...homes, ...apart].some((each) => isWithin(each, folder));
  // A command made no links where it could not write.
  const linked = [
    ...(holdsHome ? [] : [folder]),
    ...places.writable.flatMap((place) => pathsOf(place, context)).filter((path) => !isCovering(path)),
  ];
  const shown = existing(input.show, folder, linked);
  const write = existing(input.write, folder, linked);
  const sockets = existing(input.socket, folder, linked);
  const noSocket = sockets.find((path) => !statSync(path).isSocket());
  if (noSocket !== undefined)
    throw new SidekeyError('input_invalid', `${noSocket} is no socket.`, {
      hint: 'name the socket itself; --write gives a folder',
    });
  const sidekeyPlaces = placesOfSidekey(config, env, linked);
  // A folder above the working folder stays hidden, except for what has a rule of its own.
  const isHideable = (path: string) => path !== folder && !homes.some((home) => isWithin(home, path));
  const secrets = [...secretFiles(config), ...(input.files ?? [])];
  const hideable = [...new Set([...sidekeyPlaces, ...secrets.map(realPath)])].filter(isHideable);
  // What the proxy makes later would be seen in a folder that is not there yet.
  for (const path of hideable) if (path === config.ca.directory) makeFolder(path, 0o700);
  const exception = [...shown, ...write, ...sockets].find((path) =>
    hideable.some((each) => isWithin(path, each)),
  );
  if (exception !== undefined)
    throw new SidekeyError('input_invalid', `${exception} belongs to Sidekey, and no run sees it.`, {
      hint: 'name a file outside of the folders of config, store, CA and audit log, which neither the config nor a grant names',
    });

  for (const path of places.scratch.flatMap((each) => pathsOf({ path: each }, context, linked)))
    if (!isCovering(path)) rules.set(path, 'scratch');
  for (const place of places.writable)
    for (const path of pathsOf(place, context, linked)) {
      if (place.program === basename(program))
        create(path, place.from && join(homes[0]!, place.from.slice(2)));
      if (existsSync(path) && !isCovering(path)) rules.set(path, 'write');
    }
  const repository = repositoryOf(folder);
  const writesFolder = !holdsHome && !sidekeyPlaces.includes(folder);
  const writable = [...(writesFolder ? [folder, ...(repository?.folders ?? [])] : []), ...write];
  for (const path of writable) rules.set(path, 'write');

  // The next run would hide what another link names.
  for (const path of secrets) if (existsSync(path)) assertUnlinked(path, [...writable, ...linked], false);

  const unborn: string[] = [];
  for (const path of protectedPaths(context, writesFolder ? repository : undefined)) {
    const real = realPath(path);
    if (write.some((each) => isWithin(real, each))) continue;
    if (existsSync(path)) assertUnlinked(path, [...writable, ...linked]);
    if (accessTo(real, rules) !== 'write') continue;
    if (existsSync(real)) rules.set(real, 'fixed');
    else unborn.push(real);
  }

  const hidden = places.hidden.flatMap((place) => pathsOf(place, context)).filter(isHideable);
  for (const path of [...unborn, ...hidden, ...sidekeyPlaces, ...secrets].flatMap(closedAbove))
    if (accessTo(path, rules) === 'write') rules.set(path, 'fixed');
  for (const path of hidden) if (!write.includes(path)) rules.set(path, 'absent');
  for (const path of shown) rules.set(path, 'read');
  for (const path of hideable) rules.set(path, 'absent');
  return {
    /** Working folder of the command. */
    folder,
    /**
     * Homes, and a folder with Sidekey's files. Mounted without hidden entries: a rename brings none back.
     */
    assembled: sidekeyPlaces.includes(folder) ? [...homes, folder] : homes,
    rules,
    /** Unix sockets that the command may connect to. */
    sockets,
    /** True if the command may write to its working folder. */
    writesFolder,
    /** Paths of programs that run outside later, and do not exist yet. The command may create them. */
    unborn,
    /** Content of the files that are `fixed`. A program outside that replaces one takes its mount away. */
    contents: new Map(
      Array.from(rules).flatMap(([path, access]) => (access === 'fixed' ? contentOf(path) : [])),
    ),
    /** Number of credential files and folders that exist and are hidden. */
    hidden: new Set(hidden.filter((path) => rules.get(path) === 'absent' && existsSync(path))).size,
  };
}

/** @throws SidekeyError `input_invalid` if a link that a command could replace leads out of its folder */
function assertNoLinkOut(path: string, folders: readonly string[]): void {
  if (!leadsOut(path, folders)) return;
  throw new SidekeyError('input_invalid', `${path} passes a symbolic link that a command could replace.`, {
    hint: `name the path without the link: ${shellWord(realPath(path))}`,
  });
}

/** Returns the paths without links. @throws SidekeyError `not_found`, and as `assertNoLinkOut` */
function existing(paths: readonly string[], folder: string, linked: readonly string[]): readonly string[] {
  return paths.map((path) => {
    assertNoLinkOut(resolve(folder, path), linked);
    const real = realPath(resolve(folder, path));
    if (existsSync(real)) return real;
    throw new SidekeyError('not_found', `${path} does not exist.`, {
      hint: 'check the path; create it first if it is new',
    });
  });
}

/**
 * Returns the files and folders of Sidekey: those of the config in use, and those at the usual places. A
 * folder that other programs need is left out; its files of Sidekey are not.
 *
 * @throws SidekeyError as `assertNoLinkOut`
 */
function placesOfSidekey(
  config: Config,
  env: NodeJS.ProcessEnv,
  linked: readonly string[],
): readonly string[] {
  const usual = locateConfig({ env: { ...env, SIDEKEY_CONFIG: '', SIDEKEY_HOME: '' }, cwd: '/' });
  const home = env['SIDEKEY_HOME'];
  // HOME may name another folder than the one where this user keeps Sidekey.
  const ofHomes = homeFolders(env).flatMap((each) => [
    join(each, '.config', 'sidekey'),
    join(each, '.local', 'state', 'sidekey'),
  ]);
  const files = [
    config.file,
    usual.file,
    machineFilesOf(config),
    config.audit.file,
    ...('path' in config.key && typeof config.key.path === 'string' ? [config.key.path] : []),
    ...fileReferences(config),
  ];
  const folders = [
    ...files.map((file) => dirname(file)),
    config.ca.directory,
    ...(home ? [resolve(home)] : []),
    usual.state ?? '',
    ...ofHomes,
  ];
  const all = [...files, ...files.flatMap((file) => [`${file}-wal`, `${file}-shm`]), ...folders];
  for (const path of all) if (path !== '') assertNoLinkOut(path, linked);
  return [...new Set(all.filter((path) => path !== '').map(realPath))].filter(
    (path) => !sharedFolders.has(path),
  );
}

/** Folders that other programs need. */
const sharedFolders: ReadonlySet<string> = new Set(
  '/ /etc /usr /usr/bin /bin /var /var/lib /var/log /opt /srv /home /mnt /media'.split(' '),
);

/** Creates a state folder, or a file with the content of another one, accessible only to its owner. */
function create(path: string, from: string | undefined): void {
  // An earlier command may have left a link that leads nowhere.
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return;
  makeFolder(dirname(path), 0o700);
  if (from === undefined) mkdirSync(path, { mode: 0o700 });
  else if (existsSync(from)) writeFileSync(path, readFileSync(from), { mode: 0o600, flag: 'wx' });
}

/**
 * Returns the paths of the project, of its repositories and of programs that run outside later.
 *
 * @param repository that of the folder; undefined: the command may not write the folder
 * @throws SidekeyError `input_invalid`: what an earlier command left prevents it
 */
function protectedPaths(context: PlaceContext, repository: Repository | null | undefined): readonly string[] {
  const { folder } = context;
  try {
    const repositories =
      repository === undefined
        ? []
        : [...(repository === null ? [] : [repository]), ...repositoriesBelow(folder)];
    const tops = new Set([folder, ...repositories.map(({ tree }) => tree)]);
    const listed = readPlaces().protected.flatMap((place) =>
      place.path.startsWith('~/')
        ? namesOf(place, context)
        : Array.from(tops, (top) => join(top, place.path)),
    );
    const ofGit = repositories.flatMap(({ folders, tree }, index) =>
      index > maxNested ? folders : folders.flatMap((each) => gitPaths(each, tree, context)),
    );
    const closed = repository === undefined ? [] : closedFolders(folder);
    return [...new Set([...ofGit, ...listed, ...closed])];
  } catch (cause) {
    const path = String(Reflect.get(cause as object, 'path') ?? folder);
    if (path === folder && systemCode(cause) === 'EACCES')
      throw new SidekeyError('input_invalid', `This folder cannot be read: ${folder} (EACCES).`, {
        hint: `start the command in a folder that you may read, or permit it: chmod u+rx ${shellWord(folder)}`,
        cause,
      });
    throw new SidekeyError('input_invalid', `${path} cannot be protected (${systemCode(cause)}).`, {
      hint: 'look at it, and repair or remove it: an earlier command may have made or changed it',
      cause,
    });
  }
}

/** Returns the folder above a path that cannot be searched, so it is unknown whether the path exists. */
function closedAbove(path: string): readonly string[] {
  const above = dirname(path);
  if (isUnknown(path)) return isUnknown(above) ? closedAbove(above) : [above];
  return [];
}

/** Reports whether a folder above a path cannot be searched. */
function isUnknown(path: string): boolean {
  try {
    lstatSync(path, { throwIfNoEntry: false });
    return false;
  } catch (error) {
    return isSystemError(error, 'EACCES');
  }
}

/**
 * Refuses a protected path with a symbolic link in a writable folder: the command could replace the link.
 *
 * @param mayWrite whether a way out is to let the command write the target
 * @throws SidekeyError `input_invalid`
 */
function assertUnlinked(path: string, writable: readonly string[], mayWrite = true): void {
  for (let part = path; part !== dirname(part); part = dirname(part)) {
    if (!lstatSync(part).isSymbolicLink()) continue;
    const above = realPath(dirname(part));
    if (!writable.some((each) => isWithin(above, each))) continue;
    throw new SidekeyError('input_invalid', `${part} is a symbolic link, which the command could replace.`, {
      hint: `replace it by what it names${mayWrite ? `, or let the command write that: --write ${shellWord(realPath(part))}` : ''}`,
    });
  }
}

/**
 * Returns the paths that run outside later and were created or changed since the plan, and the folders above
 * them that the command has closed (chmod).
 */
export function born({ unborn, contents }: Plan): readonly string[] {
  const suspects = [...unborn, ...Array.from(contents.keys()).filter(isChanged)];
  const closed = suspects.flatMap(closedAbove);
  const made = suspects.filter((path) => !isUnknown(path) && lstatSync(path, { throwIfNoEntry: false }));
  return [...new Set([...made, ...closed])];

  function isChanged(path: string): boolean {
    return contentOf(path)[0]?.[1] !== contents.get(path);
  }
}

/** Returns a file with its content, if it can be read. */
function contentOf(path: string): readonly (readonly [path: string, text: string])[] {
  try {
    return isFile(path) ? [[path, readFileSync(path, 'latin1')]] : [];
  } catch {
    return [];
  }
}
