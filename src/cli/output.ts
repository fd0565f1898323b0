import { once } from 'node:events';
import type { SidekeyError } from '../lib/errors.ts';
import { asTyped } from '../lib/log.ts';
import { visible } from '../lib/text.ts';

/** Results on stdout, words for people on stderr; with `--json` both for programs. */
export interface Output {
  readonly json: boolean;
  /** The result of a command: as text for a person, or with `--json` the value as one line of JSON. */
  result(value: unknown, text: string): void;
  /** A result that is no text, or one that another program takes as it is. */
  bytes(content: Uint8Array): void;
  /** Whether the result is shown to a person as it is written. */
  readonly isTerminal: boolean;
  /** Resolves when what was written has left, so that a long result does not pile up in memory. */
  drained(): Promise<void>;
  /** A word beside the result. Nothing with `--json`. */
  say(text: string): void;
  /** What has to be known before the result is there, on stderr: as text, or with `--json` as one line of JSON. */
  note(value: unknown, text: string): void;
  /** A failure, with its way out. */
  fail(error: Pick<SidekeyError, 'code' | 'message' | 'hint'>): void;
}

/** What it writes to: process.stdout and process.stderr, unless a test gives others. */
export interface Streams {
  readonly stdout: Pick<NodeJS.WriteStream, 'write'> & Partial<NodeJS.WriteStream>;
  readonly stderr: Pick<NodeJS.WriteStream, 'write'>;
}

/** Writes to these streams; `json` is asked each time, for the command line is read only later. */
export function createOutput({ stdout, stderr }: Streams, json: () => boolean): Output {
  const output: Output = {
    get json() {
      return json();
    },
    result(value, text) {
      stdout.write(json() ? `${jsonText(value)}\n` : `${asTyped(text).replace(/\n*$/, '')}\n`);
    },
    bytes(content) {
      stdout.write(content);
    },
    isTerminal: stdout.isTTY === true,
    async drained() {
      if (stdout.writableNeedDrain === true) await once(stdout as NodeJS.WriteStream, 'drain');
    },
    say(text) {
      if (!json()) stderr.write(`${shown(asTyped(text))}\n`);
    },
    note(value, text) {
      if (json()) stderr.write(`${jsonText(value)}\n`);
      else output.say(text);
    },
    fail({ code, message, hint: way }) {
      const hint = way === undefined ? undefined : asTyped(way);
      if (json()) {
        const error = { code, message, ...(hint === undefined ? {} : { hint }) };
        stderr.write(`${jsonText({ error })}\n`);
      } else {
        stderr.write(`sidekey: ${shown(message)}\n${hint === undefined ? '' : `  → ${shown(hint)}\n`}`);
      }
    },
  };
  return output;
}

/** Names in a message may come from files and arguments: line breaks are ours, every other control character is not. */
function shown(text: string): string {
  return text.split('\n').map(visible).join('\n');
}

/** JSON may be shown on a terminal too: what acts there and JSON lets through is escaped, which means the same. */
function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f\p{Cf}\u2028\u2029]/gu, (found) =>
    Array.from({ length: found.length }, (_, unit) => found.charCodeAt(unit))
      .map((code) => `\\u${code.toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** Text in columns, for people. Cells may hold what others chose, so control characters are shown and never sent. */
