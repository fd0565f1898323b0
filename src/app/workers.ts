import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import type { AuditEvent, AuditLog } from '../domain/event.ts';
import { ticketMaterialBytes } from '../ca/leaf-cache.ts';
import type { Config } from '../config/config.ts';
import { textOf } from '../config/load.ts';
import { machineFilesOf } from '../config/store-place.ts';
import { refuseOn } from '../proxy/http/problem.ts';
import { errorPhrase, SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type Timers, within } from '../lib/timers.ts';
import { addCounts, type Figure } from '../proxy/telemetry/figures.ts';
import type { Listener } from '../proxy/listener.ts';
import { removeRunning, runFileOf, writeRunning } from '../store/run-file.ts';
import { type ListeningSocket, openListeningSocket, type Pages, type SocketHandle } from './worker-ipc.ts';
import { endText, startWorker, type WorkerEnd, type WorkerProcess } from './worker-process.ts';

/**
 * The supervisor of several processes that serve one port. It binds the socket and starts the workers, which
 * accept connections from it (decision 26). It also runs the tasks that all workers share: events, approval
 * pages, scheduled refreshes, audit upkeep. It reads no request, so little in it can fail. While no worker
 * serves, it refuses connections.
 */

interface SupervisorParts {
  readonly count: number;
  readonly env: NodeJS.ProcessEnv;
  /** The socket that a service manager passed; null: the supervisor binds one. */
  readonly passed: ListeningSocket | null;
  readonly log: Log;
  readonly now: () => number;
  readonly timers: Timers;
}

/** Parts that the composition root gives the supervisor. */
interface Supervised {
  /** Config in force. */
  readonly config: () => Config;
  readonly pages: Pages;
  readonly audit: Pick<AuditLog, 'note'>;
  readonly configEvents: Pick<ConfigEvents, 'ofWorker'>;
  /** Called when a request of any worker got a credential. */
  readonly used: () => void;
  /** Receives the body of a request of any worker that waits for a person. */
  readonly showBody: (id: string, body: string | null) => void;
}

/** The workers, as the supervisor sees them. */
export interface Supervisor {
  /** Number of workers. */
  readonly count: number;
  /** Listener of the proxy: `listen` makes the workers serve. */
  listener(supervised: Supervised): Listener;
  /** Returns the figures of each worker, and those of the workers that have ended. */
  figures(): Promise<readonly (readonly Figure[])[]>;
  reload(): void;
  /** Rejects when no worker serves and none can be started. */
  readonly failed: Promise<never>;
  /** Kills the workers, and removes the file that lists them. */
  kill(): void;
}

/** Milliseconds beyond `limits.drain` after which a worker is killed. */
const exitGraceMs = 10_000;

/** Milliseconds that a worker has to send its figures. If it is late, its last figures count. */
const figuresTimeoutMs = 2_000;

/** Milliseconds that connections wait for a starting worker while none serves. */
const startGraceMs = 10_000;

