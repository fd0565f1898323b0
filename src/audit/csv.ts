/** Audit lines as CSV (RFC 4180): a head line, then one line each, all fields in the order of the audit file. */
import type { AuditLine } from './event.ts';

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
