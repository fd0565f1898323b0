import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import type { AuditEvent, AuditLog } from '../audit/event.ts';
import { ticketMaterialBytes } from '../ca/leaf-cache.ts';
import type { Config } from '../config/config.ts';
import { textOf } from '../config/load.ts';
import { door } from '../config/locate.ts';
import { refuseOn } from '../http/server/raw-reply.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type Timers, within } from '../lib/timers.ts';
import type { Listener } from '../proxy/listener.ts';
import {
  type ListeningSocket,
  openListeningSocket,
  type Pages,
  type SocketHandle,
  type ToSupervisor,
  type ToWorker,
} from './worker-ipc.ts';

/**
 * Several processes serve on one port: this one has the socket and starts the others, which take connections from it
 * (decision 26). What happens once for the whole happens here: events, pages, refreshes ahead of time, the upkeep of
 * the audit log. It never reads a request, so that there is little in it that could fail; while no worker serves it refuses
 * connections.
 */

/** What a supervisor is made of. */
interface SupervisorParts {
  /** How many workers. */
  readonly count: number;
  /** The environment of the workers. */
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  /** Hears which workers serve, whenever that changes. */
  readonly onChange: (pids: readonly number[]) => void;
}

/** What the composition root gives it, and does in its stead. */
interface Supervised {
  /** What is in force at that moment. */
  readonly config: () => Config;
  readonly pages: Pages;
  readonly audit: Pick<AuditLog, 'note'>;
  readonly configEvents: Pick<ConfigEvents, 'ofWorker'>;
  /** A request of some worker got a credential. */
  readonly used: () => void;
}

/** The workers, seen from the process that started them. */
export interface Supervisor {
  /** The front of the proxy: to listen is to let the workers serve. */
  listener(supervised: Supervised): Listener;
  /** Has all of them read the config anew. */
  reload(): void;
  /** Rejects when nothing serves any more and nothing can be started that does. */
  readonly failed: Promise<never>;
  /** Ends all at once. */
  kill(): void;
}

/** Milliseconds beyond `limits.drain` that a worker has to end by itself. */
const lastPatience = 10_000;

/** Milliseconds that connections wait in the queue for a worker that is being started, where none serves. */
const startPatience = 10_000;

/** Starts the workers at once, so that they are there when the rest is: they wait for `listener().listen`. */
export function startSupervisor(parts: SupervisorParts): Supervisor {
  const { log, now, timers } = parts;
  const workers = new Set<WorkerProcess>();
  const replacement = createReplacement();
  const failed = Promise.withResolvers<never>();
  const ticketMaterial = randomBytes(ticketMaterialBytes);
  /** What cancels the starts that wait. */
  const waiting = new Set<() => void>();
  let supervised: Supervised | null = null;
  let socket: ListeningSocket | null = null;
  let begun = false;
  let closing: Promise<void> | undefined;
  let failedStarts = 0;
  /** A second handle of the socket, which a worker has sent back: the server of a stand-in closes the one that it has. */
  let spare: SocketHandle | null = null;
  let standIn: StandIn | null = null;
  let stopPatience: (() => void) | null = null;

  function start(): void {
    const worker = startWorker(parts.env, now, {
      config: (event) => supervised?.configEvents.ofWorker(event),
      used: () => supervised?.used(),
      serves(copy) {
        if (spare === null && closing === undefined) spare = copy;
        else copy.close();
      },
      leaving: () => {
        if (closing === undefined) start();
      },
    });
    workers.add(worker);
    worker.ready.then(
      () => {
        failedStarts = 0;
        tell();
      },
      () => {},
    );
    void worker.ended.then((how) => ended(worker, how));
    serve(worker);
  }

  /** Tells it what to do, where that is known. */
  function serve(worker: WorkerProcess): void {
    if (supervised === null || socket === null) return;
    const config = supervised.config();
    const { pages } = supervised;
    worker.send(
      { kind: 'serve', file: config.file, text: textOf(config) ?? '', pages, ticketMaterial },
      socket.handle,
    );
  }

  function ended(worker: WorkerProcess, how: WorkerEnd): void {
    workers.delete(worker);
    if (closing !== undefined) return;
    replace(worker, how);
    tell();
  }

  function replace(worker: WorkerProcess, how: WorkerEnd): void {
    // Then another is there already, or whoever waits for the beginning hears of it.
    if (worker.isLeaving || (!begun && worker.servesSince === null)) return;
    const servedMs = worker.servesSince === null ? 0 : Math.max(0, now() - worker.servesSince);
    const what = worker.servesSince === null ? 'before it served' : `after ${Math.round(servedMs / 1_000)} s`;
    const reason = `worker ${worker.pid} ended ${what}: ${endText(how)}`;
    supervised?.audit.note({ event: 'worker.crashed', reason });
    failedStarts += worker.servesSince === null ? 1 : 0;
    if (failedStarts >= mostFailedStarts && pids().length === 0) {
      void worker.ready.catch((error: unknown) => failed.reject(error));
      return;
    }
    const ms = replacement.ended(servedMs, pids().length > 0);
    log.error({ worker: worker.pid, end: endText(how), replaced_in_ms: ms }, 'a worker has crashed');
    if (ms === 0) {
      start();
      return;
    }
    const cancel = timers.after(ms, () => {
      waiting.delete(cancel);
      start();
    });
    waiting.add(cancel);
  }

  /** Has connections refused while no worker serves and none is being started, or a start takes too long. */
  function lookWhoServes(): void {
    if (closing !== undefined) return;
    const isStarting = [...workers].some(({ servesSince }) => servesSince === null);
    if (pids().length > 0) endStandIn();
    else if (isStarting) stopPatience ??= timers.after(startPatience, beginStandIn);
    else beginStandIn();
  }

  function beginStandIn(): void {
    if (standIn !== null || spare === null) return;
    standIn = startStandIn(spare, longestAloneMs);
    spare = null;
  }

  function endStandIn(): void {
    stopPatience?.();
    stopPatience = null;
    standIn?.close();
    standIn = null;
  }

  function pids(): number[] {
    return [...workers]
      .filter(({ servesSince, isLeaving }) => servesSince !== null && !isLeaving)
      .map(({ pid }) => pid);
  }

  function tell(): void {
    if (!begun) return;
    parts.onChange(pids());
    lookWhoServes();
  }

  async function close(drainMs: number): Promise<void> {
    for (const cancel of waiting) cancel();
    endStandIn();
    spare?.close();
    socket?.close();
    const gone = Promise.all(Array.from(workers, (worker) => worker.ended));
    for (const worker of workers) worker.send({ kind: 'stop' });
    if ((await within(timers, gone, drainMs + lastPatience)) !== 'late') return;
    kill();
    await gone;
  }

  function kill(): void {
    for (const worker of workers) worker.kill();
  }

  failed.promise.catch(() => {});
  for (let i = 0; i < parts.count; i += 1) start();

  return {
    listener: (given) => ({
      async listen(host, port) {
        supervised = given;
        socket = await openListeningSocket(host, port);
        const first = [...workers];
        for (const worker of first) serve(worker);
        await Promise.all(first.map(({ ready }) => ready));
        begun = true;
        tell();
        return socket.address;
      },
      // Each worker follows the config by itself, and knows what it has under way.
      recheck() {},
      async underWay() {},
      close: (drainMs) => (closing ??= close(drainMs)),
    }),
    reload() {
      for (const worker of workers) worker.send({ kind: 'reload' });
    },
    failed: failed.promise,
    kill,
  };
}

