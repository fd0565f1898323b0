import { type FailureCode, failures } from './failures.ts';
import type { Hint } from './hint.ts';

interface SidekeyErrorOptions {
  /**
   * Next step: an exact action, config line or link. Default: from the table. If a file cannot be written,
   * the state of the machine that `cause` reports has its own, such as for a full disk.
   */
  readonly hint?: Hint | undefined;
  /** Underlying error. Never shown to a client of the proxy. */
  readonly cause?: unknown;
  /** Milliseconds after which a retry may succeed: `Retry-After` of the response (RFC 9110 §10.2.3). */
  readonly retryAfterMs?: number | undefined;
}

const ofFiles: ReadonlySet<FailureCode> = new Set(['file_unwritable', 'audit_unavailable']);

/**
 * A failure with a code of the table, a sentence, and a next step. Message and hint must never contain a
 * secret: they appear in responses, logs and the audit.
 */
export class SidekeyError extends Error {
  override readonly name = 'SidekeyError';
  readonly code: FailureCode;
  readonly hint: Hint;
  readonly retryAfterMs: number | undefined;

  constructor(
    code: FailureCode,
    message: string = failures[code].sentence,
    options: SidekeyErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    const obstacle = ofFiles.has(code) ? obstacleOf(options.cause) : undefined;
    this.hint = obstacle?.hint ?? options.hint ?? failures[code].hint;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** HTTP status of the refusal. */
  get status(): number {
    return failures[this.code].status;
  }

  /** Exit code of the command line. */
  get exit(): number {
    return failures[this.code].exit;
  }
}

/** Reason why an intact file cannot be used, and the next step. */
export interface Obstacle {
  readonly why: string;
  readonly hint: Hint;
}

const tooManyFiles = {
  why: 'too many files are open',
  hint: 'raise the limit of open files (ulimit -n, or LimitNOFILE of a service), then start Sidekey again',
};

/** States of the machine, by the code of the system. No permission and no path of the user causes these. */
export const obstacles = {
  ENOSPC: { why: 'the disk is full', hint: 'free space on its disk, then try again' },
  EDQUOT: {
    why: 'the quota of the disk is used up',
    hint: 'free space or raise the quota, then try again',
  },
  EROFS: {
    why: 'its file system is read-only',
    hint: 'mount it writable again (an error of the disk can make it read-only), then try again',
  },
  EIO: {
    why: 'the disk reports an error',
    hint: 'look for errors of the disk in the log of the system, then try again',
  },
  EMFILE: tooManyFiles,
  ENFILE: tooManyFiles,
} as const satisfies Readonly<Record<string, Obstacle>>;

/** Returns the state of the machine that a system error reports; undefined for other errors. */
export function obstacleOf(error: unknown): Obstacle | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return (obstacles as Readonly<Partial<Record<string, Obstacle>>>)[code];
}

export function inputInvalid(sentence: string, hint: Hint): SidekeyError {
  return new SidekeyError('input_invalid', sentence, { hint });
}

/** Returns a value. @throws the value if it is a failure */
export function orThrow<T>(value: T | SidekeyError): T {
  if (value instanceof SidekeyError) throw value;
  return value;
}

/** Returns a caught failure. @throws any other error */
export function caughtFailure(error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  throw error;
}

/**
 * Returns the failure of a command for any error. A state of the machine is no mistake of Sidekey. Of several
 * errors (`SuppressedError`), the first counts: parts that fail to close usually do so for the same reason.
 */
export function failureOf(error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  if (error instanceof Error && 'suppressed' in error && 'error' in error) {
    const first = failureOf(error.suppressed);
    return first.code === 'internal' ? failureOf(error.error) : first;
  }
  if (error instanceof Error && isOfTheSystem(error) && obstacleOf(error) !== undefined)
    return new SidekeyError('file_unwritable', `${errorFacts(error).message}.`, { cause: error });
  return new SidekeyError('internal', `Internal error (please report it): ${errorPhrase(error)}.`, {
    cause: error,
  });
}

/** Loggable facts of an error. */
interface ErrorFacts {
  /** Class, such as `TypeError`. */
  readonly name: string;
  /** Code of the system or a library, such as `ECONNRESET`. */
  readonly code?: string;
  readonly message?: string;
  /** Stack frames, innermost first: `read (file:///…/input.ts:12:3)`. */
  readonly frames: readonly string[];
}

/**
 * Returns the loggable facts of an error. Keeps messages of `SidekeyError` and of system calls. Drops other
 * messages, because libraries quote their input (`JSON.parse`: `"sk-live-…" is not valid JSON`), and drops
 * properties, such as a request with its headers.
 */
export function errorFacts(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { name: typeof error, frames: [] };
  const code = 'code' in error && typeof error.code === 'string' && isCode(error.code) ? error.code : null;
  const isOurs = error instanceof SidekeyError;
  return {
    name: /^[A-Za-z]{1,60}$/.test(error.name) ? error.name : 'Error',
    ...(code === null ? {} : { code }),
    ...(isOurs || isOfTheSystem(error) ? { message: error.message } : {}),
    frames: framesOf(error),
  };
}

/** Formats the facts as one line: `TypeError in read (file:///…/input.ts:12:3)`. */
export function errorPhrase(error: unknown): string {
  const { name, code, message, frames } = errorFacts(error);
  const what = message ?? (code === undefined ? name : `${name} ${code}`);
  return frames.length === 0 ? what : `${what} in ${frames.slice(0, 3).join(' < ')}`;
}

/** Accepts codes such as `ECONNRESET`, `ERR_INVALID_URL`, `SQLITE_BUSY`, and those of the table. */
function isCode(text: string): boolean {
  return Object.hasOwn(failures, text) || /^[A-Z][A-Z0-9_]{1,59}$/.test(text);
}

/** Recognizes Node's `SystemError`, such as "connect ECONNREFUSED 127.0.0.1:443". */
function isOfTheSystem(error: Error): boolean {
  return 'syscall' in error && 'errno' in error && typeof error.errno === 'number';
}

/** Returns the frames of the stack. Lines of the message before them may look like frames. */
function framesOf({ message, stack = '' }: Error): string[] {
  const from = message === '' ? 0 : stack.indexOf(message) + message.length;
  return stack
    .slice(from)
    .split('\n')
    .flatMap((line) => {
      const [, frame] =
        /^ {4}at ((?:[\w.$<># [\]]+ \()?(?:file:\/\/|node:|\/|[A-Z]:[\\/])[^()\n]*:\d+:\d+\)?)$/.exec(line) ??
        [];
      return frame === undefined ? [] : [frame];
    });
}

/**
 * Converts an error of `listen` to a `SidekeyError`.
 *
 * @param setting config key of the address
 */
export function listenFailure(
  cause: Error & { code?: string },
  { host, port, setting }: { readonly host: string; readonly port: number; readonly setting: string },
): SidekeyError {
  if (cause.code === 'EADDRINUSE') {
    return new SidekeyError('port_in_use', `${host}:${port} is in use by another program.`, {
      hint: `stop it, or set ${setting} to another port`,
      cause,
    });
  }
  return new SidekeyError(
    'listen_failed',
    `Sidekey cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`,
    {
      hint: `set ${setting} to an address of this machine and a port that you may use`,
      cause,
    },
  );
}

/** Returns the system's code of an error, such as `ENOENT`, or `unknown error`. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

/** Reports whether an error has one of these system codes. */
export function isSystemError(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes(systemCode(error));
}
