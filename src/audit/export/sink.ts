import fs from 'node:fs';
import type { Socket } from 'node:net';
import { z } from 'zod';
import { isSystemError } from '../../lib/errors.ts';
import { pause, type Timers, unlessAborted } from '../../lib/timers.ts';
import type { AuditLine } from '../../domain/event.ts';
import { joinExchanges } from '../join.ts';
import { formatLine } from '../line.ts';
import { type FileLock, tryLockFile } from '../log-files.ts';
import {
  endOfLog,
  type LogPosition,
  type ReadLine,
  readLinesFrom,
  readLinesBefore,
  type LinesRead,
  startOfLog,
} from '../position.ts';

/** Lines that are delivered together. */
export interface SinkBatch {
  readonly lines: readonly ReadLine[];
  /** Position of the first line in the log, which does not change if the lines are sent again. */
  readonly id: string;
}

/** A receiver of lines without a buffer: undelivered lines are read from the file again. */
export interface Sink {
  /**
   * Delivers all lines of the batch.
   * @throws SinkFailure or another error; the batch is then delivered again
   */
  deliver(batch: SinkBatch, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Reason why a batch was not delivered. People see the message, so it contains no secret. */
export class SinkFailure extends Error {
  override readonly name = 'SinkFailure';
  /** Minimum milliseconds to wait, if the receiver sent `Retry-After` (RFC 9110 §10.2.3). */
  readonly retryAfterMs: number | undefined;
  /** True if the receiver refused the batch for its size. */
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

/** A UDP socket for one address. */
export interface Datagrams {
  send(message: Uint8Array): Promise<void>;
  close(): void;
}

/** The transports of sinks. The address guard applies to all except the last two. */
export interface SinkTransports {
  readonly fetch: typeof fetch;
  readonly connect: (host: string, port: number, tls: boolean) => Promise<Socket>;
  readonly openDatagrams: (host: string, port: number) => Promise<Datagrams>;
  /** Connects to a Unix-domain socket. */
  readonly connectLocal: (path: string) => Promise<Socket>;
  /** Resolves when the text is written. */
  readonly writeStdout: (text: string) => Promise<void>;
}

/** Returns the severity of an event: refusals and failures are warnings, damage of the log is an error. */
export function severityOf({ code, outcome }: AuditLine): 'info' | 'warning' | 'error' {
  if (code === 'audit_broken') return 'error';
  return code === undefined && outcome !== 'deny' && outcome !== 'failed' ? 'info' : 'warning';
}

interface ShipOptions {
  /** The path of the log. */
  readonly file: string;
  readonly name: string;
  readonly sink: Sink;
  readonly batchLines: number;
  /** Milliseconds since the epoch, of the same clock as the times of files. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly logger: {
    warn(details: object, message: string): void;
    info(details: object, message: string): void;
  };
  /** Returns a number between 0 and 1, for the jitter of back-off. */
  readonly random: () => number;
}

export type Shipping = ReturnType<typeof startShipping>;

const batchBytes = 262_144;
/** Bytes before the first line that are searched for accesses. */
const lookBackBytes = 1_048_576;
/** Milliseconds between checks of the log. */
const checkEvery = 1_000;
/** Milliseconds between attempts to take over from another process. */
const takeOverEvery = 5_000;
/** Timeout of one delivery in milliseconds. */
const deliveryTimeout = 30_000;
const shortestBackOff = 1_000;
const longestBackOff = 300_000;

/**
 * Ships the log to one sink. A new sink gets the lines from now on; any other continues at its position. The
 * file is the only buffer: a batch is read at the position and delivered, and only then the position
 * advances. A slow, dead or restarted sink loses no line and delays nobody, and may get a line twice.
 */
export function startShipping(options: ShipOptions) {
  const { file, name, sink, now, timers, logger } = options;
  const ending = new AbortController();
  const abandoned = new AbortController();
  let state: SinkState | undefined;
  let batchLines = options.batchLines;
  let join: ReturnType<typeof joinExchanges> | undefined;

  function begin(): SinkState {
    const state = readSinkState(file, name);
    if (state !== null && state !== 'broken') return state;
    if (state === 'broken') {
      logger.warn(
        { sink: name },
        `${sinkStateFile(file, name)} cannot be read: all lines that are kept are delivered again.`,
      );
    }
    const position = state === null ? endOfLog(file) : startOfLog(file);
    return { position, delivered: 0, deliveredAt: null, skips: 0, rejected: 0, failing: null };
  }

  function keep(next: SinkState): SinkState {
    state = next;
    try {
      writeSinkState(file, name, next);
    } catch (error) {
      // Usually the disk is full. After a restart some lines are delivered again.
      logger.warn({ sink: name, err: error }, 'how far a sink of the audit log is could not be written');
    }
    return next;
  }

  /** Adds the fields of its access, which may have been delivered long ago, to the end of an exchange. */
  async function joined(read: LinesRead): Promise<LinesRead> {
    if (join === undefined) {
      join = joinExchanges();
      for (const line of await readLinesBefore(file, read.from, lookBackBytes)) join(line);
    }
    const withAccess = join;
    const lines = read.lines.map((each) => {
      const line = withAccess(each.line);
      return line === each.line ? each : { line, text: formatLine(line) };
    });
    return { ...read, lines };
  }

  async function deliver({ lines, from }: LinesRead): Promise<void> {
    const late = new AbortController();
    const cancel = timers.after(deliveryTimeout, () => late.abort(new SinkFailure('it took too long')));
    const both = AbortSignal.any([abandoned.signal, late.signal]);
    try {
      // Also ends the wait for a sink that ignores the signal.
      await unlessAborted(sink.deliver({ lines, id: `${from.segment}-${from.offset}` }, both), both);
    } finally {
      cancel();
    }
  }

  /** Delivers one batch. Returns the milliseconds to wait before the next one. */
  async function step(before: SinkState): Promise<number> {
    let read: LinesRead;
    try {
      read = await joined(
        await readLinesFrom(file, before.position, { lines: batchLines, bytes: batchBytes }, now()),
      );
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
      return moved ? 0 : checkEvery;
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
    if (before.failing === null)
      logger.warn({ sink: name, reason }, 'a sink of the audit log takes no lines; they wait in the file');
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
    // Written at once, so that any process that later holds the lock delivers all lines from now on.
    if (readSinkState(file, name) === null) keep(begin());
    let lock: FileLock | undefined;
    try {
      while ((lock = tryLockFile(`${sinkStateFile(file, name)}.lock`)) === undefined) {
        await pause(timers, takeOverEvery, ending.signal);
        if (ending.signal.aborted) return;
      }
      state = begin();
      for (;;) {
        const isLast = ending.signal.aborted;
        const wait = await step(state);
        if (abandoned.signal.aborted || (isLast && wait > 0)) return;
        if (wait > 0) await pause(timers, wait, ending.signal);
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
    /** Counts records that the receiver rejected permanently. */
    rejected(count: number): void {
      if (state !== undefined) keep({ ...state, rejected: state.rejected + count });
      logger.warn({ sink: name, count }, 'a receiver of the audit log rejected lines for good');
    },
    /** Delivers the current lines within `patienceMs`, and ends. The next start delivers the rest. */
    async close(patienceMs: number): Promise<void> {
      ending.abort();
      const cancel = timers.after(patienceMs, () => abandoned.abort(new SinkFailure('the process ends')));
      await running;
      cancel();
    },
  };
}

/** Creates a sink for standard output, for containers and systemd. A slow reader delays only this sink. */
export function stdoutSink(transports: () => Pick<SinkTransports, 'writeStdout'>): Sink {
  return {
    deliver: ({ lines }) => transports().writeStdout(lines.map(({ text }) => `${text}\n`).join('')),
    close() {},
  };
}

/** The state of a sink, kept beside the log in `<file>.sink-NAME`. */
export interface SinkState {
  readonly position: LogPosition;
  /** Total number of delivered lines. */
  readonly delivered: number;
  /** Time of the last delivery: milliseconds since the epoch; null: none yet. */
  readonly deliveredAt: number | null;
  /** Number of times that lines were skipped: removed by retention, or in a damaged packed file. */
  readonly skips: number;
  /** Number of records that the receiver rejected while it accepted the rest of the batch. */
  readonly rejected: number;
  /** Time and reason of the first failure since the last delivery; null if the last attempt succeeded. */
  readonly failing: { readonly since: number; readonly attempts: number; readonly reason: string } | null;
}

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

/** Reads the state; null if there is none, `broken` if it cannot be read. */
export function readSinkState(file: string, name: string): SinkState | 'broken' | null {
  let text: string;
  try {
    text = fs.readFileSync(sinkStateFile(file, name), 'utf8');
  } catch (error) {
    return isSystemError(error, 'ENOENT') ? null : 'broken';
  }
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    return 'broken';
  }
}

/** Replaces the state without a sync: after a power cut, some lines are delivered again. */
function writeSinkState(file: string, name: string, state: SinkState): void {
  const target = sinkStateFile(file, name);
  fs.writeFileSync(`${target}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  fs.renameSync(`${target}.new`, target);
}
