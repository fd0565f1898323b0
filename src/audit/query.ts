import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { AuditEventName, AuditLine } from '../domain/event.ts';
import type { AuditFilter } from './filter.ts';
import { endsExchange, joinExchanges } from './join.ts';
import { lineFields } from './line.ts';
import { parseLine, piecesOf } from './piece.ts';
import { type LogSource, snapshotLog } from './log-files.ts';
import { followLines, maxOpenFiles } from './follow.ts';
import { openSource, readBackwards } from './reader.ts';
import { PackedDamage } from './packed.ts';
import { findParts, LogScan, type Match, type Part } from './log-scan.ts';

/*
 * Reads lines for people and programs, without verification (see `verifyAudit`). Skips torn lines. The end of
 * an exchange gets the fields of its access.
 */

interface TailOptions {
  readonly file: string;
  /** Number of last lines; 0: only new ones. */
  readonly lines: number;
  /** Leaves out housekeeping, and accesses of ended exchanges: the end has the same fields. */
  readonly brief?: boolean | undefined;
  /** Continues with new lines until `signal` aborts. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Yields the last lines, oldest first; with `follow` also new ones. Reads from the end of the log. */
export async function* tailAudit(options: TailOptions): AsyncGenerator<AuditLine> {
  const file = path.resolve(options.file);
  const follow = options.follow === true;
  const { before, lines, sources } = lastLines(file, options, follow);
  const join = joinExchanges();
  for (const line of before) join(line);
  yield* lines.map(join);
  if (!follow) return;
  for await (const bytes of followLines(file, sources, options.signal)) {
    for (const line of linesIn(bytes).map(join))
      if (options.brief !== true || (line.event !== 'access' && !isHousekeeping(line))) yield line;
  }
}

const housekeeping: ReadonlySet<string> = new Set([
  'agent.signed_in',
  'audit.pruned',
  'audit.rotated',
  'grant.connecting',
  'proxy.started',
  'proxy.stopped',
] satisfies AuditEventName[]);

/** Reports whether a line only records a process start or end, or a lease of `sidekey run` or `fetch`. */
function isHousekeeping({ event, reason = '' }: AuditLine): boolean {
  return housekeeping.has(event) || (event.startsWith('lease.') && /^(run: |sidekey fetch)/.test(reason));
}

interface QueryOptions {
  readonly file: string;
  readonly filter: AuditFilter;
  /** Maximum number of matches; only the last ones are yielded. */
  readonly last?: number | undefined;
  /** Called with the share of the parts of the log that were read, from 0 to 1. */
  readonly onProgress?: ((share: number) => void) | undefined;
}

/**
 * Yields the matching lines, in the order of the log.
 * @throws SidekeyError `audit_broken` if a packed file is damaged, after the lines before the damage.
 */
export async function* queryAudit(options: QueryOptions): AsyncGenerator<AuditLine> {
  for await (const { line } of queryRaw(options)) yield line;
}

/**
 * Queries like `queryAudit`, with the bytes that the hash covers. They are valid until the next step.
 * @throws as `queryAudit`
 */
export async function* queryRaw({
  filter,
  last,
  onProgress,
  ...options
}: QueryOptions): AsyncGenerator<Match> {
  const file = path.resolve(options.file);
  const parts = findParts(file, filter, last !== undefined);
  const scan = new LogScan(file, filter);
  let done = 0;
  async function* matchesIn(part: Part): AsyncGenerator<Match> {
    try {
      yield* scan.matchesIn(part);
    } catch (error) {
      throw unreadable(part.source, error);
    }
    onProgress?.((done += 1) / parts.length);
  }
  try {
    if (last === undefined) for (const part of parts) yield* matchesIn(part);
    else yield* await lastMatches(parts, last, matchesIn);
  } finally {
    scan.close();
  }
}

/** Reads the parts from the last one until enough lines match. */
async function lastMatches(
  parts: readonly Part[],
  count: number,
  matchesIn: (part: Part) => AsyncIterable<Match>,
): Promise<Match[]> {
  const pages: Match[][] = [];
  let missing = count;
  for (const part of parts.toReversed()) {
    if (missing <= 0) break;
    const matches: Match[] = [];
    for await (const { line, bytes } of matchesIn(part)) matches.push({ line, bytes: Buffer.from(bytes) });
    pages.push(matches.slice(-missing));
    missing -= matches.length;
  }
  return pages.toReversed().flat();
}

/** Converts damage to an error, so that it does not look like the end of the log. */
function unreadable({ path: at }: LogSource, error: unknown): unknown {
  if (!(error instanceof PackedDamage)) return error;
  return new SidekeyError('audit_broken', `The packed audit file ${at} is damaged: ${error.message}.`, {
    hint: hintOf`${remedy('audit.verify')} says what is lost; put the file back from a backup`,
    cause: error,
  });
}

function linesIn(bytes: Buffer): AuditLine[] {
  return piecesOf(bytes).flatMap((piece) => parseLine(piece) ?? []);
}

/** Lines before the last ones that are searched for accesses. */
const lookBack = 4_096;

interface LastLines {
  /** Accesses before the lines. */
  readonly before: readonly AuditLine[];
  readonly lines: readonly AuditLine[];
  /** Position up to which each file was read: the start of a line. */
  readonly sources: readonly LogSource[];
}

/**
 * Reads the last lines.
 * @param more True if the accesses of later lines are needed too.
 */
function lastLines(
  file: string,
  { lines: count, brief = false }: Pick<TailOptions, 'lines' | 'brief'>,
  more: boolean,
): LastLines {
  const sources = snapshotLog(file);
  const lines: AuditLine[] = [];
  const before: AuditLine[] = [];
  /** Exchanges whose end is among the lines, but not yet their access. */
  const ends = new Set<string>();
  let missing = count;
  let left = lookBack;
  const isEnough = () => missing <= 0 && (left <= 0 || (!more && ends.size === 0));
  function take(line: AuditLine): void {
    const { event, exchange = '' } = line;
    const isLeftOut = brief && (isHousekeeping(line) || (event === 'access' && ends.has(exchange)));
    if (missing > 0 && !isLeftOut) {
      missing -= 1;
      lines.push(line);
      if (exchange !== '' && endsExchange(line)) ends.add(exchange);
    } else {
      if (missing <= 0) left -= 1;
      if (event === 'access') before.push(line);
    }
    if (event === 'access') ends.delete(exchange);
  }
  for (const [index, source] of [...sources.entries()].toReversed()) {
    if (isEnough() && index < sources.length - maxOpenFiles) break;
    using reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      let size = Math.min(source.size, reader.size());
      let first = true;
      for (const { bytes, at } of readBackwards(reader, size)) {
        if (first) {
          first = false;
          // A line that is still being written is left for `follow`.
          if (at + bytes.length === size) {
            size = at;
            continue;
          }
        }
        if (isEnough()) break;
        for (const line of linesIn(bytes).toReversed()) take(line);
      }
      sources[index] = { ...source, size };
    } catch (error) {
      throw unreadable(source, error);
    }
  }
  return { before: before.toReversed(), lines: lines.toReversed(), sources };
}

/** The header line of CSV output (RFC 4180), with its line break. */
export const csvHead = `${lineFields.join(',')}\r\n`;

/** Returns the CSV line of an event, with its line break. */
export function csvLine(line: AuditLine): string {
  return `${lineFields.map((name) => csvField(line[name])).join(',')}\r\n`;
}

/** Formats a field. Text that a spreadsheet runs as formula gets an apostrophe (OWASP, CSV injection). */
function csvField(value: string | number | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
