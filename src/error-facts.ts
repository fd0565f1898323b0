import { failures, SidekeyError } from './errors.ts';

/** What may be written of an error. */
export interface ErrorFacts {
  /** Its class, such as `TypeError`. */
  readonly name: string;
  /** The system's or a library's name of it, such as `ECONNRESET`. */
  readonly code?: string;
  readonly message?: string;
  /** Where it happened, innermost first: `read (file:///…/input.ts:12:3)`. */
  readonly frames: readonly string[];
}

/**
 * What may be written of an error, whoever made it. A failure of ours says what it says. Of an error that nobody foresaw
 * the message is left out, because libraries quote what they were given (`JSON.parse`: `"sk-live-…" is not valid JSON`),
 * and so is everything that was hung onto it, such as a request with its headers. The system's own are made of a code, a
 * path and an address, and are kept.
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

/** The same in a few words, for one line: `TypeError in read (file:///…/input.ts:12:3)`. */
export function errorPhrase(error: unknown): string {
  const { name, code, message, frames } = errorFacts(error);
  const what = message ?? (code === undefined ? name : `${name} ${code}`);
  return frames.length === 0 ? what : `${what} in ${frames.slice(0, 3).join(' < ')}`;
}

/** `ECONNRESET`, `ERR_INVALID_URL`, `SQLITE_BUSY`, and ours. */
function isCode(text: string): boolean {
  return Object.hasOwn(failures, text) || /^[A-Z][A-Z0-9_]{1,59}$/.test(text);
}

/** Errors of system calls (`SystemError` in Node's documentation): "connect ECONNREFUSED 127.0.0.1:443". */
function isOfTheSystem(error: Error): boolean {
  return 'syscall' in error && 'errno' in error && typeof error.errno === 'number';
}

/** The lines of the stack that say where. The message stands before them, and may have lines that look like them. */
function framesOf({ message, stack = '' }: Error): string[] {
  const from = message === '' ? 0 : stack.indexOf(message) + message.length;
  return stack
    .slice(from)
    .split('\n')
    .flatMap((line) => {
      const [, frame] =
        /^ {4}at ((?:[\w.$<># [\]]+ \()?(?:file:\/\/|node:|\/)[^()\n]*:\d+:\d+\)?)$/.exec(line) ?? [];
      return frame === undefined ? [] : [frame];
    });
}
