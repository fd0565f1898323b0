import { open, readFile } from 'node:fs/promises';
import { createInterface, emitKeypressEvents } from 'node:readline';
import { Writable } from 'node:stream';
import { createDisplay } from './display.ts';
import type { Output, Streams } from './output.ts';
import { inputInvalid, SidekeyError, systemCode } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { readBounded } from '../lib/body.ts';
import { shellWord, visible } from '../lib/text.ts';

/**
 * Prompts the user. `secret`: the input is not echoed. `hasLines`: reads JSON or PEM up to an empty line or
 * Ctrl-D.
 *
 * @throws SidekeyError `input_invalid` if the input is cancelled, or empty and not optional
 */
export type Ask = (
  question: string,
  how: { readonly secret: boolean; readonly isOptional?: boolean; readonly hasLines?: boolean },
) => Promise<string>;

/** Returns the prompt; null: standard input is no terminal. Writes the question to stderr. */
export function createAsk(stdin: Input, stderr: Streams['stderr']): Ask | null {
  if (stdin.isTTY !== true) return null;
  return async (question, { secret, isOptional = false, hasLines = false }) => {
    // Line editing echoes to a discarding stream.
    const shown = new Writable({
      write(chunk: Buffer, _encoding, done) {
        if (!secret) stderr.write(chunk);
        done();
      },
    });
    const lines = openLines(stdin, shown, () => lines.close());
    const next = lines.next(`${question}: `);
    // After the echo is off, so that an answer pasted at once is not shown.
    if (secret) stderr.write(`${question}: `);
    let line = (await next)?.trim();
    if (hasLines && /^[[{]|^-----BEGIN /.test(line ?? '')) {
      for (let more = await lines.next(''); (more ?? '').trim() !== ''; more = await lines.next(''))
        line += `\n${more}`;
    }
    lines.close();
    if (secret) stderr.write('\n');
    if (line !== undefined && (line !== '' || isOptional)) return line;
    throw new SidekeyError('input_invalid', 'Nothing was entered.', { hint: 'run the command again' });
  };
}

/**
 * Calls `run` at the first Ctrl-C or termination signal. A second signal ends the process. Returns a function
 * that removes the handlers.
 */
export function onInterrupt(run: () => void): () => void {
  process.once('SIGINT', run).once('SIGTERM', run);
  return () => {
    process.off('SIGINT', run).off('SIGTERM', run);
  };
}

/** A page on a terminal. Escapes control characters in its lines, and cuts them at its width. */
export interface Page {
  readonly lines: readonly string[];
  /** Index of the bold line; null: none. */
  readonly bold: number | null;
  /** Colors of lines, by their index. */
  readonly colors?: ReadonlyMap<number, 'green' | 'red'>;
}

export interface Listener {
  /** Key: its character, or `up`, `down`, `return`, `escape`, `backspace`, `interrupt`. */
  readonly key: (key: string) => void;
  readonly resize: () => void;
}

/** A terminal with raw output and key input. */
interface Screen {
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly draw: (page: Page) => void;
  /** Restores the terminal. Idempotent. */
  readonly close: () => void;
}

export type OpenScreen = (listener: Listener) => Screen;

/** Alternate screen, hidden cursor, no line wrap, bracketed paste. */
const begin = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[?2004h';

const end = '\u001b[?2004l\u001b[?7h\u001b[?25h\u001b[?1049l';

/** Returns the screen; null: input or output is not a suitable terminal. */
export function createScreen(
  stdin: Input & { setRawMode?: (mode: boolean) => unknown },
  stdout: Streams['stdout'],
  env: NodeJS.ProcessEnv,
): OpenScreen | null {
  if (stdin.isTTY !== true || stdout.isTTY !== true || env['TERM'] === 'dumb') return null;
  const { paint } = createDisplay(stdout, env);
  return ({ key, resize }) => {
    let isOpen = true;
    let isPaste = false;
    function press(
      text: string | undefined,
      { name, ctrl, meta }: { readonly name?: string; readonly ctrl?: boolean; readonly meta?: boolean },
    ): void {
      // Ignores pasted text.
      if (name === 'paste-start' || name === 'paste-end') isPaste = name === 'paste-start';
      else if (ctrl === true) {
        if (name === 'c' || name === 'd') key('interrupt');
      } else if (!isPaste && meta !== true) {
        const special = name === 'enter' ? 'return' : (name ?? '');
        if (specials.has(special)) key(special);
        else if (text !== undefined && /^[\x21-\x7e]$/.test(text)) key(text);
      }
    }
    const leave = () => key('interrupt');
    function close(): void {
      if (!isOpen) return;
      isOpen = false;
      stdin.off('keypress', press).off('end', leave);
      stdout.off?.('resize', resize);
      process.off('exit', close);
      stdin.setRawMode?.(false);
      stdin.pause();
      stdout.write(end);
    }
    emitKeypressEvents(stdin);
    stdin.on('keypress', press).once('end', leave);
    stdout.on?.('resize', resize);
    // Also restores the terminal after an unexpected error.
    process.once('exit', close);
    stdin.setRawMode?.(true);
    stdin.resume();
    stdout.write(begin);
    const size = () => ({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 });
    return {
      size,
      draw({ lines, bold, colors }) {
        if (!isOpen) return;
        const shown = lines.slice(0, size().rows).map((line, index) => {
          const style = index === bold ? 'bold' : colors?.get(index);
          return `${style === undefined ? visible(line) : paint(style, visible(line))}\u001b[K`;
        });
        stdout.write(`\u001b[H${shown.join('\r\n')}\u001b[J`);
      },
      close,
    };
  };
}

const specials: ReadonlySet<string> = new Set(['up', 'down', 'return', 'escape', 'backspace']);

const maxInputBytes = 1_048_576;

/** process.stdin; tests pass another. */
export type Input = NodeJS.ReadableStream & { readonly isTTY?: boolean };

/** Standard input, line by line. */
export type Lines = ReturnType<typeof openLines>;

/** Prompts for yes or no. Empty input returns the default. The end of the input returns no. */
export async function confirm(
  openLines: () => Lines,
  question: string,
  byDefault: boolean,
): Promise<boolean> {
  const lines = openLines();
  try {
    const answer = await lines.next(`${question} ${byDefault ? '[Y/n]' : '[y/N]'} `);
    if (answer === null) return false;
    return answer.trim() === '' ? byDefault : /^\s*y/i.test(answer);
  } finally {
    lines.close();
  }
}

/** Maximum length of a line in characters. A longer one is cut. URLs in browsers are shorter. */
const maxLineLength = 65_536;

/**
 * Reads nothing before the first question. Writes questions to `terminal`, which shows the typed text.
 *
 * @param interrupted effect of Ctrl-C: a terminal in raw mode sends no signal. Default: SIGINT
 */
export function openLines(
  stdin: Input,
  terminal: NodeJS.WritableStream,
  interrupted = (): void => void process.kill(process.pid, 'SIGINT'),
) {
  const isTerminal = stdin.isTTY === true;
  let reader: ReturnType<typeof createInterface> | null = null;
  let read: NodeJS.AsyncIterator<string> | null = null;
  let isWaiting = false;
  let isClosed = false;
  return {
    isTerminal,
    /** Returns the next line, without its end; null at the end of input. On a terminal, prompts first. */
    async next(question: string): Promise<string | null> {
      if (reader === null && isClosed) return null;
      reader ??= createInterface({
        input: stdin,
        ...(isTerminal ? { output: terminal, terminal: true } : {}),
      })
        .on('SIGINT', interrupted)
        .once('close', () => (isClosed = true));
      read ??= reader[Symbol.asyncIterator]();
      reader.setPrompt(question);
      if (isTerminal && !isClosed) reader.prompt();
      isWaiting = true;
      const { value, done } = await read.next();
      isWaiting = false;
      return done === true ? null : value.slice(0, maxLineLength);
    },
    /** Ends the wait: a pending call returns null, and the process may exit. */
    close(): void {
      // Starts a new line for later output.
      if (isTerminal && isWaiting) terminal.write('\n');
      isClosed = true;
      reader?.close();
      if (reader !== null) stdin.pause();
    },
  };
}

/** Reads the file that an option names; `-` is standard input. @throws SidekeyError `input_invalid` */
export async function readGivenFile(
  { readInput }: { readonly readInput: () => Promise<string> },
  file: string,
  hint: Hint,
): Promise<Buffer> {
  if (file === '-') return Buffer.from(await readInput(), 'utf8');
  try {
    return await readFile(file);
  } catch (cause) {
    const message = `${file} cannot be read (${systemCode(cause)}).`;
    throw new SidekeyError('input_invalid', message, { hint, cause });
  }
}

/**
 * Reads all of standard input as text. Secrets come from it, because other processes can read argv.
 *
 * @throws SidekeyError `input_invalid` if it is a terminal, or more than 1 MiB
 */
export async function readInput(stdin: Input): Promise<string> {
  if (stdin.isTTY === true) {
    throw inputInvalid(
      'The credential is read from standard input, and that is a terminal.',
      'put it into a file that only you can read, and end the command with "< token.json"',
    );
  }
  const bytes = await readBounded(stdin as AsyncIterable<Buffer>, maxInputBytes);
  if (bytes === null) throw new SidekeyError('input_invalid', 'Standard input holds more than 1 MiB.');
  return bytes.toString('utf8');
}

/**
 * Reads the file of an option that holds secrets.
 *
 * @param maxBytes default: 1 MiB
 * @throws SidekeyError `input_invalid`
 */
export async function readSecretFile(
  option: string,
  path: string,
  output: Pick<Output, 'say'>,
  maxBytes = maxInputBytes,
): Promise<string> {
  const unreadable = (why: string) =>
    inputInvalid(`The file of ${option} cannot be read (${why}).`, `check ${option} ${shellWord(path)}`);
  try {
    await using file = await open(path, 'r');
    const stat = await file.stat();
    if (!stat.isFile()) throw unreadable('it is not a file');
    if (stat.size > maxBytes) throw unreadable(`it is larger than ${maxBytes / 1_048_576} MiB`);
    if (process.platform !== 'win32' && (stat.mode & 0o007) !== 0) {
      output.say(
        `Note: every user of this machine can read ${path}.\n  → chmod 600 ${shellWord(path)}, or delete the file once this command has stored the secret`,
      );
    }
    return await file.readFile('utf8');
  } catch (cause) {
    throw cause instanceof SidekeyError ? cause : unreadable(systemCode(cause));
  }
}
