import type { AuditLine } from './event.ts';
import { lineFields } from './line.ts';

/** Events that end an exchange. After an `access` they have only what that lacks. */
const endings: ReadonlySet<string> = new Set(['outcome', 'tunnel']);

/** Fields of an access that its end does not repeat. */
const inherited: ReadonlySet<string> = new Set([
  'agent',
  'lease',
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
 * Returns a function that takes lines in the order of the log and returns each with all its fields: the end of an exchange
 * gets those of its access. A line whose access did not come before, or too long ago, is returned as it is.
 */
export function joinExchanges(): (line: AuditLine) => AuditLine {
  const open = new Map<string, AuditLine>();
  const ended = new Map<string, AuditLine>();
  return (line) => {
    const { event, exchange } = line;
    if (exchange === undefined) return line;
    if (event === 'access') {
      keep(open, exchange, line, maxOpen);
      return line;
    }
    if (!endings.has(event)) return line;
    const access = open.get(exchange) ?? ended.get(exchange);
    if (access === undefined) return line;
    if (open.delete(exchange)) keep(ended, exchange, access, maxEnded);
    return joined(access, line);
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

/** Has the fields in the order of the log. */
function joined(access: AuditLine, end: AuditLine): AuditLine {
  const line: Record<string, unknown> = { v: end.v };
  for (const name of order) {
    const value = end[name] ?? (inherited.has(name) ? access[name] : undefined);
    if (value !== undefined) line[name] = value;
  }
  return line as unknown as AuditLine;
}
