/** `@sidekey/client` as a program installs it. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { tempFolder } from '../../support/temp-folder.ts';

const root = join(import.meta.dirname, '../../..');
const mostBytes = 60 * 1_024;
const run = promisify(execFile);

/** A program that compiles only with the types of the package, and prints what it gets. */
const program = `
import { createClient, errors, SidekeyError } from '@sidekey/client';
import { createClient as onMachine } from '@sidekey/client/node';

const sidekey = createClient({ apiKey: 'k', baseUrl: 'http://127.0.0.1:9' });
const github: typeof fetch = sidekey.fetch({ grant: 'github' });
async function calls(): Promise<string> {
  await github('https://api.github.com/user', { method: 'POST', body: new FormData() });
  await sidekey.request('PUT', 'https://api.github.com/user', { body: { a: 1 }, timeoutMs: 1_000 });
  for await (const { name } of onMachine().listGrants({ user: 'alice' })) console.log(name.length);
  // @ts-expect-error a member that is not there
  await sidekey.createLease({ agen: 'ci' });
  // @ts-expect-error a member is required
  await sidekey.createLease();
  const lease = await sidekey.createLease({ agent: 'ci', purpose: 'report' });
  return lease.token;
}
const error: unknown = await sidekey.removeDomain({ host: 'a' }).catch((caught: unknown) => caught);
if (error instanceof errors.UnreachableError && error instanceof SidekeyError) {
  const code: 'unreachable' = error.code;
  console.log(code, typeof calls);
}
`;

test(
  'the package of the client is small, runs without Node.js modules, and has types',
  { timeout: 180_000 },
  async () => {
    const folder = await tempFolder();
    await run(process.execPath, ['build.ts', '--out', join(folder, 'dist')], { cwd: root });
    const built = join(folder, 'dist', 'client');
    const files = await readdir(built);
    const sizes = await Promise.all(files.map(async (name) => (await stat(join(built, name))).size));
    const bytes = files.reduce((sum, name, at) => sum + (name === 'LICENSE' ? 0 : (sizes[at] ?? 0)), 0);
    expect(bytes).toBeLessThanOrEqual(mostBytes);
    for (const name of ['client.js', 'core.js'])
      expect(await readFile(join(built, name), 'utf8')).not.toMatch(/node:|\bprocess\b|\brequire\b/);
    const { dependencies, exports } = JSON.parse(await readFile(join(built, 'package.json'), 'utf8')) as {
      readonly dependencies?: object;
      readonly exports: object;
    };
    expect([dependencies, Object.keys(exports)]).toEqual([undefined, ['.', './node']]);

    await mkdir(join(folder, 'node_modules', '@sidekey'), { recursive: true });
    await symlink(built, join(folder, 'node_modules', '@sidekey', 'client'));
    await writeFile(join(folder, 'program.mts'), program);
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    for (const [lib, types] of [
      ['es2024,dom', ''],
      ['es2024', 'node'],
    ] as const) {
      const roots = ['--typeRoots', join(root, 'node_modules/@types')];
      const options = [
        '--noEmit',
        '--strict',
        '--exactOptionalPropertyTypes',
        '--module',
        'nodenext',
        '--target',
        'es2024',
      ];
      await run(
        process.execPath,
        [compiler, ...options, ...roots, '--lib', lib, '--types', types, 'program.mts'],
        { cwd: folder },
      );
    }
    const { stdout } = await run(process.execPath, [join(folder, 'program.mts')], { cwd: folder });
    expect(stdout).toBe('unreachable function\n');
  },
);
