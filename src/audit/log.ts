import { hostname } from 'node:os';
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import { type ChainWriter, openChainWriter, type RotationLimits, type TimedEvent } from './chain-writer.ts';
import type { AuditEvent, AuditLog, Origin } from './event.ts';
import { disk, type DiskCalls, prepareFolder, tryLockFile } from './log-files.ts';
import type { ChainHead } from './line.ts';
import { type AuditVault, logIdOf, readHeads } from './live-file.ts';
import {
  type HeadStore,
  type LogPlace,
  readStoredHeads,
  resealRetention,
  storeHead,
} from './sealed-heads.ts';

/*
 * The audit log of this process. Events of one turn of the event loop are written with one call; an event of `write` is
 * written at once if few come, and an event of `note` waits some milliseconds for others. When `append` resolves, the operating system has the line, and a crash of the process
 * cannot lose it. With `fsync: interval` it is durable within a second, so a power cut may lose the last second. With
 * `fsync: always` it is durable when `append` resolves; events that come during a sync share the next write and sync.
 */

/** The logger that the log uses (pino implements it). It never gets the content of an event. */
interface AuditLogger {
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

export interface AuditLogOptions {
  /** Path of the log file, which is created (0600) with its folder (0700). */
  readonly file: string;
  /** A larger file, in bytes, is rotated to `<file>.000001`, `<file>.000002` … */
  readonly maxBytes: number;
  /** A file whose first line is older, in milliseconds, is rotated before the next event. Default, as null: never. */
  readonly maxAgeMs?: number | null | undefined;
  /** Time at which a line is durable: before `append` resolves, or within a second (`interval`, the default). */
  readonly fsync?: 'always' | 'interval' | undefined;
  readonly vault: AuditVault;
  /** The slot of the writer; absent: the first free one. */
  readonly slot?: number | undefined;
  /** Keeps the head of the chain, so that the removal or restoration of a log is found. */
  readonly store?: HeadStore | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The first part of the writer's name, `<node>/<slot>`. Default: the host name. */
  readonly node?: string | undefined;
  readonly logger?: AuditLogger | undefined;
  /** Default: the real file system; tests make calls fail. */
  readonly disk?: DiskCalls | undefined;
  /** Reports whether the path is to be checked before the next batch. Default: every 5 ms. */
  readonly isFileCheckDue?: (() => boolean) | undefined;
}

/** The settings that can change while the log is open. */
interface LogSettings extends RotationLimits {
  /** Time at which a line is durable: before `append` resolves, or within a second. */
  readonly fsync: 'always' | 'interval';
}

/** The log, with the place that it writes to. */
export interface OpenAuditLog extends AuditLog {
  readonly file: string;
  /** The name of this writer's chain, such as `laptop/1`. */
  readonly node: string;
  /** Links the chain to a new master key, now and not with the next event. */
  rekey(): void;
  /** Returns why the last events could not be written, or may not be durable; null: they were written. */
  failure(): Error | null;
  /** Uses other settings for later events. */
  adjust(settings: LogSettings): void;
}

interface Pending extends TimedEvent {
  /** Undefined for a note. */
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
/** Milliseconds after a line until the head of its chain is stored: after a kill the store is so far behind at most. */
const storeHeadAfter = 10_000;
/** Notes kept while the log cannot be written. */
const maxNotes = 10_000;
/** Events written with one call. */
const maxBatch = 1_024;
/** Milliseconds after a turn with one event in which `write` does not wait for others. */
const aloneFor = 5;
/** Milliseconds that an event of `note` waits for others: nobody waits for it, and separate calls would double the writes. */
const noteDelay = 20;

/**
 * Opens the log as one of several possible writers on this machine, repairs what a crash left, and continues the chain.
 * @throws SidekeyError `permissions_unsafe` if other users can read or replace the file; `file_unwritable`;
 * `key_mismatch` if it was written with another master key; `audit_unavailable` if too many processes write to it.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<OpenAuditLog> {
  const { logger } = options;
  const file = path.resolve(options.file);
  const { maxBytes, maxAgeMs = null, fsync = 'interval' } = options;
  const settings = { current: { maxBytes, maxAgeMs, fsync } as LogSettings };
  prepareFolder(file);
  const host = options.node ?? hostname();
  let log: string;
  try {
    log = logIdOf(file, host, readHeads(file, options.vault));
  } catch (cause) {
    throw unopened(file, cause);
  }
  const stored = options.store && (await readStoredHeads(options.store, log, options.vault));
  let writer: ChainWriter;
  try {
    writer = openChainWriter({
      file,
      limits: () => settings.current,
      vault: options.vault,
      now: options.now,
      host,
      disk: options.disk ?? disk,
      slot: options.slot,
      stored: stored?.heads,
      isFileCheckDue: options.isFileCheckDue,
      warn: (sentence, cause) => logger?.warn({ err: cause, file }, sentence),
    });
  } catch (cause) {
    throw unopened(file, cause);
  }
  return startLog({ ...options, file }, { log, host, path: file }, settings, writer);
}

function unopened(file: string, cause: unknown): SidekeyError {
  if (cause instanceof SidekeyError) return cause;
  const sentence = `The audit log ${file} cannot be opened (${reasonOf(cause)}).`;
  return new SidekeyError('file_unwritable', sentence, {
    hint: 'Free space on its disk, make the file and its folder writable for this user, or set audit.file in the config to another path.',
    cause,
  });
}

/**
 * Links the chains that no process writes to a new master key, and seals the record of retention with it. The chains of
 * running processes are linked by these.
 */
export async function rekeyLog(options: Omit<AuditLogOptions, 'slot'>): Promise<void> {
  const file = path.resolve(options.file);
  const { vault } = options;
  for (const [index, record] of readHeads(file, vault).entries()) {
    if (record.kind !== 'head' || record.key.keyId === vault.keyId) continue;
    const opened = await openAuditLog({ ...options, slot: index + 1 }).catch((error: unknown) => {
      if (error instanceof SidekeyError && error.code === 'audit_unavailable') return null;
      throw error;
    });
    await opened?.close();
  }
  using lock = tryLockFile(`${file}.retain.lock`);
  if (lock !== undefined) resealRetention(file, vault);
}

function startLog(
  { file, now, logger, store, vault }: AuditLogOptions,
  place: LogPlace,
  settings: { current: LogSettings },
  writer: ChainWriter,
): OpenAuditLog {
  let queue: Pending[] = [];
  let scheduled = false;
  /** Number of events, beside notes, that came in this turn. */
  let waitingCount = 0;
  /** The events of `write` that came in this turn. */
  let turn: Turn | undefined;
  let noteTimer: NodeJS.Timeout | undefined;
  let closing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let headTimer: NodeJS.Timeout | undefined;
  /** Hash of the head that the store has of this chain, as far as this process knows. */
  let storedHeadHash = '';
  let keeping = Promise.resolve();
  let closed = false;
  let unsynced = false;
  let failing = false;
  let lastFailure: Error | null = null;
  /** Reason why the last lines may not be durable. While it is set, no event is accepted. */
  let syncFault: Error | undefined;
  /** The sync that calls of `append` wait for (`fsync: always`); later events wait for the next one. */
  let committing: Promise<void> | undefined;
  /** Time of the last write of a turn, by `performance.now()`, if one event waited for it. */
  let aloneAt = -Infinity;
  /** Takes the result of an event that is written at once. */
  const atOnce = {
    failure: undefined as Error | undefined,
    resolve() {
      atOnce.failure = undefined;
    },
    reject(error: Error) {
      atOnce.failure = error;
    },
  };

  function unavailable(cause: unknown): SidekeyError {
    if (cause instanceof SidekeyError) {
      return new SidekeyError('audit_unavailable', cause.message, { hint: cause.hint, cause });
    }
    const sentence = `The audit log ${file} cannot be written (${reasonOf(cause)}).`;
    return new SidekeyError('audit_unavailable', sentence, {
      hint: `Free space on its disk, or make it and its folder writable for this user; it is used again at once.`,
      cause,
    });
  }

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
    if (scheduled || settings.current.fsync === 'always' || committing !== undefined) return false;
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
        storeHeadLater();
        const done = written === queue.length ? queue : queue.slice(0, written);
        queue = written === queue.length ? [] : queue.slice(written);
        if (settings.current.fsync === 'always')
          waiting.push(...done.filter(({ settle }) => settle !== undefined));
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
      for (const { settle } of waiting) settle?.reject(unavailable(error));
    }
    committing = undefined;
    flush();
    wakeLater();
  }

