import { randomBytes } from 'node:crypto';
import { type BigIntStats, closeSync, linkSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, parse, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { isPrivate } from '../lib/files.ts';
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
  sweepNowAndThen,
  takeFrom,
  type QuotaResult,
  waitOf,
} from './quota.ts';

/** How a shared quota behaves. */
interface SharedQuotaOptions {
  /**
   * How long a request waits for another process's write, in milliseconds; by default 1,000. The wait blocks the thread,
   * and a write takes some microseconds: so it is a bound for the worst.
   */
  readonly busyTimeoutMs?: number;
}

/** Bytes that could not be written yet, and which limit of whom they are for. */
interface Owed {
  readonly limit: RuleLimit;
  readonly who: QuotaKey;
  readonly bytes: number;
}

/**
 * A quota that the processes of one machine share through the SQLite file at `path`, on a local disk. The file is opened
 * (and made) when the first limit is asked for: who has no limits has no file. One transaction a request takes the
 * write lock before it reads, so what two processes take never overlaps, and a process that dies leaves all of its
 * request counted or nothing.
 *
 * Whatever keeps it from counting (a file that is damaged, gone, replaced, locked, on a full disk) refuses the request
 * with `store_unavailable`, and the next one tries again: an error must never lift a limit.
 */
export function createSharedQuota(path: string, { busyTimeoutMs = 1_000 }: SharedQuotaOptions = {}): Quota {
  const location = resolve(path);
  const owed = new Map<string, Owed>();
  let opened: OpenCounts | null = null;
  let closed = false;
  let failedAt = -Infinity;

  /** Keeps bytes for later. A budget is overdrawn by them alone: an error must not lift it from what streams. */
  function owe(limits: readonly RuleLimit[], who: QuotaKey, bytes: number, now: number): QuotaResult {
    let overdrawn: QuotaResult = { ok: true };
    for (const limit of limits.filter(countsBytes)) {
      const name = countName(limit, who);
      const all = bytes + (owed.get(name)?.bytes ?? 0);
      owed.set(name, { limit, who, bytes: all });
      const count = charged(countAt(limit, undefined, now), 0, all);
      if (isOverdrawn(limit, count)) overdrawn = { ok: false, retryAfterMs: waitOf(limit, count), limit };
    }
    return overdrawn;
  }

  /** Runs `work` in one transaction that has the write lock from the start, with what was owed paid first. */
  function inTransaction<T>(now: number, work: (counts: Counts) => T): T {
    if (closed) throw new Error('it was closed');
    opened ??= openCounts(openQuotaFile(location, busyTimeoutMs));
    const { file, counts, sweep, transaction } = opened;
    if (!file.isInPlace()) throw new Error('it was moved or replaced while it was in use');
    const result = transaction(() => {
      sweep(now);
      for (const { limit, who, bytes } of owed.values()) spendFrom(counts, [limit], who, bytes, now);
      return work(counts);
    });
    owed.clear();
    return result;
  }

  return {
    async take(limits, who, now) {
      if (limits.length === 0) return { ok: true };
      try {
        return inTransaction(now, (counts) => takeFrom(counts, limits, who, now));
      } catch (error) {
        throw unavailable(location, error);
      }
    },
    spend(limits, who, bytes, now) {
      if (bytes <= 0 || !limits.some(countsBytes)) return { ok: true };
      try {
        // Each try may block the thread, and what streams settles often.
        if (Math.abs(now - failedAt) < busyTimeoutMs) return owe(limits, who, bytes, now);
        return inTransaction(now, (counts) => spendFrom(counts, limits, who, bytes, now));
      } catch {
        failedAt = now;
        return owe(limits, who, bytes, now);
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
  // Made once: to make one costs as much as to run it.
  const run = database.transaction((work: () => unknown) => work());
  return {
    file,
    counts: {
      read: (name) => read.get(name),
      write: (name, { at, used, unit, bytes }, stale) => void write.run(name, at, used, unit, bytes, stale),
    },
    sweep: sweepNowAndThen((now) => void forget.run(now)),
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

/** "SKQU" in the header of the database: it is ours. */
const applicationId = 0x53_4b_51_55;

/** Version of the table below; another one is another file's. */
const tableVersion = 1;

/** The file that the processes of a machine count in, beside the store at `storePath`: `sidekey.db` → `sidekey-quota.db`. */
export function quotaFileOf(storePath: string): string {
  const { dir, name, ext } = parse(storePath);
  return join(dir, `${name}-quota${ext}`);
}

/** An open file of counts. */
interface QuotaFile {
  readonly database: Database.Database;
  /** Whether the file is still the one at its path. If not, other processes count elsewhere. */
  isInPlace(): boolean;
}

/**
 * Opens the file of counts at `path`, and makes it (0600) where there is none. Like all of this room it works
 * synchronously: a count is taken in microseconds, and nothing may come between.
 * @param busyTimeoutMs how long a statement waits for another process's write, while it blocks the thread
 * @throws what SQLite or the system throws; SidekeyError `store_unavailable` where others may use it
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
  // The log lets a process that dies in the middle of a write cost nothing but that write.
  if (database.pragma('journal_mode = wal', { simple: true }) !== 'wal') {
    throw new Error('the file system has no shared memory');
  }
  // What a dead process wrote is with the system: only a power cut loses it. With `normal` a cut takes the counts since
  // the last checkpoint, and leaves a sound file; with `off` it may leave a broken one, which refuses until a person
  // comes. The price is a sync in a thousand writes (https://sqlite.org/pragma.html#pragma_synchronous).
  database.pragma('synchronous = normal');
  database.pragma('trusted_schema = off');
}

/** Builds it under another name, and links it into its place: of several processes at once one is first. */
function create(path: string, busyTimeoutMs: number): void {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    // SQLite gives the log files the mode that it finds on the database.
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
