import { type ChildProcess, fork } from 'node:child_process';
import { door } from '../lib/package-files.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Figure } from '../proxy/telemetry/figures.ts';
import type { SocketHandle, ToSupervisor, ToWorker } from './worker-ipc.ts';

/** A worker, as the supervisor sees it. */
export interface WorkerProcess {
  readonly pid: number;
  /** Milliseconds since the epoch at which it began to serve; null: not yet. */
  readonly servesSince: number | null;
  /** True if the worker accepts no more connections and will end. */
  readonly isLeaving: boolean;
  /** Resolves when the worker serves; rejects if it fails or ends before that. */
  readonly ready: Promise<void>;
  /** Resolves when the worker has ended. Never rejects. */
  readonly ended: Promise<WorkerEnd>;
  readonly lastFigures: readonly Figure[];
  /** Reads the figures. Resolves when they arrive or the worker has ended. */
  read(): Promise<void>;
  /** Sends a message. Drops it if the worker has ended. */
  send(message: ToWorker, socket?: SocketHandle): void;
  kill(): void;
}

export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Message of the error that the worker reported before it ended. */
  readonly problem: string | undefined;
}

/** Messages of a worker besides its start and its end. */
interface WorkerNews {
  config(event: Extract<ToSupervisor, { kind: 'config' }>['event']): void;
  used(): void;
  body(id: string, body: string | null): void;
  /** The worker serves; the receiver closes `copy`, a handle of its socket. */
  serves(copy: SocketHandle): void;
  leaving(): void;
}

/**
 * Starts a worker in this process's folder, with its standard output and error. All data except `env` is in
 * messages, because other users can see arguments. Its standard input closes when this process ends.
 */
export function startWorker(env: NodeJS.ProcessEnv, now: () => number, news: WorkerNews): WorkerProcess {
  const child = fork(door, ['start', '--worker'], {
    env,
    stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<WorkerEnd>();
  let servesSince: number | null = null;
  let isLeaving = false;
  let problem: string | undefined;
  let lastFigures: readonly Figure[] = [];
  let reading = Promise.withResolvers<void>();

  function end(code: number | null, signal: NodeJS.Signals | null): void {
    const how = { code, signal, problem };
    ready.reject(new SidekeyError('internal', `A worker ended before it served (${endText(how)}).`));
    reading.resolve();
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
        problem = said.message;
        ready.reject(new SidekeyError(said.code, said.message, { hint: said.hint }));
        break;
      case 'config':
        news.config(said.event);
        break;
      case 'used':
        news.used();
        break;
      case 'body':
        news.body(said.id, said.body);
        break;
      case 'figures':
        lastFigures = said.figures;
        reading.resolve();
        break;
      case 'leaving':
        isLeaving = true;
        news.leaving();
        break;
    }
  });
  child.once('exit', end);
  child.on('error', () => {
    // The worker could not start. `exit` reports the end of a started one.
    if (child.pid === undefined) end(null, null);
  });
  // An unhandled rejection must not end the process.
  ready.promise.catch(() => {});
  return {
    pid: child.pid ?? 0,
    get servesSince() {
      return servesSince;
    },
    get isLeaving() {
      return isLeaving;
    },
    get lastFigures() {
      return lastFigures;
    },
    read() {
      reading.resolve();
      reading = Promise.withResolvers<void>();
      send(child, { kind: 'read' }, undefined);
      return reading.promise;
    },
    ready: ready.promise,
    ended: ended.promise,
    send: (message, socket) => send(child, message, socket),
    kill: () => void child.kill('SIGKILL'),
  };
}

function send(child: ChildProcess, message: ToWorker, socket: SocketHandle | undefined): void {
  if (!child.connected) return;
  // Node can send bare handles, but its types allow only servers and sockets.
  child.send(message, socket as never, undefined, () => {});
}

/** Describes an exit: `SIGKILL`, or `exit code 1`. */
export function endText({ code, signal }: WorkerEnd): string {
  return signal ?? (code === null ? 'it could not be started' : `exit code ${code}`);
}
