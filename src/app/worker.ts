import { constants, setPriority } from 'node:os';
import { parseConfig } from '../config/load.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { exitCode } from '../lib/failures.ts';
import { createLog } from '../lib/log.ts';
import { acceptingRedirected } from './adapted-config.ts';
import { type Proxy, startProxy } from './proxy.ts';
import type { SocketHandle, ToSupervisor, ToWorker } from './worker-ipc.ts';

/** Milliseconds between reports of grant use. */
const usedEvery = 60_000;

/** Settings and socket that a worker is to serve. */
interface Task {
  readonly settings: Extract<ToWorker, { readonly kind: 'serve' }>;
  readonly socket: SocketHandle;
}

/**
 * Runs one of several serving processes, or a check of the store, and returns its exit code. The supervisor
 * sends its settings over the channel, and holds the pipe of its standard input. When that closes, the
 * process finishes its exchanges and exits.
 *
 * @param now returns milliseconds since the epoch
 * @throws SidekeyError `input_invalid` without a supervisor
 */
export async function serveAsWorker(env: NodeJS.ProcessEnv, now: () => number): Promise<number> {
  if (process.send === undefined) {
    throw inputInvalid('Only "sidekey start" starts a worker.', remedy('start'));
  }
  const assigned = Promise.withResolvers<Task | string | null>();
  const stop = Promise.withResolvers<void>();
  let proxy: Proxy | undefined;
  process.on('message', (received, socket) => {
    const message = received as ToWorker;
    if (message.kind === 'serve')
      assigned.resolve({ settings: message, socket: socket as unknown as SocketHandle });
    else if (message.kind === 'check') assigned.resolve(message.path);
    else if (message.kind === 'reload') void proxy?.reload();
    else if (message.kind === 'read')
      void proxy?.figures().then((figures) => send({ kind: 'figures', figures }));
    else stop.resolve();
  });
  // `disconnect` is unreliable: Node withholds it until the supervisor has acknowledged a handle.
  const supervisorEnded = () => stop.resolve();
  process.stdin.on('error', supervisorEnded).once('close', supervisorEnded).resume();
  process.once('SIGTERM', () => void send({ kind: 'leaving' }).then(stop.resolve));
  // A terminal sends these signals to all processes. The supervisor handles them.
  process.on('SIGINT', () => {}).on('SIGHUP', () => {});
  void stop.promise.then(() => assigned.resolve(null));
  const task = await assigned.promise;
  if (task === null) return leave(exitCode.ok);
  try {
    if (typeof task === 'string') await check(task);
    else proxy = await startTask(task, env, now);
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const { code, message, hint } = error;
    await send({ kind: 'failed', code, message, hint });
    return leave(error.exit);
  }
  if (typeof task === 'string') {
    await send({ kind: 'ready' });
    return leave(exitCode.ok);
  }
  void send({ kind: 'ready' }, task.socket);
  await stop.promise;
  await proxy?.close();
  return leave(exitCode.ok);
}

/** Checks a file of a store. Other processes have precedence. */
async function check(path: string): Promise<void> {
  setPriority(constants.priority.PRIORITY_LOW);
  const { checkSqliteFile } = await import('../store/sqlite.ts');
  await checkSqliteFile(path);
}

async function startTask(
  { settings: { file, text, pages, ticketMaterial, transparent }, socket }: Task,
  env: NodeJS.ProcessEnv,
  now: () => number,
): Promise<Proxy> {
  const config = await parseConfig(text, file, { env });
  let reportedAt = -Infinity;
  return startProxy(config, {
    log: createLog(config.log.level),
    now,
    env,
    ticketMaterial,
    adapt: transparent ? acceptingRedirected : undefined,
    worker: {
      socket,
      pages,
      config: (event) => void send({ kind: 'config', event }),
      used() {
        const time = now();
        if (Math.abs(time - reportedAt) < usedEvery) return;
        reportedAt = time;
        void send({ kind: 'used' });
      },
      showBody: (id, body) => void send({ kind: 'body', id, body }),
    },
  });
}

/** Resolves when the message is sent or the supervisor has ended. */
function send(message: ToSupervisor, socket?: SocketHandle): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, socket as never, {}, () => resolve());
    else resolve();
  });
}

/** Closes the channels, which keep the process alive. */
function leave(exit: number): number {
  process.stdin.destroy();
  if (process.connected) process.disconnect?.();
  return exit;
}
