import { SidekeyError } from '../lib/errors.ts';
import type { ChainWriter, TimedEvent } from './chain-writer.ts';
import type { AuditEvent, AuditLog } from '../domain/event.ts';

/*
 * Queues events for the log file. The events of one turn of the event loop are written with one call. `write`
 * writes at once if events are few; `note` waits some milliseconds for others. When `append` resolves, the
 * operating system has the line, so a crash of the process cannot lose it. With `fsync: interval`, a line is
 * durable within a second, and a power cut may lose the last second. With `fsync: always`, it is durable
 * before `append` resolves; events that arrive during a sync share the next write and sync.
 */

/** The logger that the log uses (pino implements it). It never gets the content of an event. */
export interface AuditLogger {
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

interface QueueParts {
  /** The path of the log, for messages. */
  readonly file: string;
  readonly writer: ChainWriter;
  /** Durability of a line: before `append` resolves, or within a second. */
  readonly fsync: () => 'always' | 'interval';
  /** Called after lines were written. */
  readonly onWritten: () => void;
  readonly now: () => number;
  readonly logger?: AuditLogger | undefined;
}

/** Writes events in batches. */
export interface EventQueue extends Pick<AuditLog, 'append' | 'write' | 'note'> {
  /** Links the chain to a new master key now instead of with the next event. */
  rekey(): void;
  /** Returns the error if the last events are not written or may not be durable; otherwise null. */
  failure(): Error | null;
  /** Stops accepting events and writes the queued ones; resolves with the number of unwritten ones. */
  end(): Promise<number>;
}

interface Pending extends TimedEvent {
  /** Settles the promise of the caller; undefined for a note. */
  readonly settle: { resolve(): void; reject(error: Error): void } | undefined;
}

/** Events that share a promise: all of them are written, or the promise rejects. */
class Turn {
  readonly #settled = Promise.withResolvers<void>();
  readonly promise = this.#settled.promise;
  /** Number of events that are not written yet. */
  left = 0;

  resolve(): void {
    this.left -= 1;
    if (this.left === 0) this.#settled.resolve();
  }

