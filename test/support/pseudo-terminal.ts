import { execFileSync, spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { shellWord } from '../../src/lib/text.ts';

/** True when programs can run in a terminal here: with `script` of util-linux (that of macOS differs). */
export const hasPseudoTerminal = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
})();

/** A program in its own terminal. */
export interface InTerminal {
  /** All output to the terminal so far. */
  readonly screen: () => string;
  readonly type: (keys: string) => void;
  /** Resolves when the output meets a condition, which is evaluated after each output. */
  readonly until: (condition: (screen: string) => boolean) => Promise<void>;
  /** The process id of the program itself. */
  readonly signal: (name: NodeJS.Signals) => void;
  /**
   * Resolves with the exit code, and the settings of the terminal (`stty -g`) before and after the program.
   */
  readonly ended: Promise<{ readonly exit: number; readonly before: string; readonly after: string }>;
}

/** Runs a program in a terminal of 100 columns and 30 rows. */
export function runInTerminal(
  command: readonly string[],
  { cwd, env = {} }: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): InTerminal {
  const inner = `echo pid=$$; exec ${command.map(shellWord).join(' ')}`;
  const outer = `stty rows 30 cols 100; stty -g | sed s/^/before=/; sh -c ${shellWord(inner)}; echo exit=$?; stty -g | sed s/^/after=/`;
  const child = spawn('script', ['--quiet', '--return', '--command', outer, '/dev/null'], {
    cwd,
    env: { PATH: process.env['PATH'], npm_command: '', HOME: cwd, TERM: 'xterm', SHELL: '/bin/sh', ...env },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  // The program may end while a key is typed.
  child.stdin.on('error', () => {});
  let text = '';
  const conditions = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
    for (const look of conditions) look();
  });
  const fact = (name: string) => new RegExp(`${name}=([^\\r\\n]+)`).exec(text)?.[1] ?? '';
  const ended = new Promise<Awaited<InTerminal['ended']>>((resolve) => {
    child.once('close', () =>
      resolve({ exit: Number(fact('exit')), before: fact('before'), after: fact('after') }),
    );
  });
  const signal = (name: NodeJS.Signals) => void process.kill(Number(fact('pid')), name);
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    screen: () => text,
    type: (keys) => void child.stdin.write(keys),
    until: (condition) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!condition(text)) return;
          conditions.delete(look);
          resolve();
        };
        conditions.add(look);
        look();
        void ended.then(() => reject(new Error(`It has ended: ${JSON.stringify(text)}`)));
      }),
    signal,
    ended,
  };
}
