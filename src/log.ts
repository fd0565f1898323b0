import { pino } from 'pino';

/** The part of a logger that the house uses. */
export interface Log {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** JSON lines on stderr: stdout is for results. */
export function createLog(level: 'fatal' | 'error' | 'warn' | 'info' | 'debug'): Log {
  return pino(
    { name: 'sidekey', level, serializers: { err: describeError } },
    pino.destination({ fd: 2, sync: true }),
  );
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
