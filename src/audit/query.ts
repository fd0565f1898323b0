import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import type { AuditLine } from './event.ts';
import { type LogSource, snapshotLog } from './log-files.ts';
import { openSource, PackedDamage, readBackwards, readForwards } from './reader.ts';
import { parseLine, piecesOf } from './line.ts';
import { followLines, keptOpen } from './read.ts';

/**
 * Reads lines of the log for people and programs. Lines are taken as they stand: whether they are authentic is for
 * `verifyAudit` to say. What a crash tore is passed over.
 */

/** Which lines to give. */
interface TailOptions {
  readonly file: string;
  /** How many of the last lines; 0 for only those that come. */
  readonly lines: number;
  /** Go on with lines as they are written, until `signal` aborts. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The last lines, oldest first, read from the end of the log; with `follow`, what is appended after them. */
export async function* tailAudit(options: TailOptions): AsyncGenerator<AuditLine> {
  const file = path.resolve(options.file);
  const { lines, sources } = lastLines(file, options.lines);
  yield* lines;
  if (options.follow !== true) return;
  for await (const bytes of followLines(file, sources, options.signal)) yield* linesIn(bytes);
}

/** What lines to give. A line must fit every condition that is set. */
export interface AuditFilter {
  /** Milliseconds since the epoch: from then on, and before then. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** The name of an event, or the beginning of names with a star: `grant.*`. */
  readonly event?: string | undefined;
  readonly node?: string | undefined;
  readonly exchange?: string | undefined;
  readonly agent?: string | undefined;
  readonly lease?: string | undefined;
  readonly user?: string | undefined;
  /** Id of the grant. */
  readonly grant?: string | undefined;
  readonly provider?: string | undefined;
  readonly client?: string | undefined;
  /** Who made a change: as whom they did, or who they were before. */
  readonly by?: string | undefined;
  readonly method?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly outcome?: string | undefined;
  readonly code?: string | undefined;
  readonly status?: number | undefined;
  readonly credential?: string | undefined;
}

/** What a query is asked of. */
interface QueryOptions {
  readonly file: string;
  readonly filter: AuditFilter;
}

/**
 * The lines that fit the filter, in the order of the log.
 * @throws SidekeyError `audit_broken` where a packed file is damaged, after what stands before the damage.
 */
export async function* queryAudit(options: QueryOptions): AsyncGenerator<AuditLine> {
  for await (const { line } of queryRaw(options)) yield line;
}

/**
 * The same, with the bytes as they stand in the log, which its hash was made over. They are valid until the next step.
 * @throws as `queryAudit`
 */
export async function* queryRaw(
  options: QueryOptions,
): AsyncGenerator<{ readonly line: AuditLine; readonly bytes: Buffer }> {
  const fits = compile(options.filter);
  const file = path.resolve(options.file);
  for (const source of snapshotLog(file)) {
    const reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      for await (const chunk of readForwards(reader, source.size)) {
        for (const { bytes } of chunk) {
          for (const piece of piecesOf(bytes)) {
            const line = parseLine(piece);
            if (line !== undefined && fits(line)) yield { line, bytes: piece };
          }
        }
      }
    } catch (error) {
      throw unreadable(source, error);
    } finally {
      reader.close();
    }
  }
}

const exact = [
  'node',
  'exchange',
  'agent',
  'lease',
  'user',
  'grant',
  'provider',
  'client',
  'method',
  'host',
  'port',
  'outcome',
  'code',
  'status',
  'credential',
] as const satisfies readonly (keyof AuditFilter & keyof AuditLine)[];

function compile(filter: AuditFilter): (line: AuditLine) => boolean {
  const { since = -Infinity, until = Infinity, event } = filter;
  const timed = since !== -Infinity || until !== Infinity;
  const set = exact.filter((name) => filter[name] !== undefined);
  const { by } = filter;
  return (line) => {
    if (timed) {
      const time = Date.parse(line.time);
      // Not `time < since`: a time that cannot be read fits no range.
      if (!(time >= since && time < until)) return false;
    }
    if (event !== undefined) {
      const fits = event.endsWith('*') ? line.event.startsWith(event.slice(0, -1)) : line.event === event;
      if (!fits) return false;
    }
    if (by !== undefined && !isBy(line, by)) return false;
    return set.every((name) => line[name] === filter[name]);
  };
}

/** Who became another user by `sudo` is meant, and so is that other. */
function isBy({ by }: AuditLine, name: string): boolean {
  return (
    by === name ||
    /^(.+) \(as (.+)\)$/
      .exec(by ?? '')
      ?.slice(1)
      .includes(name) === true
  );
}

/** What is damaged cannot be read on, and must not look like the end of the log. */
function unreadable({ path: at }: LogSource, error: unknown): unknown {
  if (!(error instanceof PackedDamage)) return error;
  return new SidekeyError('audit_broken', `The packed audit file ${at} is damaged: ${error.message}.`, {
    hint: 'sidekey audit verify says what is lost; put the file back from a backup',
    cause: error,
  });
}

function linesIn(bytes: Buffer): AuditLine[] {
  return piecesOf(bytes).flatMap((piece) => parseLine(piece) ?? []);
}

/** The last lines, and the log as far as they were read: what follows begins there, at the start of a line. */
function lastLines(file: string, count: number): { lines: AuditLine[]; sources: LogSource[] } {
  const sources = snapshotLog(file);
  const groups: AuditLine[][] = [];
  let missing = count;
  for (const [index, source] of [...sources.entries()].toReversed()) {
    if (missing <= 0 && index < sources.length - keptOpen) break;
    const reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      let size = Math.min(source.size, reader.size());
      let first = true;
      for (const { bytes, at } of readBackwards(reader, size)) {
        if (first) {
          first = false;
          // A line that is still being written is one of those that follow.
          if (at + bytes.length === size) {
            size = at;
            continue;
          }
        }
        if (missing <= 0) break;
        const found = linesIn(bytes).slice(-missing);
        missing -= found.length;
        groups.push(found);
      }
      sources[index] = { ...source, size };
    } catch (error) {
      throw unreadable(source, error);
    } finally {
      reader.close();
    }
  }
  return { lines: groups.toReversed().flat(), sources };
}

/** Audit lines as CSV (RFC 4180): a head line, then one line each, all fields in the order of the audit file. */

const columns = [
  'seq',
  'time',
  'node',
  'event',
  'exchange',
  'agent',
  'lease',
  'approval',
  'user',
  'grant',
  'provider',
  'client',
  'by',
  'method',
  'scheme',
  'host',
  'port',
  'path',
  'outcome',
  'code',
  'status',
  'reason',
  'bytes_in',
  'bytes_out',
  'duration_ms',
  'echoes',
  'credential',
  'prev',
  'hash',
] as const satisfies readonly (keyof AuditLine)[];

/** The head line, with its line break. */
export const csvHead = `${columns.join(',')}\r\n`;

/** The line of an event, with its line break. */
export function csvLine(line: AuditLine): string {
  return `${columns.map((name) => csvField(line[name])).join(',')}\r\n`;
}

/**
 * One field. Agents choose paths and reasons, and people open CSV in spreadsheets: what one would take for a formula gets
 * an apostrophe in front (OWASP, CSV injection).
 */
function csvField(value: string | number | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
