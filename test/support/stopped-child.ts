/**
 * Program of a test: calls `stopWith` for a child that has stopped already, and exits with the code of the
 * child.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { stopWith } from '../../src/cli/run/child.ts';

const child = spawn('sh', ['-c', 'kill -STOP $$; exit 7']);
const isStopped = () => / T /.test(readFileSync(`/proc/${child.pid}/stat`, 'latin1'));
while (!isStopped());
const release = stopWith(child);
process.on('SIGCONT', () => child.kill('SIGCONT'));
child.on('exit', (code) => {
  release();
  process.exitCode = code ?? 1;
});
