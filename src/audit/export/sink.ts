import fs from 'node:fs';
import type { Socket } from 'node:net';
import { z } from 'zod';
import type { AuditLine } from '../event.ts';
import { type FileLock, tryLockFile } from '../log-files.ts';
import {
  endOfLog,
  type LogPosition,
  type ReadLine,
  readLinesFrom,
  type LinesRead,
  startOfLog,
} from '../read.ts';

/** What lines of the audit log are shipped to, besides the file. */

/** Lines that are delivered together. */
export interface SinkBatch {
  readonly lines: readonly ReadLine[];
  /** The place of the first line in the log: the same whenever the same lines are sent again. */
  readonly id: string;
}

/** A way to deliver. It has no memory of its own: what was not delivered is read from the file again. */
export interface Sink {
  /**
   * Delivers all lines of the batch.
   * @throws SinkFailure, or whatever went wrong: then the batch comes again
   */
  deliver(batch: SinkBatch, signal: AbortSignal): Promise<void>;
  /** Closes what is open. */
  close(): void;
}

/** What kept a batch from being delivered. Its message is shown to people, so it holds no secret. */
export class SinkFailure extends Error {
  override readonly name = 'SinkFailure';
  /** How long to wait at least, in milliseconds, where the receiver said so (RFC 9110 §10.2.3). */
  readonly retryAfterMs: number | undefined;
  /** The batch is larger than the receiver takes. */
  readonly tooLarge: boolean;

