/** A link that another program puts in the place of a folder between the plan and the mount. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { strangeMount } from '../../src/clients/confine/mounts.ts';
import { packageRoot } from '../../src/lib/package-files.ts';
import { modes } from '../support/confinement/world.ts';

const bubblewrap = modes.bubblewrap?.bubblewrap ?? null;

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1'));
}

test.skipIf(bubblewrap === null).each([
  ['a folder', 'folder', '--bind', null],
  ['a link to a folder that is planned to be read only', 'to-fixed', '--bind', 'fixed'],
  ['a link to a folder that is not planned', 'to-other', '--bind', 'other'],
  ['a link to a folder that is not planned, read only', 'to-other', '--ro-bind', 'other'],
])('%s in place of a planned mount is detected', async (_what, name, word, strange) => {
  const base = mkdtempSync(join(packageRoot, 'node_modules', '.mounts '));
  onTestFinished(() => rmSync(base, { recursive: true, force: true }));
  const at = (entry: string) => join(base, entry);
  for (const entry of ['folder', 'fixed', 'other']) mkdirSync(at(entry));
  for (const entry of ['fixed', 'other']) symlinkSync(entry, at(`to-${entry}`));
  const list = [
    ...'--unshare-user --unshare-pid --die-with-parent --ro-bind / / --dev /dev --proc /proc'.split(' '),
    '--bind',
    base,
    base,
    '--ro-bind',
    at('fixed'),
    at('fixed'),
    word,
    at(name),
    at(name),
  ];
  const child = spawn(bubblewrap!, [...list, '/bin/sh', '-c', 'echo ready; read line'], { stdio: 'pipe' });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  expect(strangeMount(list, childOf(childOf(child.pid!)))).toBe(strange === null ? null : at(strange));
});
