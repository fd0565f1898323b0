import { open, type FileHandle } from 'node:fs/promises';
import { csvHead, csvLine } from '../../audit/csv.ts';
import { queryRaw } from '../../audit/query.ts';
import { SidekeyError } from '../../errors.ts';
import { systemCode } from '../../system-error.ts';
import type { Context } from '../context.ts';
import { readConditions, type ConditionOptions } from './conditions.ts';

/** What `audit export` is told. */
export interface ExportOptions extends ConditionOptions {
  readonly csv?: boolean;
  readonly output?: string;
}

/** Bytes that are gathered before they are written. */
const gathered = 65_536;

/**
 * `sidekey audit export`: the lines as they stand in the file, byte for byte, so that their hashes can still be checked by who
 * has the key; or as CSV.
 */
export async function exportLines(context: Context, options: ExportOptions): Promise<void> {
  const { file, filter, fits } = await readConditions(context, options);
  const target = options.output === undefined ? undefined : await openNew(options.output);
  let pieces: Buffer[] = [];
  let size = 0;
  let count = 0;
  const flush = async () => {
    const bytes = Buffer.concat(pieces);
    [pieces, size] = [[], 0];
    if (target !== undefined) await target.write(bytes);
    else {
      context.output.bytes(bytes);
      await context.output.drained();
    }
  };
  const put = async (bytes: Buffer) => {
    pieces.push(bytes);
    size += bytes.length;
    if (size >= gathered) await flush();
  };
  try {
    if (options.csv === true) await put(Buffer.from(csvHead));
    for await (const { line, bytes } of queryRaw({ file, filter })) {
      if (!fits(line)) continue;
      count += 1;
      await put(
        options.csv === true ? Buffer.from(csvLine(line)) : Buffer.concat([bytes, Buffer.from('\n')]),
      );
    }
    await flush();
    await target?.sync();
  } finally {
    await target?.close();
  }
  if (options.output !== undefined) {
    context.output.result(
      { file: options.output, lines: count },
      `${count} ${count === 1 ? 'line is' : 'lines are'} in ${options.output}.`,
    );
  }
}

async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600);
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new SidekeyError(
      exists ? 'already_exists' : 'file_unwritable',
      exists ? `${path} is there already.` : `${path} cannot be written (${systemCode(cause)}).`,
      { hint: 'give another path after --output', cause },
    );
  }
}