  reject(error: Error): void {
    this.#settled.reject(error);
  }
}

/** Milliseconds between syncs, and between attempts to write events that could not be written. */
const syncEvery = 1_000;
/** Notes kept while the log cannot be written. */
const maxNotes = 10_000;
/** Events written with one call. */
const maxBatch = 1_024;
/** Milliseconds after a turn with a single event in which `write` does not wait for others. */
const aloneFor = 5;
/** Milliseconds that a note waits for others to be written with it. No caller waits for a note. */
const noteDelay = 20;

export function createEventQueue({ file, writer, fsync, onWritten, now, logger }: QueueParts): EventQueue {
  let queue: Pending[] = [];
  let scheduled = false;
  /** Number of events of this turn, without notes. */
  let waitingCount = 0;
  /** Events of `write` in this turn. */
  let turn: Turn | undefined;
  let noteTimer: NodeJS.Timeout | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let unsynced = false;
  let failing = false;
  let lastFailure: Error | null = null;
  /** Reason why the last lines may not be durable. While it is set, no event is accepted. */
  let syncFault: Error | undefined;
  /** The sync that calls of `append` wait for (`fsync: always`); later events wait for the next one. */
  let committing: Promise<void> | undefined;
  /** `performance.now()` of the last write of a turn with one event. */
  let aloneAt = -Infinity;
  /** Receives the result of an event that is written at once. */
  const atOnce = {
    failure: undefined as Error | undefined,
    resolve() {
      atOnce.failure = undefined;
    },
    reject(error: Error) {
      atOnce.failure = error;
    },
  };

  function enqueue(pending: Pending): void {
    queue.push(pending);
    if (pending.settle !== undefined) waitingCount += 1;
    if (pending.settle === undefined && queue.length < maxBatch) {
      noteTimer ??= setTimeout(() => {
        noteTimer = undefined;
        flush();
      }, noteDelay).unref();
    } else if (!scheduled) {
      scheduled = true;
      setImmediate(() => {
        scheduled = false;
        aloneAt = waitingCount === 1 ? performance.now() : -Infinity;
        waitingCount = 0;
        turn = undefined;
        flush();
      });
    }
  }

  /** Reports whether the next event can be written at once, with the notes before it. */
  function isAlone(): boolean {
    if (scheduled || fsync() === 'always' || committing !== undefined) return false;
    return queue.length < maxBatch && performance.now() - aloneAt < aloneFor;
  }

  function flush(): void {
    if (queue.length === 0 || committing !== undefined) return;
    const waiting: Pending[] = [];
    try {
      if (syncFault !== undefined) throw syncFault;
      while (queue.length > 0) {
        const batch = queue.length > maxBatch ? queue.slice(0, maxBatch) : queue;
        const written = writer.write(batch);
        unsynced = true;
        onWritten();
        const done = written === queue.length ? queue : queue.slice(0, written);
        queue = written === queue.length ? [] : queue.slice(written);
        if (fsync() === 'always') waiting.push(...done.filter(({ settle }) => settle !== undefined));
        else for (const { settle } of done) settle?.resolve();
      }
      if (failing) logger?.warn({ file }, `The audit log ${file} can be written again.`);
      failing = false;
    } catch (error) {
      fail(error);
    }
    if (waiting.length > 0) committing = commit(waiting);
    wakeLater();
  }

  /** Acknowledges lines only after they are durable: an action whose record may be lost must not happen. */
  async function commit(waiting: readonly Pending[]): Promise<void> {
    unsynced = false;
    try {
      await writer.sync();
      for (const { settle } of waiting) settle?.resolve();
    } catch (error) {
      notDurable(error);
      for (const { settle } of waiting) settle?.reject(unavailable(file, error));
    }
    committing = undefined;
    flush();
    wakeLater();
  }

  function notDurable(error: unknown): void {
    // Logs once instead of for every attempt.
    if (syncFault === undefined)
      logger?.error({ err: error, file }, `The audit log ${file} cannot be made durable.`);
    syncFault = error as Error;
  }

  /** Handles a failed write, which wrote no event: rejects the calls of `append`, and keeps the notes. */
  function fail(error: unknown): void {
    const failure = unavailable(file, error);
    const notes = queue.filter(({ settle }) => settle === undefined);
    for (const { settle } of queue) settle?.reject(failure);
    const lost = Math.max(0, notes.length - maxNotes);
    queue = notes.slice(lost);
    // Logs once instead of for every refused request.
    if (!failing || lost > 0)
      logger?.error({ err: error, file, waiting: queue.length, lost }, failure.message);
    failing = true;
    lastFailure = failure;
  }

  function wakeLater(): void {
    if (closed || timer !== undefined || (!unsynced && queue.length === 0 && syncFault === undefined)) return;
    timer = setTimeout(() => void wake(), syncEvery);
    timer.unref();
  }

  async function wake(): Promise<void> {
    unsynced = false;
    try {
      await writer.sync();
      syncFault = undefined;
    } catch (error) {
      notDurable(error);
    }
    timer = undefined;
    if (closed) return;
    if (queue.length > 0) flush();
    else wakeLater();
  }

  function append(event: AuditEvent): Promise<void> {
    if (closed) return Promise.reject(unavailable(file, new Error('it is closed')));
    return new Promise((resolve, reject) => {
      enqueue({ event, time: now(), settle: { resolve, reject } });
    });
  }

  return {
    failure: () => (failing ? lastFailure : (syncFault ?? null)),
    rekey() {
      if (closed) return;
      try {
        writer.write([]);
        unsynced = true;
        onWritten();
        wakeLater();
      } catch (error) {
        // The next event links the chain, or is refused.
        logger?.warn({ err: error, file }, 'The audit log could not be linked to the new master key yet.');
      }
    },
    append,
    write(event) {
      if (closed) return append(event);
      if (!isAlone()) {
        turn ??= new Turn();
        turn.left += 1;
        enqueue({ event, time: now(), settle: turn });
        return turn.promise;
      }
      queue.push({ event, time: now(), settle: atOnce });
      flush();
      return atOnce.failure && Promise.reject(atOnce.failure);
    },
    note(event: AuditEvent) {
      if (!closed) enqueue({ event, time: now(), settle: undefined });
      else logger?.error({ file, event: event.event }, 'An event came after the audit log was closed.');
    },
    async end() {
      closed = true;
      clearTimeout(timer);
      await committing;
      flush();
      await committing;
      return queue.length;
    },
  };
}

/** Returns the failure of a log that cannot be written. */
export function unavailable(file: string, cause: unknown): SidekeyError {
  if (cause instanceof SidekeyError)
    return new SidekeyError('audit_unavailable', cause.message, { hint: cause.hint, cause });
  const sentence = `The audit log ${file} cannot be written (${reasonOf(cause)}).`;
  return new SidekeyError('audit_unavailable', sentence, {
    hint: `Free space on its disk, or make it and its folder writable for this user; it is used again at once.`,
    cause,
  });
}

/** Returns the code of a system error, or the message of any other error. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
