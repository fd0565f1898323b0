import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Tasks } from './client-main.ts';

/**
 * The load client in a process of its own: what it does costs no subject and no other client anything but the
 * machine.
 */
export interface LoadClient {
  /** @throws Error where the task fails, takes more than two minutes, or the client ends */
  do<Task extends keyof Tasks>(task: Task, ...args: Parameters<Tasks[Task]>): ReturnType<Tasks[Task]>;
  stop(): Promise<void>;
}

interface Report {
  readonly id: number;
  readonly result?: unknown;
  readonly failure?: string;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const patienceMs = 120_000;
const main = fileURLToPath(new URL('client-main.ts', import.meta.url));

export function startLoadClient(): LoadClient {
  const open = new Map<number, Waiting>();
  let count = 0;
  let child: ChildProcess | null = null;

  const start = (): ChildProcess => {
    const script = 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"';
    const started = spawn('sh', ['-c', script, process.execPath, main], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    started.on('message', ({ id, result, failure }: Report) => {
      if (failure === undefined) open.get(id)?.resolve(result);
      else open.get(id)?.reject(new Error(failure));
      open.delete(id);
    });
    started.once('exit', () => {
      if (child === started) child = null;
      for (const { reject } of open.values()) reject(new Error('the load client has ended'));
      open.clear();
    });
    return started;
  };

  return {
    do<Task extends keyof Tasks>(task: Task, ...args: Parameters<Tasks[Task]>) {
      count += 1;
      const id = count;
      const client = (child ??= start());
      let timer: NodeJS.Timeout | undefined;
      const answer = new Promise((resolve, reject) => {
        open.set(id, { resolve, reject });
        // One that hangs is of no use any more; the next task gets another.
        timer = setTimeout(() => {
          reject(new Error(`no end of it after ${patienceMs / 1_000} s`));
          client.kill('SIGKILL');
        }, patienceMs);
        client.send({ id, task, args }, (error) => {
          if (error !== null) reject(error);
        });
      }).finally(() => clearTimeout(timer));
      return answer as ReturnType<Tasks[Task]>;
    },
    async stop() {
      if (child === null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
