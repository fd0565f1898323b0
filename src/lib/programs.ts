import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { systemCode } from './errors.ts';

/** A program to run, and its limits. */
interface BoundedRun {
  /** The program and its arguments, without a shell. */
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Standard input, if any. */
  readonly input?: string | undefined;
  readonly timeoutMs: number;
  /** Signal that ends the program early. */
  readonly signal?: AbortSignal | undefined;
  /** Maximum number of bytes of standard output. */
  readonly maxBytes: number;
}

/** The end of a run. */
export type ProgramEnd =
  /** `code` is null after a signal. `error` is the start of standard error. */
  | {
      readonly kind: 'ended';
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly output: Buffer;
      readonly error: string;
    }
  /** `code` is an error code of the system, such as `ENOENT`. */
  | { readonly kind: 'not_run'; readonly code: string }
  | { readonly kind: 'late' }
  | { readonly kind: 'too_long' };

/** Number of bytes of standard error to keep. The rest is discarded. */
const maxErrorBytes = 4_096;

/** Runs a program without a shell. Kills it with its children at a limit. Never rejects. */
export function runBounded({
  argv,
  cwd,
  env,
  input,
  timeoutMs,
  signal: stop,
  maxBytes,
}: BoundedRun): Promise<ProgramEnd> {
  const [program = '', ...words] = argv;
  const isGrouped = process.platform !== 'win32';
  return new Promise((resolve) => {
    const child = spawn(program, words, {
      cwd,
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      shell: false,
      windowsHide: true,
      // A process group, so that its children are killed with it.
      detached: isGrouped,
    });
    const kill = (end: ProgramEnd): void => {
      try {
        if (child.pid !== undefined && isGrouped) process.kill(-child.pid, 'SIGKILL');
        else child.kill('SIGKILL');
      } catch {
        // It has already exited.
      }
      resolve(end);
    };
    const late = () => kill({ kind: 'late' });
    const timer = setTimeout(late, timeoutMs);
    stop?.addEventListener('abort', late, { once: true });
    if (stop?.aborted === true) late();
    const output: Buffer[] = [];
    const error: Buffer[] = [];
    let length = 0;
    let errorLength = 0;
    child.stdout.on('data', (piece: Buffer) => {
      length += piece.length;
      if (length > maxBytes) kill({ kind: 'too_long' });
      else output.push(piece);
    });
    child.stderr.on('data', (piece: Buffer) => {
      if (errorLength < maxErrorBytes) error.push(piece.subarray(0, maxErrorBytes - errorLength));
      errorLength += piece.length;
    });
    // The program may end without reading its input.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.on('error', (cause) => {
      clearTimeout(timer);
      resolve({ kind: 'not_run', code: systemCode(cause) });
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      stop?.removeEventListener('abort', late);
      const text = Buffer.concat(error).toString('utf8');
      resolve({ kind: 'ended', code, signal, output: Buffer.concat(output), error: text });
    });
  });
}

/** Returns the reason that a program failed, as the end of a sentence that begins with its name. */
export function programFailure(end: ProgramEnd, timeoutMs: number): string {
  switch (end.kind) {
    case 'not_run':
      return `cannot be run (${end.code})`;
    case 'late':
      return `did not answer within ${timeoutMs} ms`;
    case 'too_long':
      return 'printed too much';
    case 'ended':
      return end.code === null ? `was ended by ${end.signal}` : `ended with exit code ${end.code}`;
  }
}

/** Returns the path of a program, or null if no folder of the `PATH` contains it. */
export async function findProgram(name: string, path: string): Promise<string | null> {
  for (const folder of path.split(delimiter)) {
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere && folder !== '') return file;
  }
  return null;
}
