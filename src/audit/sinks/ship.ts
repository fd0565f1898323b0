/**
 * Ships the log to one sink. The file is the only buffer: lines are read from a remembered place, delivered, and only then
 * is the place moved on. So a sink that is slow, dead or restarted costs no line and holds up nobody, and a line may be
 * delivered twice. Memory: one batch.
 */
import { tryLock, type FileLock } from '../file-lock.ts';
import { endOfLog, readOn, startOfLog, type ReadOn } from '../read-on.ts';
import { readSinkState, sinkStateFile, writeSinkState, type SinkState } from './sink-state.ts';
import { SinkFailure, type Sink } from './sink.ts';

/** Runs `run` once, `ms` milliseconds from now, unless the function it answers with is called before. */
export interface SinkTimers {
  after(ms: number, run: () => void): () => void;
}

/** What shipping works with. */
export interface ShipOptions {
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

  async function deliver({ lines, from }: ReadOn): Promise<void> {
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
    let read: ReadOn;
    try {
      read = await readOn(file, before.position, { lines: batchLines, bytes: batchBytes }, now());
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
      while ((lock = tryLock(`${sinkStateFile(file, name)}.lock`)) === undefined) {
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
