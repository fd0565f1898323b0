import { hostname } from 'node:os';
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import { type ChainWriter, openChainWriter, type RotationLimits, type TimedEvent } from './chain-writer.ts';
import type { AuditEvent, AuditLog, Origin } from './event.ts';
import { disk, type DiskCalls, prepareFolder } from './log-files.ts';
import type { ChainHead } from './line.ts';
import type { AuditVault } from './head-file.ts';
import { type HeadStore, readStoredHeads, storeHead } from './sealed-heads.ts';

/**
 * The audit log of this process. Events of one turn of the event loop are written with one call; what is only noted
 * waits a moment for the next one. When `append` resolves, the line is with the operating system and survives a crash of
 * the process. With `fsync: interval` it is made durable within a second (and on close), so a power cut may lose up
 * to the last second. With `fsync: always` it is durable when `append` resolves; events that come while the disk is
 * at it share the next write and the next sync.
 */

/** What the log needs of a logger (pino has it). Never given an event's content. */
interface AuditLogger {
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

export interface AuditLogOptions {
  /** Path of the log file; made (0600), with its folder (0700), where it does not exist. */
  readonly file: string;
  /** Beyond this many bytes the file is rotated to `<file>.000001`, `<file>.000002` … */
  readonly maxBytes: number;
  /** A file whose first line is older, in milliseconds, is rotated before the next event. Null where left out: never. */
  readonly maxAgeMs?: number | null | undefined;
  /** When a line is durable: before `append` resolves, or within a second (`interval`, where left out). */
  readonly fsync?: 'always' | 'interval' | undefined;
  readonly vault: AuditVault;
  /** Keeps how far the chain is written, so that a log that was removed or put back is found. */
  readonly store?: HeadStore | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The first part of the writer's name, `<node>/<slot>`. The machine's name where left out. */
  readonly node?: string | undefined;
  readonly logger?: AuditLogger | undefined;
  /** The calls that may fail, for tests. */
  readonly disk?: DiskCalls | undefined;
}

/** What can change while the log is open. */
interface LogSettings extends RotationLimits {
  /** When a line is durable: before `append` resolves, or within a second. */
  readonly fsync: 'always' | 'interval';
}

/** The log, and where it writes. */
export interface OpenAuditLog extends AuditLog {
  readonly file: string;
  /** The name of this writer's chain, such as `laptop/1`. */
  readonly node: string;
  /** Takes over other settings, for the events that come from now on. */
  adjust(settings: LogSettings): void;
}

interface Pending extends TimedEvent {
  /** Undefined for a note. */
  readonly settle: { resolve(): void; reject(error: Error): void } | undefined;
}

/** Milliseconds between syncs, and between tries to write notes that could not be written. */
const syncEvery = 1_000;
/** Milliseconds after a line until the end of its chain is in the store: a kill leaves the store so far behind at most. */
const storeEvery = 10_000;
/** Notes kept while the log cannot be written. */
const notesKept = 10_000;
/** Events written with one call. */
const batchLimit = 1_024;
/** Milliseconds that a note waits for company: nobody waits for it, and a call for each would double the writes. */
const noteDelay = 20;

/**
 * Opens the log as one of perhaps several writers on this machine, repairs what a crash left, and carries on the chain.
 * @throws SidekeyError `permissions_unsafe` where others may read the file or put another in its place;
 * `file_unwritable`; `key_mismatch` where it was written with another master key; `audit_unavailable` where too many
 * processes write to it.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<OpenAuditLog> {
  const { logger } = options;
  const file = path.resolve(options.file);
  const { maxBytes, maxAgeMs = null, fsync = 'interval' } = options;
  const settings = { current: { maxBytes, maxAgeMs, fsync } as LogSettings };
  prepareFolder(file);
  const stored = options.store && (await readStoredHeads(options.store, file, options.vault));
  let writer: ChainWriter;
  try {
    writer = openChainWriter({
      file,
      limits: () => settings.current,
      vault: options.vault,
      now: options.now,
      host: options.node ?? hostname(),
      disk: options.disk ?? disk,
      stored: stored?.heads,
      warn: (sentence, cause) => logger?.warn({ err: cause, file }, sentence),
    });
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError(
      'file_unwritable',
      `The audit log ${file} cannot be opened (${reasonOf(cause)}).`,
      {
        hint: 'Free space on its disk, make the file and its folder writable for this user, or set audit.file in the config to another path.',
        cause,
      },
    );
  }
  return startLog({ ...options, file }, settings, writer);
}

function startLog(
  { file, now, logger, store, vault }: AuditLogOptions,
  settings: { current: LogSettings },
  writer: ChainWriter,
): OpenAuditLog {
  let queue: Pending[] = [];
  let scheduled = false;
  let noteTimer: NodeJS.Timeout | undefined;
  let closing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let endTimer: NodeJS.Timeout | undefined;
  /** The end that the store has of this chain, as far as this process knows. */
  let storedEnd = '';
  let keeping = Promise.resolve();
  let closed = false;
  let unsynced = false;
  let failing = false;
  /** Why what was written last may not be durable. While it stands, nothing more is taken. */
  let syncFault: Error | undefined;
  /** The sync that appends wait for (`fsync: always`); what comes meanwhile waits for the next. */
  let committing: Promise<void> | undefined;

