import {
  lookAtMachine,
  removeRunning,
  runFileOf,
  type SocketHandle,
  type ToSupervisor,
  type ToWorker,
  workerCount,
  writeRunning,
} from '../../app/worker-ipc.ts';
import { startSupervisor, type Supervisor } from '../../app/workers.ts';
import type { Config } from '../../config/config.ts';
import { parseConfig } from '../../config/load.ts';
import { errorPhrase, exitCode, SidekeyError } from '../../lib/errors.ts';
import { createLog, type Log } from '../../lib/log.ts';
import { systemTimers } from '../../lib/timers.ts';
import { type Proxy, startProxy } from '../../main.ts';
import type { Context } from '../context.ts';

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

/** Milliseconds between words that grants are used. */
const usedEvery = 60_000;

type Serve = Extract<ToWorker, { readonly kind: 'serve' }>;

/**
 * One of several processes that serve. All it needs to know comes from the one that started it, over the channel between
 * them; when that closes, the other is gone, and this one lets its exchanges end, and ends too.
 */
export async function serveAsWorker({ env, now }: Context): Promise<number> {
  if (process.send === undefined) {
    throw new SidekeyError('input_invalid', 'A worker is started by "sidekey start", and not by hand.', {
      hint: 'sidekey start',
    });
  }
  const told = Promise.withResolvers<{ readonly serve: Serve; readonly socket: SocketHandle } | null>();
  const stop = Promise.withResolvers<void>();
  let proxy: Proxy | undefined;
  process.on('message', (message, socket) => {
    const said = message as ToWorker;
    if (said.kind === 'serve') told.resolve({ serve: said, socket: socket as unknown as SocketHandle });
    else if (said.kind === 'reload') void proxy?.reload();
    else stop.resolve();
  });
  process.once('disconnect', () => stop.resolve());
  process.once('SIGTERM', () => void say({ kind: 'leaving' }).then(stop.resolve));
  // A terminal sends them to all of its processes; the one that started this says what comes of it.
  process.on('SIGINT', () => {}).on('SIGHUP', () => {});
  void stop.promise.then(() => told.resolve(null));
  const given = await told.promise;
  if (given === null) return leave(exitCode.ok);
  try {
    proxy = await begin(given.serve, given.socket, { env, now });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const { code, message, hint } = error;
    await say({ kind: 'failed', code, message, hint });
    return leave(error.exit);
  }
  void say({ kind: 'ready' }, given.socket);
  await stop.promise;
  await proxy.close();
  return leave(exitCode.ok);
}

async function begin(
  { file, text, pages, ticketMaterial }: Serve,
  socket: SocketHandle,
  { env, now }: Pick<Context, 'env' | 'now'>,
): Promise<Proxy> {
  const config = await parseConfig(text, file, { env });
  let saidUsed = -Infinity;
  return startProxy(config, {
    log: createLog(config.log.level),
    now,
    env,
    ticketMaterial,
    worker: {
      socket,
      pages,
      config: (event) => void say({ kind: 'config', event }),
      used() {
        const time = now();
        if (Math.abs(time - saidUsed) < usedEvery) return;
        saidUsed = time;
        void say({ kind: 'used' });
      },
    },
  });
}

/** Resolves when it has left; where the other is gone, nobody hears it. */
function say(message: ToSupervisor, socket?: SocketHandle): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, socket as never, {}, () => resolve());
    else resolve();
  });
}

/** Without the channel nothing keeps this process. */
function leave(exit: number): number {
  if (process.connected) process.disconnect?.();
  return exit;
}
