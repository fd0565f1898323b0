import { realpathSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { door, packageRoot } from './package-files.ts';
import { shellWord } from './text.ts';

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
  return isInCheckout() ? 'npx sidekey' : `node ${shellWord(door)}`;
}

/** Reports whether the working folder is that of the checkout. A removed working folder has no path. */
function isInCheckout(): boolean {
  try {
    return process.cwd() === packageRoot.replace(/[/\\]$/, '');
  } catch {
    return false;
  }
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
