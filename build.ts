import { execFile } from 'node:child_process';
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { rolldown } from 'rolldown';
import { bundleProgram } from './tools/bundle.ts';
import { makeSdk } from './tools/sdk/generate.ts';

/**
 * `npm run build`: the bundled program, and the packages for programs and applications.
 *
 * Options: `--out FOLDER` (default: `dist`).
 */
const { values } = parseArgs({ options: { out: { type: 'string', default: 'dist' } } });
const { out } = values;

makeSdk();
await rm(out, { recursive: true, force: true });
await bundleProgram(out);
{
  const emitted = ['--declaration', '--emitDeclarationOnly', '--noEmit', 'false', '--outDir', out];
  const compiler = 'node_modules/typescript/bin/tsc';
  await promisify(execFile)(process.execPath, [compiler, '--project', 'src/sdk/tsconfig.json', ...emitted]);
}
const { version, license } = JSON.parse(await readFile('package.json', 'utf8'));
{
  // The package `@sidekey/client`, for programs.
  const folder = join(out, 'client');
  await using client = await rolldown({
    input: { client: 'src/sdk/client/client.ts', node: 'src/sdk/client/node.ts' },
    platform: 'neutral',
    external: /^node:/,
  });
  await client.write({ dir: folder, chunkFileNames: 'core.js', minify: true });
  // No module of the package has its types.
  await rm(join(folder, 'open-browser.d.ts'));
  for (const name of await readdir(folder)) {
    const file = join(folder, name);
    // Indentation and the ends of lines are a quarter of the types.
    if (name.endsWith('.d.ts')) await writeFile(file, (await readFile(file, 'utf8')).replace(/^ +|;$/gm, ''));
  }
  await describe(folder, 'Client of Sidekey, with a fetch for the credentials of its grants', {
    '.': { types: './client.d.ts', default: './client.js' },
    './node': { types: './node.d.ts', default: './node.js' },
  });
}
// The package `@sidekey/connect`, for applications that bundle it.
await describe(
  join(out, 'connect'),
  'Opens a connect session of Sidekey in a popup',
  {
    '.': { types: './connect.d.ts', default: './connect.js' },
    './react': { types: './react.d.ts', default: './react.js' },
  },
  { peerDependencies: { react: '>=18' }, peerDependenciesMeta: { react: { optional: true } } },
);

/** Writes the description and the license of a package. */
async function describe(folder: string, description: string, exports: object, more = {}): Promise<void> {
  await copyFile('LICENSE', join(folder, 'LICENSE'));
  const described = {
    name: `@sidekey/${basename(folder)}`,
    version,
    description,
    license,
    type: 'module',
    sideEffects: false,
    exports,
    ...more,
    publishConfig: { access: 'public' },
  };
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`);
}