  function unavailable(cause: unknown): SidekeyError {
    if (cause instanceof SidekeyError) {
      return new SidekeyError('audit_unavailable', cause.message, { hint: cause.hint, cause });
    }
    return new SidekeyError(
      'audit_unavailable',
      `The audit log ${file} cannot be written (${reasonOf(cause)}).`,
      {
        hint: `Free space on its disk, or make it and its folder writable for this user; it is used again at once.`,
        cause,
      },
    );
  }

  function enqueue(pending: Pending): void {
    queue.push(pending);
    if (pending.settle === undefined && queue.length < batchLimit) {
      noteTimer ??= setTimeout(flush, noteDelay).unref();
    } else if (!scheduled) {
      scheduled = true;
      setImmediate(flush);
    }
  }

  function flush(): void {
    scheduled = false;
    clearTimeout(noteTimer);
    noteTimer = undefined;
    if (queue.length === 0 || committing !== undefined) return;
    const waiting: Pending[] = [];
    try {
      if (syncFault !== undefined) throw syncFault;
      while (queue.length > 0) {
        const batch = queue.length > batchLimit ? queue.slice(0, batchLimit) : queue;
        const written = writer.write(batch);
        unsynced = true;
        keepEndLater();
        const done = queue.splice(0, written);
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

  /** What is in the file and not durable is not acknowledged: what it was to record must not happen. */
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

  /** Nothing of the queue is in the file. Appends are told; notes have happened already and are kept. */
  function fail(error: unknown): void {
    const failure = unavailable(error);
    const notes = queue.filter(({ settle }) => settle === undefined);
    for (const { settle } of queue) settle?.reject(failure);
    const lost = Math.max(0, notes.length - notesKept);
    queue = notes.slice(lost);
    // Said once, not for every request that is refused.
    if (!failing || lost > 0)
      logger?.error({ err: error, file, waiting: queue.length, lost }, failure.message);
    failing = true;
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

  function keepEndLater(): void {
    if (store === undefined || closed) return;
    endTimer ??= setTimeout(() => {
      keeping = keepEnd();
    }, storeEvery).unref();
  }

  /** The line is made durable first: after a power cut, too, the log must not be behind the store. */
  async function keepEnd(): Promise<void> {
    try {
      const [node, last] = [writer.node(), writer.last()];
      await writer.sync();
      await putEnd(node, last);
    } catch (error) {
      logger?.warn({ err: error, file }, 'The end of the audit log could not be kept in the store.');
    }
    endTimer = undefined;
    if (writer.last().hash !== storedEnd) keepEndLater();
  }

  async function putEnd(node: string, last: ChainHead): Promise<void> {
    if (store === undefined || last.seq === 0 || last.hash === storedEnd) return;
    await storeHead(store, file, node, last, vault);
    storedEnd = last.hash;
  }

  async function shut(): Promise<void> {
    closed = true;
    clearTimeout(timer);
    clearTimeout(endTimer);
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
    await putEnd(node, last).catch((error: unknown) => {
      logger?.warn({ err: error, file }, 'The end of the audit log could not be kept in the store.');
    });
    if (lost > 0) {
      throw new SidekeyError(
        'audit_unavailable',
        `${lost} events could not be written to the audit log ${file}.`,
        {
          hint: `Make ${file} and its folder writable for this user, and free space on its disk.`,
        },
      );
    }
  }

  return {
    file,
    get node() {
      return writer.node();
    },
    adjust(next) {
      settings.current = next;
    },
    append(event) {
      if (closed) return Promise.reject(unavailable(new Error('it is closed')));
      return new Promise((resolve, reject) => {
        enqueue({ event, time: now(), settle: { resolve, reject } });
      });
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

/** Failures that the audit file has already. */
const noted = new WeakSet<object>();

/** Whether a failure of `audited` is in the audit file, so that who meets it next does not note it again. */
export function isRecorded(error: unknown): boolean {
  return typeof error === 'object' && error !== null && noted.has(error);
}

/**
 * Makes a change that is in the audit file before it happens: a change that cannot be recorded is not made. Where it
 * fails after that, a second event says so. Its outcome is `allow` unless it says another.
 *
 * @throws SidekeyError `audit_unavailable`, and what `change` throws
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
    if (typeof error === 'object' && error !== null) noted.add(error);
    throw error;
  }
}

/** The log, each of whose events says who made it and from where, unless it says so itself. */
export function withOrigin(log: OpenAuditLog, origin: Origin): OpenAuditLog {
  return {
    ...log,
    // As it is when it is asked: a writer that lost its slot goes on with another.
    get node() {
      return log.node;
    },
    append: (event) => log.append({ ...origin, ...event }),
    note: (event) => log.note({ ...origin, ...event }),
  };
}
