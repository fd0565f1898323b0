import { mkdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isSystemError } from './errors.ts';

// Windows has no mode bits. The access list of the folder applies.
const hasModes = process.platform !== 'win32';

/** Reports whether only the owner has access. */
export function isPrivate(mode: number): boolean {
  return !hasModes || (mode & 0o077) === 0;
}

/**
 * Reports whether a file with a secret is closed to other users. A file of root may be open to the group of
 * this process: a Kubernetes Secret is, and this process cannot change it.
 */
export function isPrivateFile({ mode, uid, gid }: Pick<Stats, 'mode' | 'uid' | 'gid'>): boolean {
  const isOfRoot = process.platform === 'linux' && uid === 0 && process.getuid?.() !== 0;
  return isPrivate(isOfRoot && gid === process.getgid?.() ? mode & ~0o040 : mode);
}

/** Reports whether every user of the machine may write to a file or folder of this mode. */
export function isWritableByAll(mode: number): boolean {
  return hasModes && (mode & 0o002) !== 0;
}

/** Reports whether every user may replace files of a folder. A sticky folder only lets them add files. */
export function isReplaceableByAll(mode: number): boolean {
  return isWritableByAll(mode) && (mode & 0o1000) === 0;
}

/**
 * Syncs a folder, so that a new entry survives a power failure: `fsync(2)` of the file does not sync it.
 * Rejects with the system's error; not every system can sync a folder.
 */
export async function syncFolder(folder: string): Promise<void> {
  if (!hasModes) return;
  await using handle = await open(folder, 'r');
  await handle.sync();
}

/**
 * Creates a folder and its missing parents; throws the error of the system. `mkdir` of Node.js with
 * `recursive` does not return below `/proc`, and reports ENOENT instead of EROFS.
 *
 * @returns whether the folder was created
 */
export function makeFolder(path: string, mode?: number): boolean {
  const isFolder = () => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  try {
    mkdirSync(path, mode);
    return true;
  } catch (error) {
    if (isFolder()) return false;
    const parent = dirname(path);
    if (!isSystemError(error, 'ENOENT') || parent === path) throw error;
    makeFolder(parent, mode);
    try {
      mkdirSync(path, mode);
      return true;
    } catch (second) {
      if (!isFolder()) throw second;
      return false;
    }
  }
}

/**
 * Creates a file, and its folder (0700) if missing. The file appears complete and durable, or not at all.
 * Unlike a rename, a link fails if the path exists: one process succeeds. Returns false if the file exists.
 */
export async function createFile(path: string, content: string | Uint8Array, mode: number): Promise<boolean> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  makeFolder(dirname(path), 0o700);
  try {
    {
      await using file = await open(draft, 'wx', mode);
      await file.chmod(mode); // The umask may have removed bits.
      await file.writeFile(content);
      await file.sync();
    }
    await link(draft, path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

/** Replaces the file at `path`, or creates it and its folder (0700), atomically and durably. */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  mode: number,
  owner?: Pick<Stats, 'uid' | 'gid'>,
): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  makeFolder(dirname(path), 0o700);
  try {
    {
      await using file = await open(draft, 'wx', 0o600);
      await file.writeFile(content);
      // Only root can change the owner. For other users a failure is ignored.
      if (owner !== undefined) await file.chown(owner.uid, owner.gid).catch(() => undefined);
      await file.chmod(mode);
      await file.sync();
    }
    await rename(draft, path);
    await syncFolder(dirname(path)).catch(() => undefined);
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

/** Reports whether a process of any user exists. */
export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return !isSystemError(error, 'ESRCH');
  }
}

/** Returns the state and start of a process (proc_pid_stat(5)). Its name may contain any character. */
export function processStat(pid: number): { readonly state: string; readonly start: string } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, start] = [fields[0], fields[19]];
    return state === undefined || start === undefined ? null : { state, start };
  } catch {
    return null;
  }
}

