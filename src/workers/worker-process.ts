import { fork, type ChildProcess } from 'node:child_process';
import { door } from '../config/shipped.ts';
import { SidekeyError } from '../errors.ts';
import type { SocketHandle } from './listening-socket.ts';
import type { ToSupervisor, ToWorker } from './message.ts';

/** One worker, from its start to its end. */
export interface WorkerProcess {
  readonly pid: number;
  /** Milliseconds since the epoch: when it began to serve; null: it has not yet. */
  readonly servesSince: number | null;
  /** It takes no more connections, and will end. */
  readonly isLeaving: boolean;
  /** Resolves when it serves; rejects where it cannot: with what it said, or because it ended. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone. Never rejects. */
  readonly ended: Promise<WorkerEnd>;
  /** A message to one that is gone is lost. */
  send(message: ToWorker, socket?: SocketHandle): void;
  kill(): void;
}

/** How a worker ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What is heard of a worker beside its beginning and its end. */
export interface WorkerNews {
  config(event: Extract<ToSupervisor, { kind: 'config' }>['event']): void;
  used(): void;
  /** With a handle of the socket that it serves on, which is the listener's to close. */
  serves(copy: SocketHandle): void;
  leaving(): void;
}

/**
 * Starts one. It has this process's folder, standard output and error, and the environment that it is given; what else
 * it needs comes by messages, for others can see arguments.
 */
export function startWorker(env: NodeJS.ProcessEnv, now: () => number, news: WorkerNews): WorkerProcess {
  const child = fork(door, ['start', '--worker'], {
    env,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<WorkerEnd>();
  let servesSince: number | null = null;
  let isLeaving = false;

  function end(how: WorkerEnd): void {
    ready.reject(new SidekeyError('internal', `A worker ended before it served (${endText(how)}).`));
    ended.resolve(how);
  }

  child.on('message', (message, handle) => {
    const said = message as ToSupervisor;
    switch (said.kind) {
      case 'ready':
        servesSince = now();
        news.serves(handle as unknown as SocketHandle);
        ready.resolve();
        break;
      case 'failed':
        ready.reject(new SidekeyError(said.code, said.message, { hint: said.hint }));
        break;
      case 'config':
        news.config(said.event);
        break;
      case 'used':
        news.used();
        break;
      case 'leaving':
        isLeaving = true;
        news.leaving();
        break;
    }
  });
  child.once('exit', (code, signal) => end({ code, signal }));
  child.on('error', () => {
    // It was not even started; one that was has an exit of its own.
    if (child.pid === undefined) end({ code: null, signal: null });
  });
  // Whoever does not ask is not to be told by a crash.
  ready.promise.catch(() => {});
  return {
    pid: child.pid ?? 0,
    get servesSince() {
      return servesSince;
    },
    get isLeaving() {
      return isLeaving;
    },
    ready: ready.promise,
    ended: ended.promise,
    send: (message, socket) => send(child, message, socket),
    kill: () => void child.kill('SIGKILL'),
  };
}

function send(child: ChildProcess, message: ToWorker, socket: SocketHandle | undefined): void {
  if (!child.connected) return;
  // Node sends such a handle, and its types know only of servers and sockets.
  child.send(message, socket as never, undefined, () => {});
}

/** `SIGKILL`, or `exit code 1`. */
export function endText({ code, signal }: WorkerEnd): string {
  return signal ?? (code === null ? 'it could not be started' : `exit code ${code}`);
}
