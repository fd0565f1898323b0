import { randomBytes } from 'node:crypto';
import { type BigIntStats, closeSync, linkSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, parse, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { isPrivate } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';
import type { RuleLimit } from '../policy/rule.ts';
import {
  type QuotaKey,
  charged,
  type Count,
  countAt,
  type Counts,
  countsBytes,
  isOverdrawn,
  countName,
  type Quota,
  spendFrom,
  sweepEveryMinute,
  takeFrom,
  type QuotaResult,
  waitOf,
} from './quota.ts';

interface SharedQuotaOptions {
  /**
   * Milliseconds that a request waits for the write of another process; default 1,000. The wait blocks the thread; a write
   * takes microseconds.
   */
  readonly busyTimeoutMs?: number;
}

/** Bytes that could not be written yet. */
interface Owed {
  readonly limit: RuleLimit;
  readonly key: QuotaKey;
  readonly bytes: number;
}

/**
 * Opens a quota that the processes of one machine share through the SQLite file at `path`, on a local disk. The file is
 * created with the first limit that is charged. One transaction for each request takes the write lock before it reads, so
 * two processes never take the same request, and a process that dies leaves its request counted entirely or not at all.
 *
 * A file that is damaged, missing, replaced, locked or on a full disk refuses requests with `store_unavailable` until it
 * works again: an error must never lift a limit.
 */
export function createSharedQuota(path: string, { busyTimeoutMs = 1_000 }: SharedQuotaOptions = {}): Quota {
  const location = resolve(path);
  const owed = new Map<string, Owed>();
  let opened: OpenCounts | null = null;
  let closed = false;
  let failedAt = -Infinity;

  /** Keeps bytes in memory. They alone can overdraw a budget: an error must not lift it from a running stream. */
  function owe(limits: readonly RuleLimit[], key: QuotaKey, bytes: number, now: number): QuotaResult {
    let overdrawn: QuotaResult = { ok: true };
    for (const limit of limits.filter(countsBytes)) {
      const name = countName(limit, key);
      const all = bytes + (owed.get(name)?.bytes ?? 0);
      owed.set(name, { limit, key, bytes: all });
      const count = charged(countAt(limit, undefined, now), 0, all);
      if (isOverdrawn(limit, count)) overdrawn = { ok: false, retryAfterMs: waitOf(limit, count), limit };
    }
    return overdrawn;
  }

  /** Runs `work` in one transaction with the write lock, after the bytes in `owed` are charged. */
  function inTransaction<T>(now: number, work: (counts: Counts) => T): T {
    if (closed) throw new Error('it was closed');
    opened ??= openCounts(openQuotaFile(location, busyTimeoutMs));
    const { file, counts, sweep, transaction } = opened;
    if (!file.isInPlace()) throw new Error('it was moved or replaced while it was in use');
    const result = transaction(() => {
      sweep(now);
      for (const { limit, key, bytes } of owed.values()) spendFrom(counts, [limit], key, bytes, now);
      return work(counts);
    });
    owed.clear();
    return result;
  }

  return {
    take(limits, key, now) {
      if (limits.length === 0) return { ok: true };
      try {
        return inTransaction(now, (counts) => takeFrom(counts, limits, key, now));
      } catch (error) {
        throw unavailable(location, error);
      }
    },
    spend(limits, key, bytes, now) {
      if (bytes <= 0 || !limits.some(countsBytes)) return { ok: true };
      try {
        // Each attempt may block the thread, and a stream charges bytes often.
        if (Math.abs(now - failedAt) < busyTimeoutMs) return owe(limits, key, bytes, now);
        return inTransaction(now, (counts) => spendFrom(counts, limits, key, bytes, now));
      } catch {
        failedAt = now;
        return owe(limits, key, bytes, now);
      }
    },
    close() {
      closed = true;
      opened?.file.database.close();
      opened = null;
    },
  };
}

interface OpenCounts {
  readonly file: QuotaFile;
  readonly counts: Counts;
  readonly sweep: (now: number) => void;
  readonly transaction: <T>(work: () => T) => T;
}

function openCounts(file: QuotaFile): OpenCounts {
  const { database } = file;
  const read = database.prepare<[string], Count>('select at, used, unit, bytes from counts where name = ?');
  const write = database.prepare<[string, number, number, number, number, number]>(
    `insert into counts (name, at, used, unit, bytes, stale) values (?, ?, ?, ?, ?, ?)
     on conflict (name) do update set
       at = excluded.at, used = excluded.used, unit = excluded.unit, bytes = excluded.bytes, stale = excluded.stale`,
  );
  const forget = database.prepare<[number]>('delete from counts where stale <= ?');
  // Created once: creating it costs as much as running it.
  const run = database.transaction((work: () => unknown) => work());
  return {
    file,
    counts: {
      read: (name) => read.get(name),
      write: (name, { at, used, unit, bytes }, stale) => void write.run(name, at, used, unit, bytes, stale),
    },
    sweep: sweepEveryMinute((now) => void forget.run(now)),
    transaction<T>(work: () => T): T {
      let result: { readonly of: T } | undefined;
      run.immediate(() => (result = { of: work() }));
      if (result === undefined) throw new Error('it did not run the transaction');
      return result.of;
    },
  };
}

function unavailable(location: string, cause: unknown): SidekeyError {
  if (cause instanceof SidekeyError) return cause;
  const code = systemCode(cause);
  const why = code === 'unknown error' && cause instanceof Error ? cause.message : code;
  return new SidekeyError(
    'store_unavailable',
    `What is left of the limits of rules cannot be read: ${location} cannot be used (${why}).`,
    {
      hint: `If it stays so: stop Sidekey, rm -f ${[location, `${location}-wal`, `${location}-shm`].map(shellWord).join(' ')}, and start it again. All counts begin anew then.`,
      cause,
    },
  );
}

/** "SKQU" in the header of the database. */
const applicationId = 0x53_4b_51_55;

/** Version of the table below. */
const tableVersion = 1;

/** Returns the path of the file of counts beside the store at `storePath`: `sidekey.db` → `sidekey-quota.db`. */
export function quotaFileOf(storePath: string): string {
  const { dir, name, ext } = parse(storePath);
  return join(dir, `${name}-quota${ext}`);
}

/** An open file of counts. */
interface QuotaFile {
  readonly database: Database.Database;
  /** Reports whether the path still names this file. If not, other processes count in another one. */
  isInPlace(): boolean;
}

/**
 * Opens the file of counts, and creates it (0600) if there is none. Synchronous: a count takes microseconds, and no other
 * request may come in between.
 * @param busyTimeoutMs milliseconds that a statement blocks the thread for the write of another process
 * @throws errors of SQLite and the system; SidekeyError `store_unavailable` if other users may change the file
 */
function openQuotaFile(path: string, busyTimeoutMs: number): QuotaFile {
  if (look(path) === undefined) create(path, busyTimeoutMs);
  const found = look(path);
  if (found === undefined) throw new Error('it is not there any more');
  if (!isPrivate(Number(found.mode))) {
    throw new SidekeyError('store_unavailable', `The counts of limits in ${path} can be changed by others.`, {
      hint: `chmod 600 ${shellWord(path)}`,
    });
  }
  const database = new Database(path, { fileMustExist: true, timeout: busyTimeoutMs });
  try {
    if (
      database.pragma('application_id', { simple: true }) !== applicationId ||
      database.pragma('user_version', { simple: true }) !== tableVersion
    ) {
      throw new Error('it is not a file of counts of this version');
    }
    configure(database);
    return {
      database,
      isInPlace() {
        const now = look(path);
        return now?.ino === found.ino && now.dev === found.dev;
      },
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

function look(path: string): BigIntStats | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

function configure(database: Database.Database): void {
  // With a write-ahead log, a process that dies in the middle of a write loses only that write.
  if (database.pragma('journal_mode = wal', { simple: true }) !== 'wal') {
    throw new Error('the file system has no shared memory');
  }
  // Writes of a dead process are with the system: only a power cut loses them. With `normal` a cut loses the counts since
  // the last checkpoint and leaves a sound file; with `off` it may corrupt the file, which then refuses all requests. The
  // price is one sync in a thousand writes (https://sqlite.org/pragma.html#pragma_synchronous).
  database.pragma('synchronous = normal');
  database.pragma('trusted_schema = off');
}

/** Builds the file under another name and links it into place: the first of several concurrent processes wins. */
function create(path: string, busyTimeoutMs: number): void {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    // SQLite gives the log files the mode of the database.
    closeSync(openSync(draft, 'wx', 0o600));
    const database = new Database(draft, { fileMustExist: true, timeout: busyTimeoutMs });
    try {
      database.pragma(`application_id = ${applicationId}`);
      database.pragma(`user_version = ${tableVersion}`);
      configure(database);
      database.exec(`
        create table counts (
          name text primary key,
          at integer not null,
          used integer not null,
          unit integer not null,
          bytes integer not null,
          stale integer not null
        ) strict, without rowid;
        create index counts_stale on counts (stale);
      `);
    } finally {
      database.close();
    }
    try {
      linkSync(draft, path);
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
  } finally {
    for (const file of [draft, `${draft}-wal`, `${draft}-shm`]) rmSync(file, { force: true });
  }
}