  constructor(
    message: string,
    options: { retryAfterMs?: number | undefined; tooLarge?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.tooLarge = options.tooLarge ?? false;
  }
}

/** UDP to one address that was checked. */
export interface Datagrams {
  send(message: Uint8Array): Promise<void>;
  close(): void;
}

/** The ways out that sinks are handed; all of them but the last two go through the guard of addresses. */
export interface SinkTransports {
  readonly fetch: typeof fetch;
  readonly connect: (host: string, port: number, tls: boolean) => Promise<Socket>;
  readonly openDatagrams: (host: string, port: number) => Promise<Datagrams>;
  /** A stream socket of this machine, by its path. */
  readonly connectLocal: (path: string) => Promise<Socket>;
  /** Resolves when the text has left the process. */
  readonly writeStdout: (text: string) => Promise<void>;
}

/** How grave an event is: what was refused or failed is a warning, what says that the log was harmed an error. */
export function severityOf({ code, outcome }: AuditLine): 'info' | 'warning' | 'error' {
  if (code === 'audit_broken') return 'error';
  return code === undefined && outcome !== 'deny' && outcome !== 'failed' ? 'info' : 'warning';
}

/**
 * Ships the log to one sink. The file is the only buffer: lines are read from a remembered place, delivered, and only then
 * is the place moved on. So a sink that is slow, dead or restarted costs no line and holds up nobody, and a line may be
 * delivered twice. Memory: one batch.
 */

/** Runs `run` once, `ms` milliseconds from now, unless the function it answers with is called before. */
export interface SinkTimers {
  after(ms: number, run: () => void): () => void;
}

/** What shipping works with. */
interface ShipOptions {
  /** The path of the log. */
  readonly file: string;
  readonly name: string;
  readonly sink: Sink;
  readonly batchLines: number;
  /** Milliseconds since the epoch, of the same clock as the times of files. */
  readonly now: () => number;
  readonly timers: SinkTimers;
  readonly logger: {
    warn(details: object, message: string): void;
    info(details: object, message: string): void;
  };
  /** Between 0 and 1, for the spread of back-off. */
  readonly random: () => number;
}

/** A sink that is being shipped to. */
export interface Shipping {
  /** Records that the receiver took a batch without. */
  rejected(count: number): void;
  /** Delivers what is in the log now, for as long as `patienceMs`, and ends. What is left comes with the next start. */
  close(patienceMs: number): Promise<void>;
}

const batchBytes = 262_144;
/** Milliseconds between looks at the log. */
const lookEvery = 1_000;
/** Milliseconds between tries to take over from another process. */
const takeOverEvery = 5_000;
/** Milliseconds for one delivery. */
const deliveryTimeout = 30_000;
const shortestBackOff = 1_000;
const longestBackOff = 300_000;

/** Begins to ship: with what is written from now on where the sink is new, else where it left off. */
export function startShipping(options: ShipOptions): Shipping {
  const { file, name, sink, now, timers, logger } = options;
  const ending = new AbortController();
  const abandoned = new AbortController();
  let state: SinkState | undefined;
  let batchLines = options.batchLines;

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (ending.signal.aborted) {
        resolve();
        return;
      }
      const done = () => {
        cancel();
        ending.signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = timers.after(ms, done);
      ending.signal.addEventListener('abort', done, { once: true });
    });
  }

  function begin(): SinkState {
    const found = readSinkState(file, name);
    if (found !== null && found !== 'broken') return found;
    if (found === 'broken') {
      logger.warn(
        { sink: name },
        `${sinkStateFile(file, name)} cannot be read: all lines that are kept are delivered again.`,
      );
    }
    const position = found === null ? endOfLog(file) : startOfLog(file);
    return { position, delivered: 0, deliveredAt: null, skips: 0, rejected: 0, failing: null };
  }

  function keep(next: SinkState): SinkState {
    state = next;
    try {
      writeSinkState(file, name, next);
    } catch (error) {
      // On a full disk: after a restart some lines are delivered again.
      logger.warn({ sink: name, err: error }, 'how far a sink of the audit log is could not be written');
    }
    return next;
  }

  async function deliver({ lines, from }: LinesRead): Promise<void> {
    const late = new AbortController();
    const cancel = timers.after(deliveryTimeout, () => late.abort(new SinkFailure('it took too long')));
    const both = AbortSignal.any([abandoned.signal, late.signal]);
    const overdue = new Promise<never>((_, reject) => {
      const stop = () => reject(both.reason as Error);
      if (both.aborted) stop();
      else both.addEventListener('abort', stop, { once: true });
    });
    try {
      // The race ends also for a sink that does not listen to the signal.
      await Promise.race([sink.deliver({ lines, id: `${from.segment}-${from.offset}` }, both), overdue]);
    } finally {
      cancel();
    }
  }

  /** One batch. Answers how long to wait before the next, in milliseconds. */
  async function step(before: SinkState): Promise<number> {
    let read: LinesRead;
    try {
      read = await readLinesFrom(file, before.position, { lines: batchLines, bytes: batchBytes }, now());
    } catch (cause) {
      return failed(before, new SinkFailure('the log cannot be read', { cause }));
    }
    const skips = before.skips + (read.skipped ? 1 : 0);
    if (read.skipped)
      logger.warn({ sink: name }, 'lines were removed before a sink of the audit log had them');
    if (read.lines.length === 0) {
      const moved =
        read.next.segment !== before.position.segment || read.next.offset !== before.position.offset;
      if (moved || read.skipped) keep({ ...before, position: read.next, skips });
      return moved ? 0 : lookEvery;
    }
    try {
      await deliver(read);
    } catch (error) {
      return failed({ ...before, skips }, error);
    }
    if (before.failing !== null) logger.info({ sink: name }, 'a sink of the audit log takes lines again');
    batchLines = options.batchLines;
    const { rejected } = state ?? before;
    keep({
      position: read.next,
      delivered: before.delivered + read.lines.length,
      deliveredAt: now(),
      skips,
      rejected,
      failing: null,
    });
    return 0;
  }

  function failed(before: SinkState, error: unknown): number {
    const { since = now(), attempts = 0 } = before.failing ?? {};
    const reason = error instanceof Error ? error.message : 'unknown';
    if (before.failing === null) {
      logger.warn({ sink: name, reason }, 'a sink of the audit log takes no lines; they wait in the file');
    }
    keep({ ...before, failing: { since, attempts: attempts + 1, reason } });
    if (error instanceof SinkFailure && error.tooLarge && batchLines > 1) {
      batchLines = Math.ceil(batchLines / 2);
      return 0;
    }
    const wait = Math.min(longestBackOff, shortestBackOff * 2 ** Math.min(attempts, 20));
    const spread = wait * (0.5 + options.random() / 2);
    return Math.max(spread, (error instanceof SinkFailure ? error.retryAfterMs : undefined) ?? 0);
  }

  async function run(): Promise<void> {
    // Beginning is at once: what is written from now on is delivered, whoever holds the lock.
    if (readSinkState(file, name) === null) keep(begin());
    let lock: FileLock | undefined;
    try {
      while ((lock = tryLockFile(`${sinkStateFile(file, name)}.lock`)) === undefined) {
        await pause(takeOverEvery);
        if (ending.signal.aborted) return;
      }
      state = begin();
      for (;;) {
        const isLast = ending.signal.aborted;
        const wait = await step(state);
        if (abandoned.signal.aborted || (isLast && wait > 0)) return;
        if (wait > 0) await pause(wait);
      }
    } finally {
      lock?.release();
      sink.close();
    }
  }

  const running = run().catch((error: unknown) => {
    logger.warn({ sink: name, err: error }, 'a sink of the audit log has stopped');
  });

  return {
    rejected(count) {
      if (state !== undefined) keep({ ...state, rejected: state.rejected + count });
      logger.warn({ sink: name, count }, 'a receiver of the audit log rejected lines for good');
    },
    async close(patienceMs) {
      ending.abort();
      const cancel = timers.after(patienceMs, () => abandoned.abort(new SinkFailure('the process ends')));
      await running;
      cancel();
    },
  };
}

