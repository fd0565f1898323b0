import { createWriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { SidekeyError } from '../../errors.ts';
import { systemCode } from '../../system-error.ts';
import type { Context } from '../context.ts';
import type { Answer } from './ask-proxy.ts';
import { envelopeOf, type Answered } from './envelope.ts';
import type { FetchOptions } from './question.ts';
import type { Way } from './way.ts';

/** What an answer is delivered with. */
export interface Delivery {
  readonly url: string;
  readonly way: Way;
  readonly options: Pick<FetchOptions, 'include' | 'output'>;
  readonly output: Context['output'];
  readonly signal: AbortSignal;
}

/** The envelope is one text, held in memory. */
export const mostInlined = 8 * 1_024 * 1_024;

/**
 * Gives the answer to whoever asked, as it comes: to standard output or into a file; with `--json` as one object.
 *
 * @throws SidekeyError `upstream_protocol` where it breaks off, `file_unwritable`, `input_invalid` where it is too large for
 * the object; the reason of `signal`
 */
export async function deliver(answer: Answer, delivery: Delivery): Promise<void> {
  const { url, way, options, output } = delivery;
  const { response, status, client } = answer;
  const file = options.output;
  if (options.include === true && !output.json) output.bytes(headOf(response));
  if (!output.json) {
    if (file === undefined) await toOutput(response, delivery);
    else await toFile(response, file, delivery);
    return;
  }
  const body: Answered['body'] =
    file === undefined
      ? { bytes: await whole(response, delivery) }
      : { file, length: await toFile(response, file, delivery) };
  const recorded = await way.recorded(client);
  output.result(envelopeOf({ url, status, headers: response.headers, body, recorded }), '');
}

async function toOutput(response: IncomingMessage, { output, signal }: Delivery): Promise<void> {
  for await (const chunk of chunksOf(response, signal)) {
    output.bytes(chunk);
    await output.drained();
  }
}

/** Answers how many bytes there are. As curl has it, the file is as readable as others that the caller makes. */
async function toFile(response: IncomingMessage, file: string, { signal }: Delivery): Promise<number> {
  const written = createWriteStream(file);
  try {
    await pipeline(chunksOf(response, signal), written);
  } catch (error) {
    if (error instanceof SidekeyError || signal.aborted) throw error;
    throw new SidekeyError('file_unwritable', `${file} cannot be written (${systemCode(error)}).`, {
      cause: error,
    });
  }
  return written.bytesWritten;
}

async function whole(response: IncomingMessage, { signal }: Delivery): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunksOf(response, signal)) {
    length += chunk.length;
    if (length > mostInlined) {
      throw new SidekeyError(
        'input_invalid',
        `The answer is larger than ${mostInlined} bytes, too large for one object.`,
        {
          hint: 'sidekey fetch --json -o FILE URL, or without --json',
        },
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* chunksOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new SidekeyError('upstream_protocol', 'The connection ended before the answer was whole.', {
      cause,
    });
  }
}

function headOf({ httpVersion, statusCode, statusMessage, rawHeaders }: IncomingMessage): Buffer {
  let head = `HTTP/${httpVersion} ${statusCode} ${statusMessage}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  return Buffer.from(`${head}\r\n`, 'latin1');
}