/** Events of the config file, told by several processes that all follow it, and each on record once. */
export interface ConfigEvents {
  /** Of this process. */
  readonly own: (event: AuditEvent) => void;
  /** Of a worker, which may be earlier or later with the same news. */
  readonly ofWorker: (event: AuditEvent) => void;
}

/** A config that only one worker ever had in force is on record too: whatever differs from the last event is. */
export function createConfigEvents(audit: Pick<AuditLog, 'note'>): ConfigEvents {
  let last: AuditEvent | null = null;
  /** Whether the last was a worker's, and this process has not told the same yet. */
  let isAhead = false;
  const isLast = ({ event, reason }: AuditEvent) => event === last?.event && reason === last.reason;

  function tell(event: AuditEvent, ahead: boolean): void {
    [last, isAhead] = [event, ahead];
    audit.note(event);
  }

  return {
    own(event) {
      if (isAhead && isLast(event)) isAhead = false;
      else tell(event, false);
    },
    ofWorker(event) {
      if (!isLast(event)) tell(event, true);
    },
  };
}

/** When a worker that ended is replaced. */

/** A worker that served so long, in milliseconds, was well. */
const wellMs = 10_000;
const shortestMs = 250;
const longestMs = 30_000;

/** The longest wait while no other worker serves. */
const longestAloneMs = 2_000;

/** Ends in a row of workers that did not even begin, with nobody left who serves: then there is no use in going on. */
const mostFailedStarts = 5;

/** How the workers fare, as one number: ends in a row, each soon after its start. */
interface Replacement {
  /** A worker has ended; answers after how many milliseconds another is started. */
  readonly ended: (servedMs: number, othersServe: boolean) => number;
}

/** The first is replaced at once; then it takes twice as long each time, as long as none serves for a while. */
export function createReplacement(): Replacement {
  let inRow = 0;
  return {
    ended(servedMs, othersServe) {
      inRow = servedMs >= wellMs ? 1 : inRow + 1;
      const longest = othersServe ? longestMs : longestAloneMs;
      return inRow === 1 ? 0 : Math.min(longest, shortestMs * 2 ** (inRow - 2));
    },
  };
}

/** One worker, from its start to its end. */
interface WorkerProcess {
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
interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What is heard of a worker beside its beginning and its end. */
interface WorkerNews {
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
function startWorker(env: NodeJS.ProcessEnv, now: () => number, news: WorkerNews): WorkerProcess {
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
function endText({ code, signal }: WorkerEnd): string {
  return signal ?? (code === null ? 'it could not be started' : `exit code ${code}`);
}

/** Connections that are answered at once; those beyond are closed. */
const mostAnswered = 256;

/** Refuses connections while no worker serves: left in the queue of the system, they would wait without a word. */
interface StandIn {
  /** Closes the handle too. What waits in the queue stays there for whoever has another handle of the socket. */
  close(): void;
}

/** @param retryAfterMs when a worker may serve again */
function startStandIn(handle: SocketHandle, retryAfterMs: number): StandIn {
  const refused = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (refused.size >= mostAnswered) {
      socket.destroy();
      return;
    }
    refused.add(socket);
    socket.once('close', () => refused.delete(socket));
    refuseOn(
      socket,
      new SidekeyError('overloaded', 'The proxy does not serve: its workers end soon after they start.', {
        hint: 'try again in a few seconds; the log of Sidekey says how the workers ended',
        retryAfterMs,
      }),
    );
  });
  server.listen(handle);
  return { close: () => void server.close() };
}
