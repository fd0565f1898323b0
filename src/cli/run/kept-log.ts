import { closeSync, openSync, writeSync } from 'node:fs';
import { SidekeyError } from '../../errors.ts';
import { createLog, type Log } from '../../log.ts';
import { systemCode } from '../../system-error.ts';
import { shellWord } from '../../shell-word.ts';

/** A log while the terminal is somebody else's. */
export interface KeptLog {
  readonly log: Log;
  /** What was worth a warning, each once, in the order in which it came first: for the end. */
  warnings(): readonly string[];
  close(): void;
}

/** No more are kept: a log that says so much is to be read in a file. */
const mostKept = 5;

/**
 * Keeps warnings and errors. With a file, every line goes there, as JSON.
 *
 * @throws SidekeyError `file_unwritable`
 */
export function keepLog(level: Parameters<typeof createLog>[0], file: string | undefined): KeptLog {
  const opened = file === undefined ? null : openFile(file, level);
  const counts = new Map<string, number>();
  const keep = (message: string) => {
    if (counts.has(message) || counts.size < mostKept) counts.set(message, (counts.get(message) ?? 0) + 1);
  };
  const log: Log = {
    error(fields, message) {
      keep(message);
      opened?.log.error(fields, message);
    },
    warn(fields, message) {
      keep(message);
      opened?.log.warn(fields, message);
    },
    info: (fields, message) => opened?.log.info(fields, message),
    debug: (fields, message) => opened?.log.debug(fields, message),
  };
  return {
    log,
    warnings: () =>
      Array.from(counts, ([message, count]) => (count === 1 ? message : `${message} (${count} times)`)),
    close: () => opened?.close(),
  };
}

function openFile(file: string, level: Parameters<typeof createLog>[0]) {
  try {
    const fd = openSync(file, 'a', 0o600);
    const log = createLog(level, { write: (line) => void writeSync(fd, line) });
    return { log, close: () => closeSync(fd) };
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The log ${file} cannot be written (${systemCode(cause)}).`, {
      hint: `name a file in a folder of yours: --log ${shellWord('./sidekey.log')}`,
      cause,
    });
  }
}
