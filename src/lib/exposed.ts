import { accessSync, constants, lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from './errors.ts';
import { shellWord } from './text.ts';

/**
 * Returns an error if a user other than root and that of this process can change a part of the config: a
 * file, a link to it, or the folder of either. Otherwise null. Does not check folders above. Refuses an
 * unreachable path, because another user may make it reachable later.
 */
export function exposureOf(
  path: string,
  me = process.getuid?.(),
  isPrivateGroup = isGroupOfUser,
  isReadOnly = isOnReadOnlyMount,
): SidekeyError | null {
  if (me === undefined) return null; // Windows has neither user ids nor modes.
  try {
    for (const place of placesOf(path)) {
      const facts = lstatSync(place);
      const { uid, gid, mode } = facts;
      if (uid !== me && uid !== 0)
        return refusal(place, `belongs to user ${uid}`, `run as that user, or: sudo chown ${me}`);
      // In a sticky folder, others cannot replace the file. The mode of a link has no meaning.
      const isSticky = place !== path && facts.isDirectory() && (mode & 0o1000) !== 0;
      if (isSticky || facts.isSymbolicLink()) continue;
      const isOpen = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && !isPrivateGroup(gid));
      // Kubernetes mounts a ConfigMap read-only, with a folder of root that has mode 0777.
      if (!isOpen || (uid === 0 && isReadOnly(place))) continue;
      return refusal(place, `is writable by others (mode ${(mode & 0o7777).toString(8)})`, 'chmod go-w');
    }
    return null;
  } catch (error) {
    return refusal(path, `cannot be looked at (${systemCode(error)})`, 'make it readable, or remove');
  }
}

function refusal(path: string, what: string, way: string): SidekeyError {
  const sentence = `${path} ${what}, and decides what Sidekey runs and where secrets are sent.`;
  return new SidekeyError('permissions_unsafe', sentence, { hint: `${way} ${shellWord(path)}` });
}

/** @throws SidekeyError `permissions_unsafe`, see `exposureOf` */
export function assertUnexposed(path: string): void {
  const exposure = exposureOf(path);
  if (exposure !== null) throw exposure;
}

/** Returns the links that lead to a file, the file, and the folder of each. @throws if links are circular */
function placesOf(path: string): readonly string[] {
  realpathSync(path);
  const folder = realpathSync(dirname(path));
  const next = lstatSync(path).isSymbolicLink() ? placesOf(resolve(folder, readlinkSync(path))) : [];
  return [path, folder, ...next];
}

/** Reports whether a group has no members except root and the user of this process. False if unknown. */
export function isGroupOfUser(gid: number, folder = '/etc'): boolean {
  const fields = (file: string, row: string) =>
    Array.from(
      readFileSync(`${folder}/${file}`, 'utf8').matchAll(new RegExp(row, 'gm')),
      ([, field = '']) => field,
    );
  if (process.platform !== 'linux') return false; // Elsewhere the files do not have all groups.
  try {
    const { username } = userInfo();
    const groups = fields('group', `^[^:\n]*:[^:\n]*:${gid}:(.*)$`);
    const first = fields('passwd', `^([^:\n]*):[^:\n]*:[^:\n]*:${gid}:`);
    const members = [...first, ...groups.flatMap((listed) => listed.split(','))];
    const isAlone = members.every((user) => ['', 'root', username].includes(user));
    return groups.length > 0 && members.includes(username) && isAlone;
  } catch {
    return false;
  }
}

/** Reports whether a path is writable by its mode, but on a read-only mount (access(2), `EROFS`). */
function isOnReadOnlyMount(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return isSystemError(error, 'EROFS');
  }
}
