/** Files that npm packs from a checkout that has been used. */
import { execFile, spawnSync } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openCatalog } from '../../../src/config/catalog.ts';
import { packageRoot } from '../../../src/lib/package-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const npm = spawnSync('npm', ['--version']).status === 0;

/** The files of a person that may lie in a checkout. */
const strays = [
  'config/sidekey.yaml',
  'config/sidekey.draft-0123abcd.yaml',
  'config/providers/mine.yaml',
  'config/data/master.key',
  'data/sidekey.db',
  'certs/ca.key',
];

test('an image contains the files of the package, and copies no folder of a checkout', async () => {
  const dockerfile = await readFile(join(packageRoot, 'Dockerfile'), 'utf8');
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  const copied = Array.from(last.matchAll(/^(?:COPY|ADD) (.*)$/gm), ([, what]) => what);
  expect(copied).toEqual(['--from=build /image /']);
  expect(dockerfile).not.toMatch(/^COPY (?!--from).*\/image/m);
});

test.skipIf(!npm)(
  'a package contains the template and the catalog, but no file of a person (needs npm)',
  async () => {
    const folder = await tempFolder();
    for (const name of ['package.json', 'config', 'LICENSE', 'README.md'])
      await cp(join(packageRoot, name), join(folder, name), { recursive: true });
    for (const name of strays) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), 'version: 1\n');
    }
    const args = ['pack', '--dry-run', '--json', '--ignore-scripts', '--offline'];
    const { stdout } = await promisify(execFile)('npm', args, { cwd: folder });
    const listed = JSON.parse(stdout) as readonly { readonly files: readonly { readonly path: string }[] }[];
    const { names } = await openCatalog();
    expect(listed[0]?.files.map(({ path }) => path).toSorted()).toEqual(
      [
        'LICENSE',
        'README.md',
        'config/cloud-failures.yaml',
        'config/confinement.json',
        'config/default.yaml',
        'config/environment-index.json',
        'config/form-index.json',
        'config/node-proxy.cjs',
        'config/sidekey.schema.json',
        'config/scopes.yaml',
        'config/sources.yaml',
        'package.json',
        ...names.map((name) => `config/providers/${name}.yaml`),
      ].toSorted(),
    );
  },
);
