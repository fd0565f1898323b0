import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { inputInvalid, SidekeyError, systemCode } from '../../lib/errors.ts';
import { outgoingRequest, textBody } from '../../operations/outgoing-request.ts';
import type { BodySource } from '../../proxy/upstream/through-proxy.ts';
import type { Input } from '../terminal.ts';

/** The command line as typed. */
export interface FetchOptions {
  readonly request?: string;
  readonly header?: readonly string[];
  readonly data?: string;
  readonly dataFile?: string;
  readonly location?: boolean;
  readonly include?: boolean;
  readonly output?: string;
  /** Replaces an existing output file. */
  readonly force?: boolean;
  readonly reason?: string;
  readonly user?: string;
  readonly maxTime?: string;
  readonly agent?: string;
  readonly proxy?: string;
}

/** A request with the limits of the command line. */
interface Question extends ReturnType<typeof outgoingRequest> {
  /** Milliseconds; null: no limit. */
  readonly maxTimeMs: number | null;
}

/** Parses the command line. @throws SidekeyError `input_invalid` */
export async function readQuestion(
  words: readonly [first: string, second: string | undefined],
  options: FetchOptions,
  stdin: Input,
): Promise<Question> {
  const [grant, url] = words[1] === undefined ? [undefined, words[0]] : [words[0], words[1]];
  const { request: method, header: headers, user, reason, maxTime } = options;
  const written = { method, url, headers, grant, user, reason };
  return {
    ...outgoingRequest(written, await bodySourceOf(options, stdin)),
    maxTimeMs: maxTime === undefined ? null : readSeconds(maxTime),
  };
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,7}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds > 0) return seconds * 1_000;
  throw inputInvalid('--max-time is not a number of seconds.', '--max-time 30');
}

/** Returns the source of the body; null: none. @throws SidekeyError `input_invalid` */
async function bodySourceOf(
  { data, dataFile }: { readonly data?: string; readonly dataFile?: string },
  stdin: Input,
): Promise<BodySource | null> {
  if (data !== undefined && dataFile !== undefined) {
    throw inputInvalid('--data and --data-file are both given.', 'give one of them');
  }
  const file = data?.startsWith('@') === true ? data.slice(1) : dataFile;
  if (file === undefined) return data === undefined ? null : textBody(data);
  return file === '-' ? { length: null, repeatable: false, open: () => stdin } : fromFile(file);
}

async function fromFile(file: string): Promise<BodySource> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw unreadable(file, 'it is a folder');
    // A pipe has no size, and can be read once.
    if (!found.isFile()) return { length: null, repeatable: false, open: () => createReadStream(file) };
    const { size } = found;
    // Ignores growth of the file: the body has the announced size.
    const open = () => (size === 0 ? textBody('').open() : createReadStream(file, { end: size - 1 }));
    return { length: size, repeatable: true, open };
  } catch (cause) {
    throw cause instanceof SidekeyError ? cause : unreadable(file, systemCode(cause), cause);
  }
}

function unreadable(file: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError('input_invalid', `${file} cannot be read (${why}).`, {
    hint: '--data-file FILE, or - for standard input',
    cause,
  });
}