  function notDurable(error: unknown): void {
    syncFault = error as Error;
    logger?.error({ err: error, file }, `The audit log ${file} cannot be made durable.`);
  }

  /** Nothing of the queue is in the file: rejects the calls of `append`, and keeps the events of `note`. */
  function fail(error: unknown): void {
    const failure = unavailable(error);
    const notes = queue.filter(({ settle }) => settle === undefined);
    for (const { settle } of queue) settle?.reject(failure);
    const lost = Math.max(0, notes.length - maxNotes);
    queue = notes.slice(lost);
    // Once, not for every refused request.
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

  function storeHeadLater(): void {
    if (store === undefined || closed) return;
    headTimer ??= setTimeout(() => {
      keeping = storeCurrentHead();
    }, storeHeadAfter).unref();
  }

  /** Syncs the line first: also after a power cut, the log must not be behind the store. */
  async function storeCurrentHead(): Promise<void> {
    try {
      const [node, last] = [writer.node(), writer.last()];
      await writer.sync();
      await putHead(node, last);
    } catch (error) {
      logger?.warn({ err: error, file }, 'The head of the audit log could not be stored.');
    }
    headTimer = undefined;
    if (writer.last().hash !== storedHeadHash) storeHeadLater();
  }

  async function putHead(node: string, last: ChainHead): Promise<void> {
    if (store === undefined || last.seq === 0 || last.hash === storedHeadHash) return;
    await storeHead(store, { ...place, node, ...last, time: new Date(now()).toISOString() }, vault);
    storedHeadHash = last.hash;
  }

  function append(event: AuditEvent): Promise<void> {
    if (closed) return Promise.reject(unavailable(new Error('it is closed')));
    return new Promise((resolve, reject) => {
      enqueue({ event, time: now(), settle: { resolve, reject } });
    });
  }

  async function shut(): Promise<void> {
    closed = true;
    clearTimeout(timer);
    clearTimeout(headTimer);
    await keeping;
    await committing;
    flush();
    await committing;
    const lost = queue.length;
    const [node, last] = [writer.node(), writer.last()];
    try {
      await writer.close();
    } catch (error) {
      throw unavailable(error);
    }
    await putHead(node, last).catch((error: unknown) => {
      logger?.warn({ err: error, file }, 'The head of the audit log could not be stored.');
    });
    if (lost > 0) {
      const sentence = `${lost} events could not be written to the audit log ${file}.`;
      throw new SidekeyError('audit_unavailable', sentence, {
        hint: `Make ${file} and its folder writable for this user, and free space on its disk.`,
      });
    }
  }

  return {
    file,
    get node() {
      return writer.node();
    },
    failure: () => (failing ? lastFailure : (syncFault ?? null)),
    adjust(next) {
      settings.current = next;
    },
    rekey() {
      if (closed) return;
      try {
        writer.write([]);
        unsynced = true;
        storeHeadLater();
        wakeLater();
      } catch (error) {
        // The next event brings it, or is refused.
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
    close() {
      closing ??= shut();
      return closing;
    },
  };
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

/** Failures that the log has already recorded. */
const recorded = new WeakSet<object>();

/** Reports whether `recordChange` has recorded this failure, so that its callers do not record it again. */
export function isRecorded(error: unknown): boolean {
  return typeof error === 'object' && error !== null && recorded.has(error);
}

/**
 * Records a change, and then makes it: a change that cannot be recorded is not made. If it fails, a second event says so.
 * The outcome of the event is `allow` unless it has another one.
 *
 * @throws SidekeyError `audit_unavailable`, and the errors of `change`
 */
export async function recordChange<T>(
  audit: Pick<AuditLog, 'append' | 'note'>,
  event: AuditEvent,
  change: () => Promise<T>,
): Promise<T> {
  await audit.append({ outcome: 'allow', ...event });
  try {
    return await change();
  } catch (error) {
    const code = error instanceof SidekeyError ? error.code : 'internal';
    audit.note({ ...event, outcome: 'failed', code });
    if (typeof error === 'object' && error !== null) recorded.add(error);
    throw error;
  }
}

/** Returns the log with an author and a client for each event that names none. */
export function withOrigin(log: OpenAuditLog, origin: Origin): OpenAuditLog {
  return {
    ...log,
    // Read at each call: a writer that lost its slot continues with another node.
    get node() {
      return log.node;
    },
    append: (event) => log.append({ ...origin, ...event }),
    write: (event) => log.write({ ...origin, ...event }),
    note: (event) => log.note({ ...origin, ...event }),
  };
}

/** Returns the log with a listener for each event but those of `write`, which are accesses alone. */
export function withListener(log: OpenAuditLog, heard: (event: AuditEvent) => void): OpenAuditLog {
  return {
    ...log,
    get node() {
      return log.node;
    },
    append(event) {
      heard(event);
      return log.append(event);
    },
    note(event) {
      heard(event);
      log.note(event);
    },
  };
}
