import { hostname } from 'node:os';
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import { ChainWriter, type RotationLimits } from './chain-writer.ts';
import type { AuditEvent, AuditLog, Origin } from '../domain/event.ts';
import { type AuditLogger, createEventQueue, type EventQueue, reasonOf, unavailable } from './event-queue.ts';
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

export interface AuditLogOptions {
  /** Path of the log file, which is created (0600) with its folder (0700). */
  readonly file: string;
  /** Size in bytes above which the file is rotated to `<file>.000001`, `<file>.000002` … */
  readonly maxBytes: number;
  /** Age of the first line, in ms, above which an event rotates the file first. Default (and null): never. */
  readonly maxAgeMs?: number | null | undefined;
  /** Durability of a line: before `append` resolves, or within a second (`interval`, the default). */
  readonly fsync?: 'always' | 'interval' | undefined;
  readonly vault: AuditVault;
  /** The slot of the writer; absent: the first free one. */
  readonly slot?: number | undefined;
  /** Stores the head of the chain, so that the removal or restoration of a log is found. */
  readonly store?: HeadStore | undefined;
  readonly now: () => number;
  /** The first part of the writer's name, `<node>/<slot>`. Default: the host name. */
  readonly node?: string | undefined;
  readonly logger?: AuditLogger | undefined;
  /** Default: the real file system; tests make calls fail. */
  readonly disk?: DiskCalls | undefined;
  /** Reports whether the path must be checked before the next batch. Default: every 5 ms. */
  readonly isFileCheckDue?: (() => boolean) | undefined;
}

/** The settings that can change while the log is open. */
interface LogSettings extends RotationLimits {
  /** Durability of a line: before `append` resolves, or within a second. */
  readonly fsync: 'always' | 'interval';
}

/** The log, with the place that it writes to. */
export interface OpenAuditLog extends AuditLog, Pick<EventQueue, 'rekey' | 'failure'> {
  readonly file: string;
  /** The name of this writer's chain, such as `laptop/1`. */
  readonly node: string;
  /** Applies other settings to later events. */
  adjust(settings: LogSettings): void;
}

/**
 * Opens the log as one of several writers on this machine, repairs it after a crash, and continues the chain.
 * @throws SidekeyError `permissions_unsafe` if other users can read or replace the file; `file_unwritable`;
 * `key_mismatch` for another master key; `audit_unavailable` if too many processes write to it.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<OpenAuditLog> {
  const { maxBytes, maxAgeMs = null, fsync = 'interval', vault, now, store, logger } = options;
  const file = path.resolve(options.file);
  let settings: LogSettings = { maxBytes, maxAgeMs, fsync };
  prepareFolder(file);
  const host = options.node ?? hostname();
  let log: string;
  try {
    log = logIdOf(file, host, readHeads(file, vault));
  } catch (cause) {
    throw unopened(file, cause);
  }
  const stored = store && (await readStoredHeads(store, log, vault));
  let writer: ChainWriter;
  try {
    writer = new ChainWriter({
      file,
      limits: () => settings,
      vault,
      now,
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
  const heads = store && keepHead(store, writer, { log, host, path: file }, options);
  const queue = createEventQueue({
    file,
    writer,
    fsync: () => settings.fsync,
    onWritten: () => heads?.later(),
    now,
    logger,
  });
  let closing: Promise<void> | undefined;

  async function shut(): Promise<void> {
    const lost = await queue.end();
    await heads?.end();
    const [node, last] = [writer.node, writer.last];
    try {
      await writer.close();
    } catch (error) {
      throw unavailable(file, error);
    }
    await heads?.put(node, last);
    if (lost > 0) {
      const sentence = `${lost} events could not be written to the audit log ${file}.`;
      throw new SidekeyError('audit_unavailable', sentence, {
        hint: `Make ${file} and its folder writable for this user, and free space on its disk.`,
      });
    }
  }

  return {
    ...queue,
    file,
    get node() {
      return writer.node;
    },
    adjust(next) {
      settings = next;
    },
    close: () => (closing ??= shut()),
  };
}

/** Milliseconds after a line until its head is stored: the most by which a kill leaves the store behind. */
const storeHeadAfter = 10_000;

