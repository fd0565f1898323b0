import { SidekeyError } from '../../errors.ts';
import { parseCallback, type Callback } from '../../oauth/callback.ts';
import type { Lines } from '../input.ts';

/** What a pasted answer is held against, so that a wrong one can be asked for again. */
export interface PasteExpectation {
  readonly state: string;
  /** Whether a code by itself is taken: it is tied to this flow, and nothing else of the address is needed. */
  readonly takesBareCode: boolean;
  /** Reads the text. Default: as RFC 6749 §4.1.2 has it. */
  readonly read?: ((text: string) => Callback) | undefined;
}

/**
 * Reads what a person brings back from a browser. The text is never repeated.
 *
 * @throws SidekeyError `input_invalid`; `bad_request` where it is the answer to another consent
 */
function readPasted(
  text: string,
  { state, takesBareCode, read = parseCallback }: PasteExpectation,
): Callback {
  const callback = read(text);
  if (callback.kind === 'code') {
    if (takesBareCode) return callback;
    throw new SidekeyError('input_invalid', 'For this provider the code alone does not do.', {
      hint: 'paste the whole address that the browser came to, from http to its end',
    });
  }
  const said = callback.parameters.getAll('state');
  if (said.length === 1 && said[0] === state) return callback;
  throw new SidekeyError('bad_request', 'What was pasted is the answer to another consent.', {
    hint: 'open the address that was shown last, and paste the one that the browser comes to then',
  });
}

/**
 * The first line that is an answer to this consent; null: the person gave up. At a terminal a wrong one is asked for
 * again.
 *
 * @throws SidekeyError as `readPasted`, where nobody can be asked again
 */
export async function askForAnswer(
  lines: Lines,
  say: (text: string) => void,
  expected: PasteExpectation,
): Promise<Callback | null> {
  for (;;) {
    const line = await lines.next('Paste the address that the browser came to, or the code: ');
    if (line === null) {
      if (lines.isTerminal) return null;
      throw new SidekeyError('input_invalid', 'Standard input ended before an answer came.', {
        hint: 'write the address that the browser came to, or the code, as one line',
      });
    }
    if (line.trim() === '') continue;
    try {
      return readPasted(line, expected);
    } catch (error) {
      if (!lines.isTerminal || !(error instanceof SidekeyError)) throw error;
      say(`${error.message}\n  → ${error.hint ?? ''}`);
    }
  }
}
