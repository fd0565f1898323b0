import type { Config } from '../../config/config.ts';
import { errorPhrase } from '../../error-facts.ts';
import { systemTimers } from '../../grants/timers.ts';
import type { Log } from '../../log.ts';
import { removeRunning, runFileOf, writeRunning } from '../../workers/run-file.ts';
import { startSupervisor, type Supervisor } from '../../workers/supervisor.ts';
import { lookAtMachine, workerCount } from '../../workers/worker-count.ts';

/** Workers, and the file that says which they are. */
export interface Workers {
  readonly supervisor: Supervisor;
  readonly count: number;
  /** They serve on this port. */
  serveAt(port: number): void;
  /** Ends what is left of them. */
  close(): void;
}

/** Starts as many as the config and the machine say; null: one process does everything. */
export function startWorkers(
  config: Config,
  { env, log, now }: { readonly env: NodeJS.ProcessEnv; readonly log: Log; readonly now: () => number },
): Workers | null {
  const count = workerCount(config.workers, lookAtMachine(env));
  if (count === 1) return null;
  let file: string | null = null;
  let workers: readonly number[] = [];

  function write(): void {
    if (file === null) return;
    try {
      writeRunning(file, { pid: process.pid, workers });
    } catch (error) {
      log.warn(
        { file, problem: errorPhrase(error) },
        'which workers run could not be written for "sidekey status"',
      );
    }
  }

  const supervisor = startSupervisor({
    count,
    env,
    log,
    now,
    timers: systemTimers,
    onChange(pids) {
      workers = pids;
      write();
    },
  });
  return {
    supervisor,
    count,
    serveAt(port) {
      file = runFileOf(config.store.path, port);
      write();
    },
    close() {
      supervisor.kill();
      if (file !== null) removeRunning(file);
    },
  };
}