/** Keeps the head of a chain in the store. */
function keepHead(
  store: HeadStore,
  writer: ChainWriter,
  place: LogPlace,
  { now, vault, logger }: Pick<AuditLogOptions, 'now' | 'vault' | 'logger'>,
) {
  let timer: NodeJS.Timeout | undefined;
  let keeping = Promise.resolve();
  let ended = false;
  /** Hash of this chain's head in the store, as this process last read or wrote it. */
  let storedHash = '';

  function later(): void {
    if (ended) return;
    timer ??= setTimeout(() => {
      keeping = storeCurrent();
    }, storeHeadAfter).unref();
  }

  /** Syncs the line first: also after a power cut, the log must not be behind the store. */
  async function storeCurrent(): Promise<void> {
    const [node, last] = [writer.node, writer.last];
    await put(node, last, () => writer.sync());
    timer = undefined;
    if (writer.last.hash !== storedHash) later();
  }

  /** Stores the head of a chain. Never rejects. */
  async function put(node: string, last: ChainHead, sync?: () => Promise<void>): Promise<void> {
    try {
      await sync?.();
      if (last.seq === 0 || last.hash === storedHash) return;
      await storeHead(store, { ...place, node, ...last, time: new Date(now()).toISOString() }, vault);
      storedHash = last.hash;
    } catch (error) {
      logger?.warn({ err: error, file: place.path }, 'The head of the audit log could not be stored.');
    }
  }

  return {
    /** Stores the head some seconds from now. */
    later,
    put,
    /** Cancels later stores, and waits for the current one. */
    async end() {
      ended = true;
      clearTimeout(timer);
      await keeping;
    },
  };
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
 * Links the chains that no process writes to a new master key, and seals the retention record with it.
 * Running processes link their own chains.
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

/** Failures that the log has already recorded. */
const recorded = new WeakSet<object>();

/** Reports whether `recordChange` has recorded this failure, so that its callers do not record it again. */
export function isRecorded(error: unknown): boolean {
  return typeof error === 'object' && error !== null && recorded.has(error);
}

/**
 * Records a change, then makes it. A change that cannot be recorded is not made. If the change fails, records
 * a second event. The outcome of the event is `allow` unless it has another one.
 *
 * @throws SidekeyError `audit_unavailable`, and the errors of `change`
 */
export function recordChange<T>(
  audit: Pick<AuditLog, 'append' | 'note'>,
  event: AuditEvent,
  change: () => Promise<T>,
): Promise<T> {
  return recordChanges(audit, [event], change);
}

/** Records the events of one change as `recordChange` does, all before the change. */
export async function recordChanges<T>(
  audit: Pick<AuditLog, 'append' | 'note'>,
  events: readonly AuditEvent[],
  change: () => Promise<T>,
): Promise<T> {
  const failed = (some: readonly AuditEvent[], error: unknown) => {
    const code = error instanceof SidekeyError ? error.code : 'internal';
    for (const event of some) audit.note({ ...event, outcome: 'failed', code });
  };
  const lines = await Promise.allSettled(events.map((event) => audit.append({ outcome: 'allow', ...event })));
  const unwritten = lines.find((line) => line.status === 'rejected');
  if (unwritten !== undefined) {
    // Lines that were written say that the change was made.
    failed(
      events.filter((_, index) => lines[index]?.status === 'fulfilled'),
      unwritten.reason,
    );
    throw unwritten.reason;
  }
  try {
    return await change();
  } catch (error) {
    failed(events, error);
    if (typeof error === 'object' && error !== null) recorded.add(error);
    throw error;
  }
}

/** Returns a log that adds an author and a client to each event that names none. */
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

/**
 * Returns a log that passes each event to a listener.
 *
 * @param onAccess listener of the events of `write`, which are only accesses; must take only nanoseconds
 */
export function withListener(
  log: OpenAuditLog,
  onEvent: (event: AuditEvent) => void,
  onAccess: (event: AuditEvent) => void,
): OpenAuditLog {
  return {
    ...log,
    write(event) {
      onAccess(event);
      return log.write(event);
    },
    get node() {
      return log.node;
    },
    append(event) {
      onEvent(event);
      return log.append(event);
    },
    note(event) {
      onEvent(event);
      log.note(event);
    },
  };
}
