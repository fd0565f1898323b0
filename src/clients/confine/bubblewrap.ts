import {
  accessSync,
  constants,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  type Stats,
  statSync,
} from 'node:fs';
import { delimiter, dirname, isAbsolute, join, sep } from 'node:path';
import { isSystemError } from '../../lib/errors.ts';
import { isWithin, realPath } from '../../lib/paths.ts';
import { type Access, type AccessRules, accessTo } from './access.ts';
import type { Plan } from './plan.ts';

/** Entries above which a folder is bound whole: each one is a mount. Hidden entries are then covered. */
const maxEntries = 500;

/** Separate namespaces for the command, without capabilities; they end with their parent process. */
const namespaces: readonly string[] =
  '--unshare-user --unshare-net --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --cap-drop ALL --die-with-parent'.split(
    ' ',
  );

/** The files of this machine, read only, with devices and processes of the run's own. */
const wholeSystem: readonly string[] = [
  ...'--ro-bind / / --dev /dev --proc /proc'.split(' '),
  // If the folder is not writable, bubblewrap leaves these as they are. But root can write the files in them.
  ...['sys', 'sysrq-trigger', 'irq', 'bus', 'fs', 'acpi', 'scsi'].flatMap((name) => [
    '--ro-bind-try',
    `/proc/${name}`,
    `/proc/${name}`,
  ]),
];

/** Arguments with which bubblewrap makes its namespaces and does nothing in them. */
export const probeArguments: readonly string[] = [...namespaces, ...wholeSystem, 'true'];

/**
 * Finds a program of the system: a file that only root may change, in an absolute folder of the `PATH`.
 * A checkout can put programs into the `PATH` (`node_modules/.bin`). These must not become the sandbox.
 *
 * @param untrusted folders that none counts in: what root has checked out belongs to root
 */
export function systemProgram(name: string, path: string, untrusted: readonly string[]): string | null {
  for (const folder of path.split(delimiter).filter((each) => isAbsolute(each))) {
    const file = realPath(join(folder, name));
    const isTrusted = !untrusted.some((each) => isWithin(file, each));
    if (isTrusted && isOfRoot(file) && isOfRoot(dirname(file))) return file;
  }
  return null;
}

function isOfRoot(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    const { uid, mode } = statSync(path);
    return uid === 0 && (mode & 0o022) === 0;
  } catch {
    // It does not exist, or lies in a folder of another user.
    return false;
  }
}

/**
 * Returns the arguments of bubblewrap (bwrap(1)) for a plan.
 *
 * @param room returns an empty folder of this run on the disk, for a path that the command has for itself
 * @param visible paths of this run that the command reads, such as its trust files
 */
export function bubblewrapArguments(
  plan: Plan,
  room: (path: string) => string,
  visible: readonly string[],
): readonly string[] {
  const { folder, sockets } = plan;
  const rules = new Map(plan.rules);
  // bubblewrap makes a /dev of the run, with a /dev/shm.
  rules.delete('/dev/shm');
  for (const path of visible) rules.set(realPath(path), 'read');
  const mounts = new Mounts(rules, plan.assembled, room);
  mounts.place('/', 'read', false);
  return [
    ...namespaces,
    ...wholeSystem,
    ...mounts.words,
    '--perms',
    '0700',
    '--dir',
    `/run/user/${process.getuid?.()}`,
    ...sockets.flatMap((path) => ['--bind', path, path]),
    ...coveredSockets(mounts, rules, plan),
    '--chdir',
    folder,
  ];
}

/** The mounts of a plan, parents first. */
class Mounts {
  readonly words: string[] = [];
  /** Folders that are made anew: what is no file, folder or link is not in them. */
  readonly assembled = new Set<string>();
  readonly #rules: AccessRules;
  readonly #assembledTops: readonly string[];
  readonly #room: (path: string) => string;
  /** Names below each folder that have rules of their own, or rules below them. */
  readonly #named = new Map<string, Set<string>>();

  constructor(rules: AccessRules, tops: readonly string[], room: (path: string) => string) {
    this.#rules = rules;
    this.#assembledTops = tops;
    this.#room = room;
    for (const path of rules.keys()) {
      for (let at = path; at !== '/'; at = dirname(at)) {
        const names = this.#named.get(dirname(at)) ?? new Set();
        this.#named.set(dirname(at), names.add(at));
      }
    }
  }

