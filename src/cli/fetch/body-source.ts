import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SidekeyError } from '../../errors.ts';
import { systemCode } from '../../system-error.ts';
import type { Input } from '../input.ts';

/** Where the body of a request comes from. */
export interface BodySource {
  /** Bytes; null: not known before its end. */
  readonly length: number | null;
  /** Whether it can be sent a second time, after a redirect. */
  readonly repeatable: boolean;
  open(): AsyncIterable<Uint8Array | string>;
}

/** Null: the request has none. @throws SidekeyError `input_invalid` */
export async function bodySourceOf(
  { data, dataFile }: { readonly data?: string; readonly dataFile?: string },
  stdin: Input,
): Promise<BodySource | null> {
  if (data !== undefined && dataFile !== undefined) {
    throw new SidekeyError('input_invalid', '--data and --data-file are both given.', {
      hint: 'give one of them',
    });
  }
  const file = data?.startsWith('@') === true ? data.slice(1) : dataFile;
  if (file === undefined) return data === undefined ? null : fromText(data);
  return file === '-' ? fromInput(stdin) : fromFile(file);
}

function fromText(text: string): BodySource {
  const bytes = Buffer.from(text, 'utf8');
  return { length: bytes.length, repeatable: true, open: () => once(bytes) };
}

function fromInput(stdin: Input): BodySource {
  return { length: null, repeatable: false, open: () => stdin };
}

async function fromFile(file: string): Promise<BodySource> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw unreadable(file, 'it is a folder');
    // A pipe says no size, and gives its bytes once.
    if (!found.isFile()) return { length: null, repeatable: false, open: () => createReadStream(file) };
    const { size } = found;
    // What grows meanwhile is sent as it was: no more than was announced.
    const open = () => (size === 0 ? once(Buffer.alloc(0)) : createReadStream(file, { end: size - 1 }));
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

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
