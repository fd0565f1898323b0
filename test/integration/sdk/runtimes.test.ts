import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { startDevice } from '../../support/device-session.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startEcho } from '../../support/body-echo.ts';
import { arrived, bodies, streams } from './programs/bodies.ts';
import { facts } from './programs/story.ts';

const program = join(import.meta.dirname, 'programs/tell.ts');
const installed = join(import.meta.dirname, '../../clients/runtimes/node_modules');
const denoFlags = ['run', '--no-prompt', '--no-config', '--no-lock', '--allow-env', '--allow-net=127.0.0.1'];

const runtimes: readonly (readonly [name: string, command: string, args: readonly string[]])[] = [
  ['Node.js', process.execPath, []],
  ['Bun', join(installed, '@oven/bun-linux-x64/bin/bun'), ['run']],
  ['Deno', join(installed, '@deno/linux-x64-glibc/deno'), denoFlags],
];

for (const [name, command, args] of runtimes) {
  const isHere = existsSync(command);
  const why = isHere ? '' : ' (skipped: npm ci --prefix test/clients/runtimes has not installed it here)';
  test.skipIf(!isHere)(
    `the client calls, lists, fails, streams, connects and sends bodies in ${name}${why}`,
    async () => {
      const at = await startDevice();
      const home = await tempFolder();
      const child = spawn(command, [...args, program], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          HOME: home,
          DENO_NO_UPDATE_CHECK: '1',
          SIDEKEY_API_URL: at.url,
          SIDEKEY_API_KEY: await at.key(),
          ECHO_URL: await startEcho(),
          ACCOUNT_URL: `${at.server.issuer}/me`,
        },
      });
      const complaints = text(child.stderr);
      const ended = once(child, 'close');
      const told: unknown[] = [];
      for await (const line of createInterface(child.stdout)) {
        told.push(JSON.parse(line));
        if (told.length === 1) await at.server.approve(String(told[0]));
      }
      expect(await ended, await complaints).toEqual([0, null]);
      expect(told[1]).toEqual(facts);
      expect(told[2]).toEqual(arrived([...bodies, ...streams]));
    },
  );
}
