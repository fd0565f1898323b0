import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';

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

/**
 * Returns `HGRCPATH` with a file of settings at its end; null on Windows, where the usual paths are others. The variable
 * takes the place of the whole search path (`hg help environment`), so the usual one is written out in front of it: the
 * defaults that come with the program, the system's settings, the person's. The last one that sets a value counts, but for
 * the repository's own `.hg/hgrc`.
 */
export async function hgrcPath(parent: NodeJS.ProcessEnv, file: string): Promise<string | null> {
  if (process.platform === 'win32') return null;
  const named = parent['HGRCPATH'];
  // An empty one means the repository's settings alone.
  const before = named === undefined ? await usualPath(parent) : named.split(delimiter);
  return [...before.filter((entry) => entry !== '' && entry !== file), file].join(delimiter);
}

/** As `rccomponents`, `systemrcpath` and `userrcpath` of Mercurial 6 have it; what is not there is skipped by it. */
async function usualPath(parent: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const home = parent['HOME'] ?? homedir();
  const configHome = parent['XDG_CONFIG_HOME'] ?? '';
  const installed = await programOnPath(parent['PATH'] ?? '');
  const roots = [...(installed === null ? [] : [join(dirname(dirname(installed)), 'etc')]), '/etc'];
  return [
    ...(installed === null ? [] : await defaultsBeside(await realpath(installed))),
    ...roots.flatMap((root) => [join(root, 'mercurial', 'hgrc.d'), join(root, 'mercurial', 'hgrc')]),
    join(home, '.hgrc'),
    ...(process.platform === 'darwin'
      ? []
      : [join(isAbsolute(configHome) ? configHome : join(home, '.config'), 'hg', 'hgrc')]),
  ];
}

async function programOnPath(path: string): Promise<string | null> {
  const files = path
    .split(delimiter)
    .filter((folder) => isAbsolute(folder))
    .map((folder) => join(folder, 'hg'));
  for (const file of files) if (await isThere(file)) return file;
  return null;
}

/** The merge tools that Mercurial knows by itself: a file in its Python package. */
async function defaultsBeside(program: string): Promise<readonly string[]> {
  const library = join(dirname(dirname(program)), 'lib');
  const versions = (await readdir(library).catch(() => [])).filter((name) => name.startsWith('python3'));
  const folders = versions.flatMap((version) =>
    ['dist-packages', 'site-packages'].map((packages) =>
      join(library, version, packages, 'mercurial', 'defaultrc'),
    ),
  );
  const there = await Promise.all(folders.map(isThere));
  return folders.filter((_, index) => there[index]);
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
