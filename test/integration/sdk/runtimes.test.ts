import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startService } from '../../support/service.ts';

const folder = join(import.meta.dirname, '../../clients/runtimes');
const program = join(folder, 'client.ts');

/** The program of a package; a reason to skip where `npm ci --prefix test/clients/runtimes` was not run. */
function installed(name: string, file: string): { readonly path: string; readonly absent: string | false } {
  try {
    const found = createRequire(join(folder, 'package.json')).resolve(`${name}/package.json`);
    return { path: join(dirname(found), file), absent: false };
  } catch {
    return { path: '', absent: `${name} is not installed (npm ci --prefix test/clients/runtimes)` };
  }
}

const deno = installed('@deno/linux-x64-glibc', 'deno');
const bun = installed('@oven/bun-linux-x64', 'bin/bun');
const runtimes = [
  {
    name: 'Deno',
    ...deno,
    args: ['run', '--no-config', '--allow-net', '--allow-env', '--allow-read', program],
  },
  { name: 'Bun', ...bun, args: ['run', program] },
];

for (const { name, path, absent, args } of runtimes) {
  const why = absent === false ? '' : ` (skipped: ${absent})`;
  test.skipIf(absent !== false)(
    `the client lists, fails, streams and makes an environment in ${name}${why}`,
    async () => {
      const { sidekey, url, key } = await startService();
      await sidekey.grant(['api.example.com'], { name: 'desk', provider: 'github' });
      const env = {
        PATH: '/usr/bin',
        HOME: sidekey.folder,
        SIDEKEY_API_URL: url,
        SIDEKEY_API_KEY: await key(),
      };
      const { stdout } = await promisify(execFile)(path, args, { env, cwd: sidekey.folder });
      expect(JSON.parse(stdout)).toEqual({
        names: ['desk'],
        refused: 'grant_missing',
        streamed: 'proxy.started',
        proxy: 'string',
      });
    },
  );
}
