import { readFileSync, realpathSync } from 'node:fs';
import { basename, delimiter, join, relative, sep } from 'node:path';
import { getAsset, getAssetKeys, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { shellWord } from './text.ts';

// A single executable contains its files: https://nodejs.org/api/single-executable-applications.html
export const isExecutable: boolean = isSea();

/** Root of this package, with the folder `config/`. In the executable, no such path exists. */
export const packageRoot: string = isExecutable
  ? process.execPath
  : fileURLToPath(new URL('../..', import.meta.url));

/** First argument of a Node.js that runs this program. The executable uses its own path. */
export const door: string = isExecutable
  ? process.execPath
  : fileURLToPath(new URL('../sidekey.js', import.meta.url));

/** Returns the path of a file in the package's `config/` folder. */
export function shippedFile(name: string): string {
  return join(packageRoot, 'config', name);
}

/** Returns the text of a file of this package. @throws the system's error */
export function packageText(path: string): string {
  return embeddedText(path) ?? readFileSync(path, 'utf8');
}

export function packageVersion(): string {
  const manifest: unknown = JSON.parse(packageText(join(packageRoot, 'package.json')));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
}

/** Returns the `User-Agent` of requests that Sidekey itself makes. */
export function ownUserAgent(): string {
  return `sidekey/${packageVersion()}`;
}

/** Returns the text of a file in the executable, or null for a path of the file system. */
export function embeddedText(path: string): string | null {
  return isExecutable && path.startsWith(packageRoot + sep) ? getAsset(assetOf(path), 'utf8') : null;
}

/** Lists a folder in the executable. Returns null for a path of the file system. */
export function embeddedFiles(folder: string): readonly string[] | null {
  if (!isExecutable || !folder.startsWith(packageRoot + sep)) return null;
  const prefix = `${assetOf(folder)}/`;
  return getAssetKeys().flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : []));
}

function assetOf(path: string): string {
  return relative(packageRoot, path).replaceAll('\\', '/');
}

/**
 * Returns the command that runs this program: `sidekey` if on the PATH, `npx sidekey` if npm started it (npm
 * sets `npm_command`; `exec` is npx) or in the folder of a checkout, `node PATH` elsewhere with the sources.
 */
export function commandName(
  npmCommand: string | undefined = process.env['npm_command'],
  isOnPath: boolean = (isInstalled ??= isLinked(process.env['PATH'] ?? '')),
): string {
  if (isOnPath) return 'sidekey';
  if (['exec', 'start', 'run', 'run-script'].includes(npmCommand ?? '')) return 'npx sidekey';
  if (npmCommand !== undefined || !import.meta.url.endsWith('.ts')) return 'sidekey';
  return process.cwd() === packageRoot.replace(/[/\\]$/, '') ? 'npx sidekey' : `node ${shellWord(door)}`;
}

/** Cached result of `isLinked` for the PATH of this process: refusals use it often. */
let isInstalled: boolean | undefined;

/** Reports whether `sidekey` on a PATH is this program. Ignores the folders that npm adds. */
export function isLinked(path: string): boolean {
  return path.split(delimiter).some((folder) => {
    if (folder === '' || basename(folder) === '.bin') return false;
    try {
      return realpathSync(join(folder, 'sidekey')) === realpathSync(door);
    } catch {
      return false;
    }
  });
}

/** Replaces `sidekey` before a word with the installed command. `Sidekey` is the name of the product. */
export function asTyped(text: string, name: string = commandName()): string {
  return name === 'sidekey' ? text : text.replace(/(?<![\w./-]|npx )sidekey (?=[a-z-])/g, `${name} `);
}