/** Both ends of a local TCP connection, named as in `net.Socket`. */
interface Ends {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}

/**
 * Owner of the other end of a local connection: `own` for root and the user of this process; `unknown` if the
 * system does not report it.
 */
export type PeerOwner = 'own' | 'other' | 'unknown';

/** Returns the owner of the other end, which only Linux reports. */
export async function peerOwner(ends: Ends): Promise<PeerOwner> {
  // A list that changes during a read may lack a line.
  const user = (await peerUser(ends)) ?? (await peerUser(ends));
  if (user === null || (user === unmappedUser && !(await mapsAllUsers()))) return 'unknown';
  return user === 0 || user === process.getuid?.() ? 'own' : 'other';
}

/** Returns the result of `peerOwner`, or `own` if the system reports no owners. For the port of a command. */
export async function peerOwnerOfCommand(ends: Ends): Promise<PeerOwner> {
  return process.platform === 'linux' ? peerOwner(ends) : 'own';
}

/** Returns the user ID of the other end of a local connection, or null if the system does not report it. */
export async function peerUser(ends: Ends): Promise<number | null> {
  const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = ends;
  const list = await freshList();
  const pair = (prefix: string) =>
    [
      `${prefix}${hexOf(remoteAddress)}:${portHex(remotePort)}`,
      `${prefix}${hexOf(localAddress)}:${portHex(localPort)}`,
    ] as const;
  // Java connects to IPv4 addresses from IPv6 sockets.
  return userIn(list, pair('')) ?? userIn(list, pair(mapped));
}

let lastList: Promise<unknown> = Promise.resolve();
let nextList: Promise<string> | null = null;

/**
 * Reads `/proc/net/tcp` and `/proc/net/tcp6` (proc(5)) after the call; empty if there are none. Calls during
 * a read share the next one: with many connections a read takes milliseconds, and connections come in bursts.
 */
function freshList(): Promise<string> {
  nextList ??= lastList.then(async () => {
    nextList = null;
    const files = ['/proc/net/tcp', '/proc/net/tcp6'];
    return (await Promise.all(files.map((file) => readFile(file, 'latin1').catch(() => '')))).join('');
  });
  lastList = nextList;
  return nextList;
}

/** ID of all users that a user namespace does not map (user_namespaces(7)), and of `nobody`. */
const unmappedUser = 65_534;

/** Reports whether this process is outside of any user namespace that maps only some users. */
async function mapsAllUsers(): Promise<boolean> {
  const map = await readFile('/proc/self/uid_map', 'latin1').catch(() => '');
  return /^\s*0\s+0\s+4294967295\s*$/.test(map);
}

/**
 * Finds the user in a list: `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`, one
 * line for each connection. A connection closed by its process has inode 0, and user 0, which is not root.
 */
export function userIn(
  list: string,
  [local, remote]: readonly [local: string, remote: string],
): number | null {
  const at = list.indexOf(` ${local} ${remote} `);
  if (at < 0) return null;
  const [, , , , , , uid = '', , inode = '0'] = list.slice(at + 1, list.indexOf('\n', at)).split(/ +/);
  return /^\d+$/.test(uid) && inode !== '0' ? Number(uid) : null;
}

/**
 * Formats an IPv4 address or `::1` like the kernel on a little-endian machine: the bytes in hex, last first.
 * Sockets that listen on IPv6 report IPv4 addresses as `::ffff:…`.
 */
function hexOf(address: string): string {
  if (address === '::1') return '00000000000000000000000001000000';
  const bytes = address.replace(/^::ffff:/, '').split('.');
  const hex = bytes.map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return hex.toReversed().join('').toUpperCase();
}

/** Prefix of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), as the kernel writes it. */
const mapped = '0000000000000000FFFF0000';

function portHex(port: number): string {
  return port.toString(16).padStart(4, '0').toUpperCase();
}
