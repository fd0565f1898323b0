import { SidekeyError } from '../errors.ts';

const largest = 1_048_576;

/** process.stdin, unless a test gives another. */
export type Input = AsyncIterable<Buffer | string> & { readonly isTTY?: boolean };

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
