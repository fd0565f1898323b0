import { Writable } from 'node:stream';
import { SidekeyError } from '../errors.ts';
import { openLines, type Input } from './input.ts';
import type { Streams } from './output.ts';

/**
 * Asks the person at the terminal. Secret: what is typed is not shown.
 *
 * @throws SidekeyError `input_invalid` where nothing was entered, or the person gave up
 */
export type Ask = (question: string, how: { readonly secret: boolean }) => Promise<string>;

/** Null where nobody is there to ask: standard input is no terminal. The question goes to stderr. */
export function createAsk(stdin: Input, stderr: Streams['stderr']): Ask | null {
  if (stdin.isTTY !== true) return null;
  return async (question, { secret }) => {
    // The line is corrected and echoed where nobody sees it.
    const shown = new Writable({
      write(chunk: Buffer, _encoding, done) {
        if (!secret) stderr.write(chunk);
        done();
      },
    });
    if (secret) stderr.write(`${question}: `);
    const lines = openLines(stdin, shown, () => lines.close());
    const line = (await lines.next(`${question}: `))?.trim() ?? '';
    lines.close();
    if (secret) stderr.write('\n');
    if (line !== '') return line;
    throw new SidekeyError('input_invalid', 'Nothing was entered.', { hint: 'run the command again' });
  };
}
