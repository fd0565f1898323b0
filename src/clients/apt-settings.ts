import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/**
 * Returns the text of a file for `APT_CONFIG` that names the roots of https, behind what the person's own `APT_CONFIG`
 * says: apt reads one file by that name, and `#include` takes the other one in (apt.conf(5)). Null where apt could not read
 * it: a path has a quote in it, or root calls apt, whose methods run as `_apt` and cannot get at the bundle. A bundle that
 * cannot be read would break https to every host.
 *
 * @param file where the text will be
 */
export async function aptSettings(
  parent: NodeJS.ProcessEnv,
  file: string,
  bundle: string,
): Promise<string | null> {
  if (process.getuid?.() === 0 && !(await isOpenToAll(dirname(bundle)))) return null;
  const own = await ownSettings(parent['APT_CONFIG'] ?? '', file);
  if ([own ?? '', bundle].some((path) => /["\r\n]/.test(path))) return null;
  return `${own === null ? '' : `#include "${own}";\n`}Acquire::https::CAInfo "${bundle}";\n`;
}

/** In a shell where the variable is ours already, it is what that file takes in. */
async function ownSettings(named: string, ours: string): Promise<string | null> {
  if (named === '') return null;
  const path = resolve(named);
  if (path !== ours) return path;
  const text = await readFile(ours, 'utf8').catch(() => '');
  return /^#include "(.+)";$/m.exec(text)?.[1] ?? null;
}

/** Whether every user may go into a folder. */
async function isOpenToAll(folder: string): Promise<boolean> {
  const { mode } = await stat(folder);
  if ((mode & 0o001) === 0) return false;
  const above = dirname(folder);
  return above === folder || isOpenToAll(above);
}
