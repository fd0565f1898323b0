import type { AuditLine } from '../domain/event.ts';
import { lineFields, usualOutcome, usualScheme } from './line.ts';
import { parseLine } from './piece.ts';

/** Events that end an exchange. After an `access` event they omit the fields that it has. */
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

/** Maximum number of kept accesses without an end: in progress, or of killed writers. */
const maxOpen = 16_384;
/** Maximum number of accesses kept after their end, for lines that are read again. */
const maxEnded = 4_096;

/** Completes lines, see `joinExchanges`. */
export interface ExchangeJoin {
  (line: AuditLine): AuditLine;
  /** Takes the bytes of an access, to be parsed only if a line needs it. */
  defer(exchange: string, access: Buffer): void;
  /** Returns the access of an exchange: its bytes if it is deferred; undefined if there was none. */
  accessOf(exchange: string): AuditLine | Buffer | undefined;
  /** Takes the end of an exchange that is not to be completed. */
  skip(exchange: string): void;
}

/**
 * Returns a function that takes lines in the order of the log, and returns each with all its fields: those
 * that it omits because they have their usual value and, at the end of an exchange, those of its access. An
 * end lacks the latter if the access did not come before, or came too long ago.
 */
export function joinExchanges(): ExchangeJoin {
  const open = new Map<string, AuditLine | Buffer>();
  /** Ended accesses in two halves: removing the oldest entries of one map would dominate the run time. */
  let ended = new Map<string, AuditLine | Buffer>();
  let endedBefore = ended;
  function end(exchange: string): AuditLine | Buffer | undefined {
    const access = join.accessOf(exchange);
    if (access === undefined || !open.delete(exchange)) return access;
    if (ended.size >= maxEnded / 2) [endedBefore, ended] = [ended, new Map()];
    ended.set(exchange, access);
    return access;
  }
  function join(line: AuditLine): AuditLine {
    const { event, exchange = '' } = line;
    if (event === 'access') {
      const access = complete(line, undefined);
      if (exchange !== '') keep(open, exchange, access);
      return access;
    }
    if (exchange === '' || !endsExchange(line)) return complete(line, undefined);
    const ended = end(exchange);
    const access = Buffer.isBuffer(ended) ? parseLine(ended) : ended;
    return complete(line, access && complete(access, undefined));
  }
  join.defer = (exchange: string, access: Buffer) => keep(open, exchange, access);
  join.accessOf = (exchange: string) =>
    open.get(exchange) ?? ended.get(exchange) ?? endedBefore.get(exchange);
  join.skip = (exchange: string) => void open.delete(exchange);
  return join;
}

/** Reports whether the event at the end of an exchange omits this field because its access event has it. */
export function inheritsField(name: string): boolean {
  return inherited.has(name);
}

/** Reports whether fields of a line may be in an earlier line. */
export function endsExchange({ event }: { readonly event: string }): boolean {
  return endings.has(event);
}

function keep(open: Map<string, AuditLine | Buffer>, exchange: string, access: AuditLine | Buffer): void {
  open.set(exchange, access);
  if (open.size <= maxOpen) return;
  for (const oldest of open.keys()) {
    open.delete(oldest);
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
