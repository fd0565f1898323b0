import { pino, type DestinationStream } from 'pino';

/** The part of a logger that the house uses. */
export interface Log {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** Log lines on stderr, for stdout is for results: JSON for programs, and plain lines where a person looks on. */
export function createLog(level: 'fatal' | 'error' | 'warn' | 'info' | 'debug'): Log {
  const stderr = pino.destination({ fd: 2, sync: true });
  const destination: DestinationStream = process.stderr.isTTY
    ? { write: (line) => void stderr.write(plainLine(line)) }
    : stderr;
  return pino({ name: 'sidekey', level, serializers: { err: describeError } }, destination);
}

/** What pino writes, and what we give it. */
interface Line extends Readonly<Record<string, unknown>> {
  readonly time: number;
  readonly level: number;
  readonly msg: string;
  readonly err?: { readonly message?: string };
}

/** One log line as a person reads it: time, level, what happened, and where. A stack is not for a person. */
export function plainLine(line: string): string {
  const {
    time,
    level,
    msg,
    name: _name,
    pid: _pid,
    hostname: _host,
    err,
    ...rest
  } = JSON.parse(line) as Line;
  const facts = Object.entries(rest)
    .filter(([, value]) => !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const cause = err?.message === undefined ? [] : [`(${err.message})`];
  const clock = new Date(time).toISOString().slice(11, 19);
  const words = [`${clock}Z`, pino.levels.labels[level] ?? level, msg, ...facts, ...cause].join(' ');
  // Names in it may come from others: nothing of them may drive the terminal.
  return `${words.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')}\n`;
}

/**
 * An error by its name, code, message and stack alone. Libraries hang requests, with their headers, onto errors;
 * what is not named here cannot be logged.
 */
function describeError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { name: typeof error };
  const { name, message, stack } = error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const cause =
    error.cause === undefined || depth >= 4 ? {} : { cause: describeError(error.cause, depth + 1) };
  return { name, ...code, message, stack, ...cause };
}
