import { readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { getAsset, getAssetKeys, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';

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
