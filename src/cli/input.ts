import { createInterface } from 'node:readline';
import { SidekeyError } from '../errors.ts';

const largest = 1_048_576;

/** process.stdin, unless a test gives another. */
export type Input = NodeJS.ReadableStream & { readonly isTTY?: boolean };

/** Standard input, line by line, while something else goes on. */
export interface Lines {
  readonly isTerminal: boolean;
  /** The next line, without its end; null where there is none any more. On a terminal the question is asked first. */
  next(question: string): Promise<string | null>;
  /** Waits no more: what is asked for is answered with null, and the process is free to end. */
  close(): void;
}

/** Longer lines are cut; no URL that a browser shows is as long. */
const longestLine = 65_536;

/**
 * Nothing is read before it is asked for. Questions go to `terminal`, and there what is typed is shown.
 *
 * @param interrupted what Ctrl-C does: a terminal that is read key by key sends no signal by itself. Default: it sends one
 */
export function openLines(
  stdin: Input,
  terminal: NodeJS.WritableStream,
  interrupted = (): void => void process.kill(process.pid, 'SIGINT'),
): Lines {
  const isTerminal = stdin.isTTY === true;
  const read: string[] = [];
  let waiting: ((line: string | null) => void) | null = null;
  let isOver = false;
  let reader: ReturnType<typeof createInterface> | null = null;

  function answer(line: string | null): void {
    const resolve = waiting;
    waiting = null;
    if (resolve !== null) resolve(line);
    else if (line !== null) read.push(line);
  }
  function end(): void {
    isOver = true;
    answer(null);
  }
  return {
    isTerminal,
    next(question) {
      const [line] = read.splice(0, 1);
      if (line !== undefined || isOver) return Promise.resolve(line ?? null);
      if (reader === null) {
        reader = createInterface({
          input: stdin,
          ...(isTerminal ? { output: terminal, terminal: true } : {}),
        });
        reader.on('line', (text) => answer(text.slice(0, longestLine)));
        reader.once('close', end);
        reader.on('SIGINT', interrupted);
      }
      reader.setPrompt(question);
      if (isTerminal) reader.prompt();
      return new Promise((resolve) => {
        waiting = resolve;
      });
    },
    close() {
      // What is said next begins on a line of its own.
      if (isTerminal && waiting !== null) terminal.write('\n');
      end();
      reader?.close();
      if (reader !== null) stdin.pause();
    },
  };
}

/**
 * All of standard input as text: where secrets come in, because what stands in argv is there for every process to read.
 *
 * @throws SidekeyError `input_invalid` where it is a terminal, or more than 1 MiB
 */
export async function readInput(stdin: Input): Promise<string> {
  if (stdin.isTTY === true) {
    throw new SidekeyError(
      'input_invalid',
      'The credential is read from standard input, and that is a terminal.',
      {
        hint: 'put it into a file that only you can read, and end the command with "< token.json"',
      },
    );
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    length += bytes.length;
    if (length > largest) throw new SidekeyError('input_invalid', 'Standard input holds more than 1 MiB.');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}