/** A sink for who collects what processes write (containers, systemd): the lines as they stand in the file. */

/** A sink that writes to standard output. A reader that does not read holds up this sink alone. */
export function stdoutSink(transports: () => Pick<SinkTransports, 'writeStdout'>): Sink {
  return {
    deliver: ({ lines }) => transports().writeStdout(lines.map(({ text }) => `${text}\n`).join('')),
    close() {},
  };
}

/** What is remembered of a sink, beside the log in `<file>.sink-NAME`: how far it is, and how it fares. */

/** What is remembered. */
export interface SinkState {
  readonly position: LogPosition;
  /** Lines delivered, since the sink is there. */
  readonly delivered: number;
  /** When the last were: milliseconds since the epoch; null: none yet. */
  readonly deliveredAt: number | null;
  /** How often lines could not be given any more: retention had removed them, or their packed file was damaged. */
  readonly skips: number;
  /** Records that a receiver took a batch without. */
  readonly rejected: number;
  /** Since when nothing was delivered, and why; null: all is well. */
  readonly failing: { readonly since: number; readonly attempts: number; readonly reason: string } | null;
}

/** The path of the state of a sink. */
export function sinkStateFile(file: string, name: string): string {
  return `${file}.sink-${name}`;
}

const count = z.int().min(0);
const shape = z.object({
  position: z.object({ segment: count, offset: count }),
  delivered: count,
  deliveredAt: z.number().nullable(),
  skips: count,
  rejected: count,
  failing: z.object({ since: z.number(), attempts: count, reason: z.string() }).nullable(),
});

/** Reads it; null where there is none, `broken` where it cannot be read. */
export function readSinkState(file: string, name: string): SinkState | 'broken' | null {
  let text: string;
  try {
    text = fs.readFileSync(sinkStateFile(file, name), 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : 'broken';
  }
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    return 'broken';
  }
}

/** Puts it in the place of the one before. Not synced: after a power cut some lines are delivered again. */
function writeSinkState(file: string, name: string, state: SinkState): void {
  const target = sinkStateFile(file, name);
  fs.writeFileSync(`${target}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  fs.renameSync(`${target}.new`, target);
}
