import { statSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { createServer } from 'node:net';
import { on, once } from 'node:events';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { isSystemError, systemCode } from '../../lib/errors.ts';
import { insidePort } from './access.ts';
import { type Restriction, restrict } from './landlock.ts';

/**
 * The process that becomes a confined command. While the proxy starts, this process sends a socket of its
 * network namespace and restricts itself. Then it waits for the command and executes it in its own place: no
 * process of Sidekey stays.
 */

/** The first message from `sidekey run`. Null: only bubblewrap confines. */
export interface Restricting {
  readonly restriction: Restriction | null;
}

/** The second message: the command. */
export interface Order {
  readonly program: string;
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** The command could not be executed. */
export interface Failed {
  /** Code of the system, such as ENOENT, or of a SidekeyError. */
  readonly code: string;
  readonly message: string;
}

/** Waits for the command and becomes it. Never resolves. */
export async function serveInside(hasNetwork: boolean): Promise<void> {
  const messages = on(process, 'message');
  const receive = async (): Promise<unknown> => ((await messages.next()).value as readonly unknown[])[0];
  // Without `sidekey run` there is nobody to serve.
  process.once('disconnect', () => process.exit(1));
  if (hasNetwork) {
    const server = createServer().listen(insidePort, '127.0.0.1');
    await once(server, 'listening');
    // The handle alone: the proxy has a server of its own.
    process.send?.('ready', Reflect.get(server, '_handle'));
  } else process.send?.('ready');
  try {
    const { restriction } = (await receive()) as Restricting;
    if (restriction !== null) await restrict(restriction);
    const { program, words, env } = (await receive()) as Order;
    become(await executable(program, env['PATH'] ?? ''), [program, ...words], env);
  } catch (error) {
    const { message } = error as Error;
    process.send?.({ code: systemCode(error), message } satisfies Failed, () => process.exit(1));
  }
}

/** Executes a program in the place of this process, with the signals that a new process has. */
function become(file: string, argv: readonly string[], env: NodeJS.ProcessEnv): void {
  // Node.js ignores these two, and a program would inherit that.
  for (const signal of ['SIGPIPE', 'SIGXFSZ', 'SIGINT', 'SIGQUIT'] as const) {
    process.on(signal, ignore);
    process.off(signal, ignore);
  }
  process.removeAllListeners('warning');
  try {
    process.execve!(file, [...argv], { ...env });
  } catch (error) {
    if (!isSystemError(error, 'ENOEXEC')) throw error;
    // A script without a first line that names its shell (POSIX.1-2024, execvp).
    process.execve!('/bin/sh', ['sh', file, ...argv.slice(1)], { ...env });
  }
}

function ignore(): void {}

/** Returns the path of a program, found as execvp(3) does in the absolute folders of the PATH. */
async function executable(program: string, path: string): Promise<string> {
  if (program.includes('/')) return resolve(program);
  let failure: unknown = Object.assign(new Error('not found'), { code: 'ENOENT' });
  for (const folder of path.split(delimiter).filter((each) => isAbsolute(each))) {
    const file = join(folder, program);
    try {
      await access(file, constants.X_OK);
      return file;
    } catch (error) {
      if (isSystemError(error, 'EACCES') && isFile(file)) failure = error;
    }
  }
  throw failure;
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

if (process.argv[2] === '--inside') void serveInside(process.argv[3] === 'network');
