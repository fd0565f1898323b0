import { hash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** The package that tests start: the bundle takes about half of the CPU time that the sources take. */
export const builtPackage = join(root, 'node_modules/.cache/sidekey-tests/package');

/**
 * Variables for a process that starts from the sources: with a compile cache, its start takes half of the CPU
 * time.
 */
export const compileCache = { NODE_COMPILE_CACHE: join(builtPackage, '../compile-cache') };

/** Files of the package beside the bundle. */
const shipped = ['config', 'man', 'skills', 'llms.txt', 'package.json'];
const stampFile = 'sources.sha256';

/** Bundles the program before the first test, unless it was bundled from the same sources before. */
export default async function buildProgram(): Promise<void> {
  // The tests of Windows start the sources.
  if (process.platform === 'win32') return;
  const stamp = hashOfSources();
  if (isOf(stamp)) return;
  await mkdir(join(builtPackage, '..'), { recursive: true });
  const folder = await mkdtemp(`${builtPackage}-`);
  // Some tests start the program as another user.
  await chmod(folder, 0o755);
  // Imported here, because tests that read `builtPackage` need no bundler.
  const { bundleProgram } = await import('../../tools/bundle.ts');
  await bundleProgram(join(folder, 'dist'));
  for (const name of shipped) cpSync(join(root, name), join(folder, name), { recursive: true });
  await writeFile(join(folder, stampFile), stamp);
  replacePackage(folder, stamp);
}

/** Moves a folder to the place of the package. Another run of the tests may do so at the same time. */
function replacePackage(folder: string, stamp: string): void {
  try {
    if (existsSync(builtPackage)) renameSync(builtPackage, `${folder}-before`);
    renameSync(folder, builtPackage);
  } catch (error) {
    if (!isOf(stamp)) throw error;
  } finally {
    for (const each of [folder, `${folder}-before`]) rmSync(each, { recursive: true, force: true });
  }
}

function isOf(stamp: string): boolean {
  const file = join(builtPackage, stampFile);
  return existsSync(file) && readFileSync(file, 'utf8') === stamp;
}

function hashOfSources(): string {
  const files = [
    'src',
    'examples',
    'tools/bundle.ts',
    'tools/pages.ts',
    'package-lock.json',
    ...shipped,
  ].flatMap((name) => {
    const path = join(root, name);
    if (statSync(path).isFile()) return [path];
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name));
  });
  const hashes = files.toSorted().map((file) => `${file} ${hash('sha256', readFileSync(file))}`);
  return hash('sha256', hashes.join('\n'));
}