  /**
   * Mounts a path and what is below it.
   *
   * @param inherited access of the folder above
   * @param isBare whether nothing is at the path yet: the folder above is an empty one
   */
  place(path: string, inherited: Access, isBare: boolean): void {
    const access = this.#rules.get(path) ?? inherited;
    const type = typeOf(path);
    if (access === 'private') {
      if (this.#rules.has(path)) this.#placePrivate(path);
      this.#placeNamed(path, access, true);
    } else if (access === 'scratch' && (isBare || type === 'folder')) this.#placeEntries(path, access);
    else if (type === null) return;
    else if (access === 'absent') this.#cover(path, type, isBare);
    else if (access === 'read' && type === 'folder' && this.#hidesEntries(path))
      this.#placeEntries(path, access);
    else {
      // A folder between a writable one and a fixed path is mounted too: nobody can rename a mount.
      const isPinned = inherited === 'write' && this.#named.has(path);
      if (isBare || isPinned || access !== inherited)
        this.words.push(access === 'write' ? '--bind' : '--ro-bind', path, path);
      this.#placeNamed(path, access === 'fixed' ? 'read' : access, false);
    }
  }

  #placeNamed(path: string, access: Access, isBare: boolean): void {
    for (const each of this.#named.get(path) ?? []) this.place(each, access, isBare);
  }

  /** Reports whether a folder is assembled without its hidden entries: a later rename brings none back. */
  #hidesEntries(path: string): boolean {
    const hides = [...(this.#named.get(path) ?? [])].some((each) => this.#rules.get(each) === 'absent');
    return (
      hides && this.#assembledTops.some((top) => isWithin(path, top)) && entriesOf(path).length <= maxEntries
    );
  }

  #placePrivate(path: string): void {
    if (path === '/run') this.words.push('--tmpfs', path);
    else this.words.push('--bind', this.#room(path), path);
  }

  #placeEntries(path: string, access: 'read' | 'scratch'): void {
    this.assembled.add(path);
    if (access === 'read') this.words.push('--tmpfs', path);
    else this.words.push('--bind', this.#room(path), path);
    for (const entry of entriesOf(path))
      if (this.#named.get(path)?.has(entry) !== true) this.#bindEntry(entry);
    this.#placeNamed(path, 'read', true);
    if (access === 'read') this.words.push('--remount-ro', path);
  }

  #bindEntry(path: string): void {
    const type = typeOf(path);
    if (type === 'link') this.words.push('--symlink', readlinkSync(path), path);
    else if (type === 'folder' || type === 'file') this.words.push('--ro-bind-try', path, path);
  }

  /** Hides a path. In a folder, what has other rules below it stays. */
  #cover(path: string, type: ReturnType<typeof typeOf>, isBare: boolean): void {
    const named = this.#named.has(path) ? '0711' : '0000';
    if (!isBare && type === 'folder') this.words.push('--perms', named, '--tmpfs', path);
    else if (!isBare) this.words.push('--ro-bind', '/dev/null', path);
    this.#placeNamed(path, 'absent', true);
    if (!isBare && type === 'folder') this.words.push('--remount-ro', path);
  }
}

/** Covers the sockets that exist where the command reads or writes. */
function coveredSockets(
  { assembled }: Mounts,
  rules: AccessRules,
  { folder, assembled: tops, sockets: permitted }: Plan,
): readonly string[] {
  const paths = new Set(boundSockets([folder, ...tops]).map(realPath));
  return [...paths]
    .filter((path) => typeOf(path) === 'other' && !permitted.includes(path) && !assembled.has(dirname(path)))
    .filter((path) => !['absent', 'private'].includes(accessTo(path, rules)))
    .flatMap((path) => ['--ro-bind', '/dev/null', path]);
}

/**
 * Returns paths of the Unix sockets that programs of this machine have bound (proc_net_unix(5)).
 * A relative name is resolved in the working folders of all processes, and in `folders`.
 */
function boundSockets(folders: readonly string[]): readonly string[] {
  const lines = readFileSync('/proc/net/unix', 'latin1').split('\n').slice(1);
  const names = lines
    .map((line) => /^(?:\S+ +){7}(.+)$/.exec(line)?.[1] ?? '@')
    .filter((name) => !name.startsWith('@'))
    .map((name) => Buffer.from(name, 'latin1').toString('utf8'));
  const isRelative = names.some((name) => !isAbsolute(name));
  const bases = isRelative ? [...new Set([...folders, ...workingFolders()])] : [sep];
  return names.flatMap((name) => (isAbsolute(name) ? [name] : bases.map((base) => join(base, name))));
}

function workingFolders(): readonly string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      return /^\d+$/.test(pid) ? [readlinkSync(`/proc/${pid}/cwd`)] : [];
    } catch {
      // It has ended, or is that of another user.
      return [];
    }
  });
}

function entriesOf(path: string): readonly string[] {
  try {
    return readdirSync(path).map((name) => join(path, name));
  } catch {
    return [];
  }
}

/** Returns null if nothing is there, or if the folder cannot be searched: the command cannot either. */
function typeOf(path: string): 'folder' | 'file' | 'link' | 'other' | null {
  let stats: Stats | undefined;
  try {
    stats = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (!isSystemError(error, 'EACCES')) throw error;
  }
  if (stats === undefined) return null;
  if (stats.isDirectory()) return 'folder';
  if (stats.isFile()) return 'file';
  return stats.isSymbolicLink() ? 'link' : 'other';
}
