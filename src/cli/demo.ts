import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isExecutable, packageRoot } from '../lib/package-files.ts';
import { exitCode } from '../lib/failures.ts';
import type { Context } from './context.ts';

const built = fileURLToPath(new URL('demo.js', import.meta.url));
const script = !isExecutable && existsSync(built) ? built : join(packageRoot, 'examples', 'demo.ts');

/** `sidekey demo`: runs the demo program, which includes a sample API. */
export async function runDemo(
  _context: Context,
  { once = false }: { readonly once?: boolean },
): Promise<number> {
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

/** Ignores Ctrl-C. The terminal also sends it to the demo. */
function leaveToTheDemo(): void {}
