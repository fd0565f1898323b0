import { readFileSync, type Stats } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, rename, unlink } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { isSystemError } from './errors.ts';

// Windows has no mode bits; the access list of the folder applies.
const hasModes = process.platform !== 'win32';

/** Reports whether this mode gives access to the owner alone. */
export function isPrivate(mode: number): boolean {
  return !hasModes || (mode & 0o077) === 0;
}

/**
 * Reports whether a file with a secret is closed to other users. A file of root may be open to the group of this process: a
 * Secret of Kubernetes is, and this process cannot change it.
 */
export function isPrivateFile({ mode, uid, gid }: Pick<Stats, 'mode' | 'uid' | 'gid'>): boolean {
  const isOfRoot = process.platform === 'linux' && uid === 0 && process.getuid?.() !== 0;
  return isPrivate(isOfRoot && gid === process.getgid?.() ? mode & ~0o040 : mode);
}

/** Reports whether every user of the machine may write to a file or folder of this mode. */
export function isWritableByAll(mode: number): boolean {
  return hasModes && (mode & 0o002) !== 0;
}

/** Reports whether every user of the machine may replace the files of a folder. In a sticky one they may add files alone. */
export function isReplaceableByAll(mode: number): boolean {
  return isWritableByAll(mode) && (mode & 0o1000) === 0;
}

/**
 * Syncs a folder, so that a new entry survives a power failure: `fsync(2)` of the file does not sync the entry. Rejects
 * with the system's error; not every system can sync a folder.
 */
export async function syncFolder(folder: string): Promise<void> {
  if (!hasModes) return;
  await using handle = await open(folder, 'r');
  await handle.sync();
}

/**
 * Creates a file, and its folder (0700) where that is missing. The file appears whole and on the disk, or not at all: unlike a
 * rename, a link fails if the path exists, so one of several processes succeeds. Returns false if the file exists.
 */
export async function createFile(path: string, content: string | Uint8Array, mode: number): Promise<boolean> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
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

/** Replaces the file at `path`, or creates it and its folder (0700), at once and durably. */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  mode: number,
  owner?: Pick<Stats, 'uid' | 'gid'>,
): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
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

/** Reports whether a process exists, of any user. */
export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return !isSystemError(error, 'ESRCH');
  }
}

/** State and start of a process on Linux (proc_pid_stat(5)), counted from behind its name, which may hold anything. */
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

/** Addresses of a local TCP connection, in the form of `net.Socket`. */
interface Ends {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localPort?: number | undefined;
}

/**
 * Returns the user id of the process at the other end of a local connection (proc(5), `/proc/net/tcp`); null if it is
 * not listed, or the system has no such list.
 */
export function peerUser({ remoteAddress = '', remotePort = 0, localPort = 0 }: Ends): number | null {
  // A socket that listens on IPv6 reports an IPv4 peer in this form.
  const address = remoteAddress.replace(/^::ffff:/, '');
  const ends = { port: portHex(remotePort), remotePort: portHex(localPort) };
  if (address === '::1') return userListed('tcp6', { ...ends, address: loopback6 });
  if (!isIPv4(address)) return null;
  // Java connects to IPv4 addresses from IPv6 sockets, which are in the other list.
  return (
    userListed('tcp', { ...ends, address: hexOf(address) }) ??
    userListed('tcp6', { ...ends, address: `${mapped}${hexOf(address)}` })
  );
}

function userListed(
  list: 'tcp' | 'tcp6',
  {
    address,
    port,
    remotePort,
  }: { readonly address: string; readonly port: string; readonly remotePort: string },
): number | null {
  let text: string;
  try {
    text = readFileSync(`/proc/net/${list}`, 'latin1');
  } catch {
    return null;
  }
  return userIn(text, { local: `${address}:${port}`, remotePort });
}

/**
 * Reports whether the other end belongs to the user of this process, or to root. Always true on systems other than
 * Linux, which do not report the user of a connection.
 */
export function isOwnUser(ends: Ends): boolean {
  if (process.platform !== 'linux' || process.getuid === undefined) return true;
  const user = peerUser(ends);
  return user === 0 || user === process.getuid();
}

/**
 * Finds the user in the list: `sl local_address rem_address st tx:rx tr:tm retrnsmt uid …`, one line for each
 * connection.
 */
export function userIn(
  list: string,
  { local, remotePort }: { readonly local: string; readonly remotePort: string },
): number | null {
  const at = list.indexOf(` ${local} `);
  for (let from = at; from >= 0; from = list.indexOf(` ${local} `, from + 1)) {
    const fields = list.slice(from + 1, list.indexOf('\n', from)).split(/ +/);
    const [, remote = '', , , , , uid = ''] = fields;
    if (remote.endsWith(`:${remotePort}`)) return /^\d+$/.test(uid) ? Number(uid) : null;
  }
  return null;
}

/** Formats an IPv4 address like the kernel on a little-endian machine: the bytes in hex, last first. */
function hexOf(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return bytes.toReversed().join('').toUpperCase();
}

const loopback6 = '00000000000000000000000001000000';
/** Prefix of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), in the form of the kernel. */
const mapped = '0000000000000000FFFF0000';

function portHex(port: number): string {
  return port.toString(16).padStart(4, '0').toUpperCase();
}
