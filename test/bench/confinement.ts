/**
 * Measures what confinement adds to the start of a command. Run `npm run build` first, then
 * `node test/bench/confinement.ts [PAIRS]`. Prints medians of interleaved pairs, in milliseconds.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sidekey-bench-'));
const installed = join(folder, 'package');
const project = join(folder, 'project');
mkdirSync(project);
for (const name of ['dist', 'config', 'package.json', 'src/sidekey.js'])
  cpSync(join(root, name), join(installed, name), { recursive: true });
// The launcher keeps its compile cache there.
mkdirSync(join(installed, 'node_modules/.cache'), { recursive: true });

function start(option: string): number {
  const words = [join(installed, 'src/sidekey.js'), 'run', '--quiet', option, '--', 'true'];
  const env = { ...process.env, SIDEKEY_HOME: join(folder, 'sidekey') };
  const begin = performance.now();
  const { status, stderr } = spawnSync(process.execPath, words, { cwd: project, env });
  if (status !== 0) throw new Error(String(stderr));
  return performance.now() - begin;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

try {
  for (const option of ['--no-isolate', '--isolate']) start(option);
  const pairs = Array.from({ length: Number(process.argv[2] ?? 20) }, () => {
    const unconfined = start('--no-isolate');
    return { unconfined, confined: start('--isolate') };
  });
  const figures = {
    unconfined: median(pairs.map(({ unconfined }) => unconfined)),
    confined: median(pairs.map(({ confined }) => confined)),
    difference: median(pairs.map(({ unconfined, confined }) => confined - unconfined)),
  };
  for (const [name, value] of Object.entries(figures)) console.log(`${name}: ${Math.round(value)} ms`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
