import { execFile } from 'node:child_process';
import { copyFile, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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
  // `sidekey/client`, for programs: its own modules alone, and their types.
  await using client = await rolldown({
    input: 'src/sdk/client/client.ts',
    platform: 'neutral',
    external: /^node:/,
  });
  await client.write({ dir: join(out, 'sdk', 'client'), chunkFileNames: '[name].js' });
  const emitted = [
    '--declaration',
    '--emitDeclarationOnly',
    '--noEmit',
    'false',
    '--outDir',
    join(out, 'sdk'),
  ];
  const compiler = 'node_modules/typescript/bin/tsc';
  await promisify(execFile)(process.execPath, [compiler, '--project', 'src/sdk/tsconfig.json', ...emitted]);
}
{
  // The package `@sidekey/connect`, for applications that bundle it.
  const folder = join(out, 'connect');
  await rename(join(out, 'sdk', 'connect', 'connect.d.ts'), join(folder, 'connect.d.ts'));
  await rm(join(out, 'sdk', 'connect'), { recursive: true });
  await copyFile('LICENSE', join(folder, 'LICENSE'));
  const { version, license } = JSON.parse(await readFile('package.json', 'utf8'));
  const described = {
    name: '@sidekey/connect',
    version,
    description: 'Opens a connect session of Sidekey in a popup',
    license,
    type: 'module',
    sideEffects: false,
    exports: { '.': { types: './connect.d.ts', default: './connect.js' } },
    publishConfig: { access: 'public' },
  };
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`);
}
