import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../config/locate.ts';
import { exitCode } from '../lib/failures.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Context } from './context.ts';

const script = join(packageRoot, 'examples', 'demo.ts');

/** `sidekey demo`: runs a program that is part of the repository, not of the package. */
export async function runDemo(
  _context: Context,
  { once = false }: { readonly once?: boolean },
): Promise<number> {
  if (!existsSync(script)) {
    throw new SidekeyError('not_found', 'The demo is not part of an installed package.', {
      hint: 'run it in a checkout of Sidekey: npm ci && npm run demo',
    });
  }
  const child = spawn(process.execPath, [script, ...(once ? ['--once'] : [])], { stdio: 'inherit' });
  process.on('SIGINT', leaveToTheDemo);
  const pass = () => void child.kill('SIGTERM');
  process.on('SIGTERM', pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject).once('exit', (code) => resolve(code ?? exitCode.failure));
    });
  } finally {
    process.off('SIGINT', leaveToTheDemo).off('SIGTERM', pass);
  }
}

/** Ignores Ctrl-C, which the terminal also sends to the demo. */
function leaveToTheDemo(): void {}
