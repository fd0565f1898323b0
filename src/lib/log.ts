import { type DestinationStream, pino } from 'pino';
import { errorFacts } from './errors.ts';

/** The methods of pino in use. */
export interface Log {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** Creates the log on stderr: JSON lines, or plain text lines on a terminal. stdout is for results. */
export function createLog(
  level: 'fatal' | 'error' | 'warn' | 'info' | 'debug',
  destination: DestinationStream = standardError(),
): Log {
  return pino(
    {
      name: 'sidekey',
      level,
      // Only the parts of an error that cannot contain a secret are written, under any key.
      formatters: { log: (fields) => Object.fromEntries(Object.entries(fields).map(described)) },
      serializers: { err: (description: unknown) => description },
    },
    destination,
  );
}

function standardError(): DestinationStream {
  const stderr = pino.destination({ fd: 2, sync: true });
  return process.stderr.isTTY ? { write: (line) => void stderr.write(plainLine(line)) } : stderr;
}

/** A line as pino writes it. */
interface Line extends Readonly<Record<string, unknown>> {
  readonly time: number;
  readonly level: number;
  readonly msg: string;
  readonly err?: { readonly message?: string; readonly name?: string; readonly code?: string };
}

/** Formats a log line for a terminal: time, level, message and facts, without a stack. */
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
  const cause = err === undefined ? [] : [`(${err.message ?? err.code ?? err.name})`];
  const clock = new Date(time).toISOString().slice(11, 19);
  const words = [`${clock}Z`, pino.levels.labels[level] ?? level, msg, ...facts, ...cause].join(' ');
  // Names may come from an attacker: control characters must not reach the terminal.
  return `${words.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')}\n`;
}

function described([key, value]: [string, unknown]): [string, unknown] {
  return [key, value instanceof Error || key === 'err' ? describeError(value) : value];
}

/** Describes an error and its causes by `errorFacts`. */
function describeError(error: unknown, depth = 0): object {
  const { frames, ...facts } = errorFacts(error);
  const stack = frames.length === 0 ? {} : { stack: frames.join('\n') };
  const hasCause = error instanceof Error && error.cause !== undefined && depth < 4;
  return { ...facts, ...stack, ...(hasCause ? { cause: describeError(error.cause, depth + 1) } : {}) };
}
