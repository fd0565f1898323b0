import { dirname, sep } from 'node:path';

/**
 * Access of a confined command to a path and to what is below it:
 * `absent`: nothing is there. `private`: an empty folder of this run. `fixed`: read only, and not renamed.
 * `scratch`: the entries of the folder, and new ones that end with the run.
 */
export type Access = 'absent' | 'read' | 'write' | 'fixed' | 'private' | 'scratch';

/** Access by path. All paths are absolute and have no symbolic links. */
export type AccessRules = ReadonlyMap<string, Access>;

/** Folders of this machine that each run has for itself. */
export const privateFolders: readonly string[] = ['/tmp', '/var/tmp', '/run', '/dev/shm'];

/** Returns the access of the path's rule, or of the nearest folder with a rule. The root may be read. */
export function accessTo(path: string, rules: AccessRules): Access {
  return rules.get(path) ?? (path === sep ? 'read' : accessTo(dirname(path), rules));
}

/** Reports whether the command may not use a path. Paths below it may have another access. */
export function isClosed(access: Access): boolean {
  return access === 'absent' || access === 'private';
}

/** Variable that tells Sidekey's own commands that a confined command calls them. */
export const runVariable = 'SIDEKEY_RUN';

/** Port of the proxy in the network namespace of a confined command. */
export const insidePort = 8_377;
