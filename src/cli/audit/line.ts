import type { AuditLine } from '../../audit/event.ts';
import { visible } from '../table.ts';
import { duration } from '../time.ts';

/** The line of an event for a person. */
export type LineFormat = (line: AuditLine) => string;

/** A path may be as long as it likes, but does not push all that follows out of sight. */
const widestPadded = 60;

/**
 * Time, event, agent, what was asked for, grant, outcome and duration, in columns as wide as the widest so far.
 *
 * @param first the lines that are known to come: their columns are aligned from the start
 * @param grantName what people call the grant of that id
 */
export function lineFormat(first: readonly AuditLine[], grantName: (id: string) => string): LineFormat {
  const widths: number[] = [];
  const grow = (cells: readonly string[]) => {
    for (const [column, { length }] of cells.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, Math.min(length, widestPadded));
    }
  };
  const cellsOf = (line: AuditLine) => cells(line, grantName).map(visible);
  for (const line of first) grow(cellsOf(line));
  return (line) => {
    const shown = cellsOf(line);
    grow(shown);
    return shown
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  };
}

function cells(line: AuditLine, grantName: (id: string) => string): string[] {
  const { time, event, agent, grant, duration_ms: took } = line;
  return [
    time.replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
    event,
    agent ?? '-',
    subject(line),
    grant === undefined ? '-' : grantName(grant),
    result(line),
    took === undefined ? '' : duration(took),
  ];
}

/** `GET https://api.github.com/user`; for what is no request, the host or the provider that it is about. */
function subject({ method, scheme, host, port, path, provider }: AuditLine): string {
  if (host === undefined) return provider ?? '-';
  const isUsual = port === undefined || (scheme === 'http' ? port === 80 : port === 443);
  const where = `${scheme === 'http' ? 'http://' : ''}${host}${isUsual ? '' : `:${port}`}${path ?? ''}`;
  return method === undefined ? where : `${method} ${where}`;
}

/** `200`; `deny 403 domain_not_allowed`; for what is no request, why, and its outcome where it did not come about. */
function result({ event, outcome, status, code, reason, method, by }: AuditLine): string {
  const isRequest = method !== undefined && !event.startsWith('approval.');
  const isPlain = outcome === 'ok' ? status !== undefined || !isRequest : outcome === 'allow' && !isRequest;
  const parts = [isPlain ? undefined : outcome, status, code, isRequest ? undefined : reason];
  const words = parts.filter((part) => part !== undefined).join(' ') || 'ok';
  return by === undefined ? words : `${words}, by ${by}`;
}
