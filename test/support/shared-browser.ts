import { type ChildProcess, spawn } from 'node:child_process';

/** Ends a process group, and removes its folder, when this worker has ended in any way. */
export function endWithWorker(child: ChildProcess, folder: string): void {
  const script =
    'cat >/dev/null; kill -KILL "-$1"; for _ in 1 2 3 4 5; do rm -rf "$2" && break; sleep 0.2; done';
  const guard = spawn('sh', ['-c', script, 'sh', String(child.pid), folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  for (const each of [child, guard]) each.unref();
  (guard.stdin as { unref?: () => void }).unref?.();
}
