import type { AuditLine } from './event.ts';
import { lineFields, usualOutcome, usualScheme } from './line.ts';

/** Events that end an exchange. After an `access` they have only what that lacks. */
const endings: ReadonlySet<string> = new Set(['outcome', 'tunnel']);

/** Fields of an access that its end does not repeat. */
const inherited: ReadonlySet<string> = new Set([
  'agent',
  'lease',
  'subject',
  'user',
  'grant',
  'provider',
  'client',
  'scheme',
  'host',
  'port',
  'credential',
  'approval',
  'method',
  'path',
  'reason',
] satisfies (keyof AuditLine)[]);

/** Accesses that are kept without an end: those in progress, and those of writers that were killed. */
const maxOpen = 16_384;
/** Accesses that are kept after their end, for lines that are read again. */
const maxEnded = 4_096;

/**
 * Returns a function that takes lines in the order of the log and returns each with all its fields: those that a line leaves
 * out because they have their usual value, and at the end of an exchange those of its access. An end whose access did not
 * come before, or too long ago, lacks these.
 */
export function joinExchanges(): (line: AuditLine) => AuditLine {
  const open = new Map<string, AuditLine>();
  const ended = new Map<string, AuditLine>();
  return (line) => {
    const { event, exchange = '' } = line;
    if (event === 'access') {
      const access = complete(line, undefined);
      if (exchange !== '') keep(open, exchange, access, maxOpen);
      return access;
    }
    if (exchange === '' || !endings.has(event)) return complete(line, undefined);
    const access = open.get(exchange) ?? ended.get(exchange);
    if (access !== undefined && open.delete(exchange)) keep(ended, exchange, access, maxEnded);
    return complete(line, access);
  };
}

/** Reports whether the fields of a line may stand in an earlier one. */
export function endsExchange({ event }: AuditLine): boolean {
  return endings.has(event);
}

function keep(lines: Map<string, AuditLine>, exchange: string, line: AuditLine, max: number): void {
  lines.set(exchange, line);
  if (lines.size <= max) return;
  for (const oldest of lines.keys()) {
    lines.delete(oldest);
    return;
  }
}

/** The fields of a line after `v`, in the order of the log. */
const order: readonly Exclude<keyof AuditLine, 'v'>[] = [
  ...lineFields.slice(0, -2),
  'prev_end',
  'prev',
  'hash',
];

/** Returns the line with its fields in the order of the log, or the line itself if it lacks none. */
function complete(line: AuditLine, access: AuditLine | undefined): AuditLine {
  const outcome = line.outcome ?? usualOutcome(line.event);
  const scheme = line.scheme ?? usualScheme(line.event);
  if (access === undefined && outcome === line.outcome && scheme === line.scheme) return line;
  const whole = { ...line, outcome, scheme };
  const ordered: Record<string, unknown> = { v: line.v };
  for (const name of order) {
    const value = whole[name] ?? (inherited.has(name) ? access?.[name] : undefined);
    if (value !== undefined) ordered[name] = value;
  }
  return ordered as unknown as AuditLine;
}
