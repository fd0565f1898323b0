import { type DestinationStream, pino } from 'pino';
import { errorFacts } from './errors.ts';

/** The part of a logger that the house uses. */
export interface Log {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** Log lines on stderr, for stdout is for results: JSON for programs, and plain lines where a person looks on. */
export function createLog(
  level: 'fatal' | 'error' | 'warn' | 'info' | 'debug',
  destination: DestinationStream = standardError(),
): Log {
  return pino(
    {
      name: 'sidekey',
      level,
      // Under whatever name an error is given, only what is known to hold no secret is written of it.
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

/** What pino writes, and what we give it. */
interface Line extends Readonly<Record<string, unknown>> {
  readonly time: number;
  readonly level: number;
  readonly msg: string;
  readonly err?: { readonly message?: string; readonly name?: string; readonly code?: string };
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
  const cause = err === undefined ? [] : [`(${err.message ?? err.code ?? err.name})`];
  const clock = new Date(time).toISOString().slice(11, 19);
  const words = [`${clock}Z`, pino.levels.labels[level] ?? level, msg, ...facts, ...cause].join(' ');
  // Names in it may come from others: nothing of them may drive the terminal.
  return `${words.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')}\n`;
}

function described([key, value]: [string, unknown]): [string, unknown] {
  return [key, value instanceof Error || key === 'err' ? describeError(value) : value];
}

/** An error and what lay beneath it, as far as `errorFacts` has something to say of it. */
function describeError(error: unknown, depth = 0): object {
  const { frames, ...facts } = errorFacts(error);
  const stack = frames.length === 0 ? {} : { stack: frames.join('\n') };
  const hasCause = error instanceof Error && error.cause !== undefined && depth < 4;
  return { ...facts, ...stack, ...(hasCause ? { cause: describeError(error.cause, depth + 1) } : {}) };
}

/**
 * What a person types to run this program: where npm runs it from a checkout there is no `sidekey` on the PATH.
 * `npm_command` is what npm tells its children (`exec` is npx).
 */
export function commandName(npmCommand: string | undefined = process.env['npm_command']): string {
  return ['exec', 'start', 'run', 'run-script'].includes(npmCommand ?? '') ? 'npx sidekey' : 'sidekey';
}

/** A text for a person, with the commands in it (at its beginning, or after an arrow) as they are typed here. */
export function asTyped(text: string, name: string = commandName()): string {
  return name === 'sidekey' ? text : text.replace(/(^|→ )sidekey (?=[a-z-])/g, `$1${name} `);
}
