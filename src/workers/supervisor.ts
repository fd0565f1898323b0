/**
 * Several processes serve on one port: this one has the socket and starts the others, which take connections from it
 * (decision 26). What happens once for the whole happens here: events, pages, refreshes ahead of time, the upkeep of
 * the audit log. It never reads a request, so that there is little in it that could fail; while no worker serves it refuses
 * connections.
 */
import { randomBytes } from 'node:crypto';
import type { AuditLog } from '../audit/event.ts';
import { ticketMaterialBytes } from '../ca/ticket-keys.ts';
import type { Config } from '../config/config.ts';
import { textOf } from '../config/load.ts';
import { within, type Timers } from '../grants/timers.ts';
import type { Log } from '../log.ts';
import type { Listener } from '../proxy/listener.ts';
import type { ConfigEvents } from './config-events.ts';
import { openListeningSocket, type ListeningSocket, type SocketHandle } from './listening-socket.ts';
import type { Pages } from './message.ts';
import { createReplacement, longestAloneMs, mostFailedStarts } from './replacement.ts';
import { startStandIn, type StandIn } from './stand-in.ts';
import { endText, startWorker, type WorkerEnd, type WorkerProcess } from './worker-process.ts';

/** What a supervisor is made of. */
export interface SupervisorParts {
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
export interface Supervised {
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
