import { readFileSync } from 'node:fs';
import { isWithin } from '../../lib/paths.ts';

/** A mount of a process, a line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). */
interface Mount {
  /** Path in its file system that is the root of the mount. */
  readonly root: string;
  readonly point: string;
  readonly isReadOnly: boolean;
  readonly device: string;
  readonly type: string;
}

/** Folders that bubblewrap fills itself, and the type of their file system. */
const filled: ReadonlyMap<string, string> = new Map([
  ['/dev', 'tmpfs'],
  ['/proc', 'proc'],
]);

/**
 * Returns a mount of a process that the arguments of bubblewrap do not contain; null: none. bubblewrap
 * follows links, and a command of another run can replace a folder by a link between the plan and the mount.
 *
 * @param list arguments of bubblewrap
 */
export function strangeMount(list: readonly string[], pid: number): string | null {
  const outside = mountsOf('self');
  const roots = new Map<string, Set<string>>();
  const writable = new Set<string>();
  const empty = new Set<string>();
  for (const [index, word] of list.entries()) {
    const [source = '', place = ''] = list.slice(index + 1, index + 3);
    if (word === '--tmpfs') empty.add(source);
    if (!/^--(ro-)?bind(-try)?$/.test(word)) continue;
    if (word === '--bind') writable.add(place);
    roots.set(place, (roots.get(place) ?? new Set()).add(rootOf(source, outside)));
  }
  const isPlanned = ({ root, point, isReadOnly, device, type }: Mount) => {
    if (filled.get(point) === type && !outside.some((each) => each.device === device)) return true;
    if ([...filled.keys()].some((each) => isWithin(point, each) && point !== each)) return true;
    if (empty.has(point) && type === 'tmpfs' && root === '/') return true;
    const nearest = [...roots.keys()]
      .filter((each) => isWithin(point, each))
      .reduce((longest, each) => (each.length > longest.length ? each : longest), '');
    const isGiven = writable.has(nearest);
    if (roots.get(point)?.has(`${device} ${root}`) === true) return isReadOnly || isGiven;
    // A mount below a folder comes with it.
    const isSame = (each: Mount) => each.point === point && each.root === root && each.device === device;
    return outside.some(isSame) && (isReadOnly || isGiven);
  };
  const inside = mountsOf(pid);
  const strange = inside.find((mount) => !isPlanned(mount));
  if (strange !== undefined) return strange.point;
  // What lies on top of these must be the new one.
  const isCovered = (point: string) => {
    const top = inside.findLast((each) => each.point === point);
    return top === undefined || outside.some(({ device }) => device === top.device);
  };
  return [...filled.keys()].find(isCovered) ?? null;
}

/** Returns the device and the path in its file system of a path of this process. */
function rootOf(path: string, mounts: readonly Mount[]): string {
  const { device, root, point } = mounts
    .filter((each) => isWithin(path, each.point))
    .reduce((nearest, each) => (each.point.length >= nearest.point.length ? each : nearest));
  const below = path.slice(point === '/' ? 0 : point.length);
  return `${device} ${`${root === '/' ? '' : root}${below === '/' ? '' : below}` || '/'}`;
}

function mountsOf(pid: number | 'self'): readonly Mount[] {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, 'latin1').trim().split('\n');
  return lines.map((line) => {
    const [, , device = '', root = '', point = '', options = '', ...rest] = line.split(' ');
    const type = rest[rest.indexOf('-') + 1] ?? '';
    const isReadOnly = options.split(',').includes('ro');
    return { root: unescaped(root), point: unescaped(point), isReadOnly, device, type };
  });
}

/** Returns a path of mountinfo, in which blanks and backslashes are octal numbers. */
function unescaped(path: string): string {
  const bytes = path.replaceAll(/\\([0-7]{3})/g, (_all, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