/** Starts the workers at once. They load the program, and wait for `listener().listen`. */
export function startSupervisor(parts: SupervisorParts): Supervisor {
  const { log, now, timers } = parts;
  const workers = new Set<WorkerProcess>();
  const replacement = createReplacement();
  const failed = Promise.withResolvers<never>();
  const ticketMaterial = randomBytes(ticketMaterialBytes);
  /** Functions that cancel delayed starts. */
  const waiting = new Set<() => void>();
  let supervised: Supervised | null = null;
  let socket: ListeningSocket | null = null;
  let closing: Promise<void> | undefined;
  let failedStarts = 0;
  /** Last counts of ended workers: a counter must not fall. */
  let former: readonly Figure[] = [];
  /** Second handle of the socket, returned by a worker. The server of a stand-in closes its own handle. */
  let spare: SocketHandle | null = null;
  let standIn: StandIn | null = null;
  let cancelGrace: (() => void) | null = null;
  /** File that lists the serving workers; null: they do not serve yet. */
  let runFile: string | null = null;
  /** Workers that ended before they served, while `listen` waits for the others. */
  const endedEarly: (readonly [WorkerProcess, WorkerEnd])[] = [];

  function start(): void {
    const worker = startWorker(parts.env, now, {
      config: (event) => supervised?.configEvents.ofWorker(event),
      used: () => supervised?.used(),
      body: (id, body) => supervised?.showBody(id, body),
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

  /** Sends a worker its task once the task is known. */
  function serve(worker: WorkerProcess): void {
    if (supervised === null || socket === null) return;
    const config = supervised.config();
    const { pages } = supervised;
    const transparent = config.proxy.transparent !== null;
    worker.send(
      { kind: 'serve', file: config.file, text: textOf(config) ?? '', pages, ticketMaterial, transparent },
      socket.handle,
    );
  }

  function ended(worker: WorkerProcess, how: WorkerEnd): void {
    workers.delete(worker);
    former = addCounts(former, worker.lastFigures);
    if (closing !== undefined) return;
    replace(worker, how);
    tell();
  }

  function replace(worker: WorkerProcess, how: WorkerEnd): void {
    // A successor already runs.
    if (worker.isLeaving) return;
    if (runFile === null && worker.servesSince === null) {
      endedEarly.push([worker, how]);
      return;
    }
    const servedMs = worker.servesSince === null ? 0 : Math.max(0, now() - worker.servesSince);
    const what = worker.servesSince === null ? 'before it served' : `after ${Math.round(servedMs / 1_000)} s`;
    const reason = `worker ${worker.pid} ended ${what}: ${endText(how)}`;
    supervised?.audit.note({ event: 'worker.crashed', reason });
    failedStarts += worker.servesSince === null ? 1 : 0;
    if (failedStarts >= maxFailedStarts && pids().length === 0) {
      void worker.ready.catch((error: unknown) => failed.reject(error));
      return;
    }
    const ms = replacement.ended(servedMs, pids().length > 0);
    const { problem } = how;
    log.error({ worker: worker.pid, end: endText(how), problem, replaced_in_ms: ms }, 'a worker has crashed');
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

  /** Refuses connections while no worker serves and none is starting, or a start takes too long. */
  function updateStandIn(): void {
    if (closing !== undefined) return;
    const isStarting = [...workers].some(({ servesSince }) => servesSince === null);
    if (pids().length > 0) endStandIn();
    else if (isStarting) cancelGrace ??= timers.after(startGraceMs, beginStandIn);
    else beginStandIn();
  }

  function beginStandIn(): void {
    if (standIn !== null || spare === null) return;
    standIn = startStandIn(spare, maxDelayAloneMs);
    spare = null;
  }

  function endStandIn(): void {
    cancelGrace?.();
    cancelGrace = null;
    standIn?.close();
    standIn = null;
  }

  function pids(): number[] {
    return [...workers]
      .filter(({ servesSince, isLeaving }) => servesSince !== null && !isLeaving)
      .map(({ pid }) => pid);
  }

  function tell(): void {
    if (runFile === null) return;
    try {
      writeRunning(runFile, { pid: process.pid, workers: pids() });
    } catch (error) {
      log.warn(
        { file: runFile, problem: errorPhrase(error) },
        'which workers run could not be written for "sidekey status"',
      );
    }
    updateStandIn();
  }

  async function close(drainMs: number): Promise<void> {
    for (const cancel of waiting) cancel();
    endStandIn();
    spare?.close();
    socket?.close();
    const gone = Promise.all(Array.from(workers, (worker) => worker.ended));
    for (const worker of workers) worker.send({ kind: 'stop' });
    if ((await within(timers, gone, drainMs + exitGraceMs)) !== 'late') return;
    killAll();
    await gone;
  }

  function killAll(): void {
    for (const worker of workers) worker.kill();
  }

  failed.promise.catch(() => {});
  for (let i = 0; i < parts.count; i += 1) start();

  return {
    count: parts.count,
    listener: (given) => ({
      async listen(host, port) {
        supervised = given;
        socket = parts.passed ?? (await openListeningSocket(host, port));
        const first = [...workers];
        for (const worker of first) serve(worker);
        await Promise.allSettled(first.map(({ ready }) => ready));
        // One that serves shows that a start is possible: the others crashed, and are replaced.
        const all = [...first, ...endedEarly.map(([worker]) => worker)];
        if (pids().length === 0) await Promise.all(all.map(({ ready }) => ready));
        runFile = runFileOf(machineFilesOf(given.config()), socket.address.port);
        for (const [worker, how] of endedEarly.splice(0)) replace(worker, how);
        tell();
        return socket.address;
      },
      // Each worker follows the config and tracks its exchanges itself.
      recheck() {},
      accepts: () => closing === undefined && pids().length > 0,
      async underWay() {},
      close: (drainMs) => (closing ??= close(drainMs)),
    }),
    async figures() {
      const serving = [...workers].filter(({ servesSince }) => servesSince !== null);
      await Promise.all(serving.map((worker) => within(timers, worker.read(), figuresTimeoutMs)));
      return [former, ...serving.map(({ lastFigures }) => lastFigures)];
    },
    reload() {
      for (const worker of workers) worker.send({ kind: 'reload' });
    },
    failed: failed.promise,
    kill() {
      killAll();
      if (runFile !== null) removeRunning(runFile);
    },
  };
}

/** Events of the config file. Several processes report each, and the audit log records it once. */
export interface ConfigEvents {
  /** Records an event of this process. */
  readonly own: (event: AuditEvent) => void;
  /** Records an event of a worker, which may report it before or after this process. */
  readonly ofWorker: (event: AuditEvent) => void;
}

/** Records each event that differs from the last, even if only one worker had that config in force. */
export function createConfigEvents(audit: Pick<AuditLog, 'note'>): ConfigEvents {
  let last: AuditEvent | null = null;
  /** The last event came from a worker, and this process has not reported it yet. */
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

/** Milliseconds of serving after which a worker counts as healthy. */
const healthyMs = 10_000;
const minDelayMs = 250;
const maxDelayMs = 30_000;

/** Maximum delay while no other worker serves. */
const maxDelayAloneMs = 2_000;

/** Consecutive workers that ended before they served. With no other worker left, the supervisor gives up. */
const maxFailedStarts = 5;

/**
 * Returns the back-off of replacements, by the number of workers in a row that ended soon after their start.
 * Replaces the first worker at once; each further one doubles the delay, until a worker stays healthy.
 */
export function createReplacement() {
  let inRow = 0;
  return {
    /** Returns the delay of the next start in milliseconds. */
    ended: (servedMs: number, othersServe: boolean): number => {
      inRow = servedMs >= healthyMs ? 1 : inRow + 1;
      const max = othersServe ? maxDelayMs : maxDelayAloneMs;
      return inRow === 1 ? 0 : Math.min(max, minDelayMs * 2 ** (inRow - 2));
    },
  };
}

/** Maximum concurrent connections of a stand-in. Further ones are closed. */
const maxAnswered = 256;

/** Server that refuses connections while no worker serves; in the accept queue they would hang. */
interface StandIn {
  /** Closes the server and its handle. Queued connections remain for the other handles of the socket. */
  close(): void;
}

/** @param retryAfterMs milliseconds until a worker may serve again */
function startStandIn(handle: SocketHandle, retryAfterMs: number): StandIn {
  const refused = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (refused.size >= maxAnswered) {
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
