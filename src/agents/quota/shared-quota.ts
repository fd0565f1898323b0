import { randomBytes } from 'node:crypto';
import { type BigIntStats, closeSync, linkSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, parse, resolve } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from '../../lib/errors.ts';
import { isPrivate, makeFolder } from '../../lib/os.ts';
import {
  closeDatabase,
  type Database,
  immediately,
  openDatabase,
  pragma,
  sqliteCode,
  sqliteObstacle,
} from '../../lib/sqlite.ts';
import { shellWord } from '../../lib/text.ts';
import type { RuleLimit } from '../../proxy/policy/rule.ts';
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
  /** Milliseconds to block the thread for another process's write (takes microseconds). Default: 1,000. */
  readonly busyTimeoutMs?: number;
}

/**
 * Opens a quota that the processes of one machine share through the SQLite file at `path`, on a local disk.
 * The first charged limit creates the file. Each request is one transaction that takes the write lock before
 * it reads: two processes never take the same request, and a dying process leaves it counted entirely or not
 * at all.
 *
 * A file that is damaged, missing, replaced, locked or on a full disk refuses requests with
 * `store_unavailable` until it works again: an error must never lift a limit.
 */
export function createSharedQuota(path: string, { busyTimeoutMs = 1_000 }: SharedQuotaOptions = {}): Quota {
  const location = resolve(path);
  const owed = new Map<
    string,
    { readonly limit: RuleLimit; readonly key: QuotaKey; readonly bytes: number }
  >();
  let opened: OpenCounts | null = null;
  let closed = false;
  let failedAt = -Infinity;

  /** Keeps bytes in memory. They alone can overdraw a budget: an error must not lift it from a stream. */
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
    const { file, counts, sweep } = opened;
    if (!file.isInPlace()) throw new Error('it was moved or replaced while it was in use');
    const result = immediately(file.database, () => {
      sweep(now);
      for (const { limit, key, bytes } of owed.values()) spendFrom(counts, [limit], { key, bytes }, now);
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
        return inTransaction(now, (counts) => spendFrom(counts, limits, { key, bytes }, now));
      } catch {
        failedAt = now;
        return owe(limits, key, bytes, now);
      }
    },
    close() {
      closed = true;
      if (opened !== null) closeDatabase(opened.file.database);
      opened = null;
    },
  };
}

interface OpenCounts {
  readonly file: QuotaFile;
  readonly counts: Counts;
  readonly sweep: (now: number) => void;
}

function openCounts(file: QuotaFile): OpenCounts {
  const { database } = file;
  const read = database.prepare('select at, used, unit, bytes from counts where name = ?');
  const write = database.prepare(
    `insert into counts (name, at, used, unit, bytes, stale) values (?, ?, ?, ?, ?, ?)
     on conflict (name) do update set
       at = excluded.at, used = excluded.used, unit = excluded.unit, bytes = excluded.bytes, stale = excluded.stale`,
  );
  const forget = database.prepare('delete from counts where stale <= ?');
  return {
    file,
    counts: {
      read: (name) => read.get(name) as Count | undefined,
      write: (name, { at, used, unit, bytes }, stale) => void write.run(name, at, used, unit, bytes, stale),
    },
    sweep: sweepEveryMinute((now) => void forget.run(now)),
  };
}

function unavailable(location: string, cause: unknown): SidekeyError {
  if (cause instanceof SidekeyError) return cause;
  const code = sqliteCode(cause);
  const codeText = code === null ? systemCode(cause) : `SQLITE_${code}`;
  const why = codeText === 'unknown error' && cause instanceof Error ? cause.message : codeText;
  return new SidekeyError(
    'store_unavailable',
    `What is left of the limits of rules cannot be read: ${location} cannot be used (${why}).`,
    {
      hint:
        sqliteObstacle(location, cause)?.hint ??
        `If it stays so: stop Sidekey, rm -f ${[location, `${location}-wal`, `${location}-shm`].map(shellWord).join(' ')}, and start it again. All counts start at 0 then.`,
      cause,
    },
  );
}

/** "SKQU" in the header of the database. */
const applicationId = 0x53_4b_51_55;

const tableVersion = 1;

/** Returns the path of the counts beside the store at `storePath`: `sidekey.db` → `sidekey-quota.db`. */
export function quotaFileOf(storePath: string): string {
  const { dir, name, ext } = parse(storePath);
  return join(dir, `${name}-quota${ext}`);
}

interface QuotaFile {
  readonly database: Database;
  /** Reports whether the path still names this file; otherwise other processes count in another file. */
  isInPlace(): boolean;
}

/**
 * Opens the file of counts, or creates it (0600). Synchronous: a count takes microseconds, and no other
 * request may come in between.
 * @param busyTimeoutMs milliseconds that a statement blocks the thread for the write of another process
 * @throws errors of SQLite and the system; SidekeyError `store_unavailable` if others may change the file
 */
function openQuotaFile(path: string, busyTimeoutMs: number): QuotaFile {
  if (look(path) === undefined) create(path, busyTimeoutMs);
  const stats = look(path);
  if (stats === undefined) throw new Error('it is not there any more');
  if (!isPrivate(Number(stats.mode))) {
    throw new SidekeyError('store_unavailable', `The counts of limits in ${path} can be changed by others.`, {
      hint: `chmod 600 ${shellWord(path)}`,
    });
  }
  const database = openDatabase(path, { timeout: busyTimeoutMs });
  try {
    if (
      pragma(database, 'application_id') !== applicationId ||
      pragma(database, 'user_version') !== tableVersion
    ) {
      throw new Error('it is not a file of counts of this version');
    }
    configure(database);
    return {
      database,
      isInPlace() {
        const now = look(path);
        return now?.ino === stats.ino && now.dev === stats.dev;
      },
    };
  } catch (error) {
    closeDatabase(database);
    throw error;
  }
}

function look(path: string): BigIntStats | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

function configure(database: Database): void {
  // With a write-ahead log, a process that dies in the middle of a write loses only that write.
  if (pragma(database, 'journal_mode = wal') !== 'wal')
    throw new Error('the file system has no shared memory');
  // Only a power cut loses writes of a dead process. With `normal`, it loses the counts since the last
  // checkpoint and leaves a sound file; with `off`, it may corrupt the file, which then refuses all requests.
  // Costs one sync per thousand writes (https://sqlite.org/pragma.html#pragma_synchronous).
  database.exec('pragma synchronous = normal');
  database.exec('pragma trusted_schema = off');
}

/** Builds the file under another name and links it to its path: the first of several processes wins. */
function create(path: string, busyTimeoutMs: number): void {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  makeFolder(folder, 0o700);
  try {
    // SQLite gives the log files the mode of the database.
    closeSync(openSync(draft, 'wx', 0o600));
    {
      using database = openDatabase(draft, { timeout: busyTimeoutMs });
      database.exec(`pragma application_id = ${applicationId}; pragma user_version = ${tableVersion}`);
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
