import { fileURLToPath } from 'node:url';

/**
 * The package that this program is part of: what holds `config/`. The way up is the same from `src/` and from `dist/`.
 */
export const packageRoot: string = fileURLToPath(new URL('../..', import.meta.url));

/** The program's door, in the sources as in what was compiled of them. */
export const door: string = fileURLToPath(new URL('../sidekey.js', import.meta.url));

/** Where a file of the package's `config/` folder is. */
export function shippedFile(name: string): string {
  return fileURLToPath(new URL(`../../config/${name}`, import.meta.url));
}
