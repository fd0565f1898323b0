import { execFileSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Whoever continues this process hears only now that the child had stopped, and first has to continue it too. */
const soonMs = 20;

/**
 * Stops this process when its child has stopped, and nobody else has stopped this one: a program that takes Ctrl-Z itself
 * stops only itself, and the shell, which knows this process alone, would wait on. Whoever continues this one continues
 * the child. Answers what gives it up.
 */
export function stopWith({ pid }: Pick<ChildProcess, 'pid'>): () => void {
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    if (pid !== undefined && isStopped(pid)) process.kill(process.pid, 'SIGSTOP');
  };
  const lookSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(look, soonMs);
  };
  // The system tells of children that stop, too.
  process.on('SIGCHLD', lookSoon);
  // The child may have stopped before this was listened for.
  lookSoon();
  return () => {
    clearTimeout(timer);
    process.off('SIGCHLD', lookSoon);
  };
}

/** Whether a process is stopped by a signal; one that a debugger holds is not. */
function isStopped(pid: number): boolean {
  try {
    if (process.platform === 'linux') {
      // The name of the program stands in brackets, and may hold any character (proc_pid_stat(5)).
      const [, state] = /^.*\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
      return state === 'T';
    }
    return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'latin1' }).startsWith('T');
  } catch {
    // It has ended.
    return false;
  }
}
