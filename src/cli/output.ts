import { once } from 'node:events';
import { createDisplay, type Display, ending, wrapMessage } from './display.ts';
import type { SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { asTyped } from '../lib/command-name.ts';
import { visible } from '../lib/text.ts';
import { systemTimers, type Timers } from '../lib/timers.ts';

/** Results on stdout, messages on stderr; with `--json` both as JSON. */
export interface Output {
  readonly json: boolean;
  /** Prints the result of a command: as text, perhaps made on demand, or with `--json` as a line of JSON. */
  result(value: unknown, text: string | (() => string)): void;
  /** Prints a binary result, or one for another program. */
  bytes(content: Uint8Array): void;
  /** Standard output is a terminal. */
  readonly isTerminal: boolean;
  /** Display of the results. */
  readonly display: Display;
  /** Resolves when the output is written, so that memory does not buffer a long result. */
  drained(): Promise<void>;
  /** Prints a message in addition to the result; nothing with `--json`. */
  say(text: string): void;
  /**
   * Shows a text with the seconds on a terminal, while work takes over one second. Output of the work
   * replaces it. Calls a function each second.
   */
  during<T>(text: string | (() => string), work: () => Promise<T>): Promise<T>;
  /** Prints a message before the result, on stderr: as text, or with `--json` as one line of JSON. */
  note(value: unknown, text: string): void;
  /** Prints an error with its hint. */
  fail(error: Pick<SidekeyError, 'code' | 'message' | 'hint'>): void;
}

/** Streams to write to. Tests pass others. */
export interface Streams {
  readonly stdout: Pick<NodeJS.WriteStream, 'write'> & Partial<NodeJS.WriteStream>;
  readonly stderr: Pick<NodeJS.WriteStream, 'write'> & Partial<NodeJS.WriteStream>;
}

/** Creates an output for these streams. Calls `json` each time, because the command line is parsed later. */
export function createOutput(
  { stdout, stderr, env }: Streams & { readonly env: NodeJS.ProcessEnv },
  json: () => boolean,
  timers: Timers = systemTimers,
): Output {
  const messages = createDisplay(stderr, env);
  const formatted = (text: string) =>
    wrapMessage(shown(text), messages).replace(/^(?:Note|Warning):/gm, (word) =>
      messages.paint('yellow', word),
    );
  let isShown = false;
  /** Erases the text of `during`. */
  const erase = () => {
    if (isShown) stderr.write('\r\u001b[K');
    isShown = false;
  };
  const output: Output = {
    get json() {
      return json();
    },
    result(value, text) {
      erase();
      const shown = () => asTyped(typeof text === 'string' ? text : text()).replace(/\n*$/, '');
      stdout.write(`${json() ? jsonText(value) : shown()}\n`);
    },
    bytes(content) {
      erase();
      stdout.write(content);
    },
    isTerminal: stdout.isTTY === true,
    display: createDisplay(stdout, env),
    async drained() {
      if (stdout.writableNeedDrain === true) await once(stdout as NodeJS.WriteStream, 'drain');
    },
    say(text) {
      erase();
      if (!json()) stderr.write(`${formatted(asTyped(text))}\n`);
    },
    async during(text, work) {
      if (json() || stderr.isTTY !== true || env['TERM'] === 'dumb') return work();
      let seconds = 0;
      const tick = () => {
        seconds += 1;
        erase();
        const now = typeof text === 'string' ? text : text();
        stderr.write(`${ending(visible(now), messages.width - 10)} (${seconds} s)`);
        isShown = true;
        cancel = timers.after(1_000, tick);
      };
      let cancel = timers.after(1_000, tick);
      try {
        return await work();
      } finally {
        cancel();
        erase();
      }
    },
    note(value, text) {
      if (json()) stderr.write(`${jsonText(value)}\n`);
      else output.say(text);
    },
    fail({ code, message, hint: step }) {
      erase();
      const hint = asTyped(hintText(step));
      stderr.write(
        json()
          ? `${jsonText({ error: { code, message, hint } })}\n`
          : `${formatted(`sidekey: ${message}`).replace('sidekey:', (name) => messages.paint('red', name))}\n${formatted(`  → ${hint}`)}\n`,
      );
    },
  };
  return output;
}

/** Escapes control characters in a message, which may have file names and arguments. Keeps line breaks. */
function shown(text: string): string {
  return text.split('\n').map(visible).join('\n');
}

/** Escapes terminal control characters in JSON text. */
function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f\p{Cf}\u2028\u2029]/gu, (found) =>
    Array.from({ length: found.length }, (_, unit) => found.charCodeAt(unit))
      .map((code) => `\\u${code.toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
