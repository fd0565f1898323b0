import { createHash } from 'node:crypto';
import { readdirSync, statSync, type BigIntStats } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemCode } from '../system-error.ts';
import { mostConfigBytes } from './document.ts';
import { readRegularFile } from './regular-file.ts';

/** What a config is made of: its file, and the user's own provider definitions beside it. */
export interface ConfigSources {
  /**
   * Whether they say something else than what was last taken; a file that is away says nothing. For each request: a
   * `stat` of the file, of the folder, and of each definition in it (about 1.5 µs each), and nothing is read while none of
   * them has changed. Synchronous, so that nothing can happen between the look and what is done upon it.
   */
  differ(): boolean;
  /** What they say now is what `differ` compares with. To be called before they are loaded. */
  take(): void;
  /** To be called when they have been loaded: what was written meanwhile may be in what was loaded or not. */
  loaded(): void;
}

/**
 * A change in the tick of a file system's clock in which its file was read leaves no trace in its times: so long after
 * a change, contents are compared. The coarsest clocks in use tick every two seconds (FAT).
 */
const tickMs = 2_000;

interface Taken {
  readonly paths: readonly string[];
  readonly stamps: readonly (BigIntStats | undefined)[];
  /** Of all contents; null: there is no config file. */
  readonly digest: string | null;
  /** Whether any later change is sure to show in the stamps. */
  readonly settled: boolean;
}

/**
 * Takes what is there now. Never throws: a file that cannot be read counts as one that says just that.
 *
 * @param stampOf how a file is looked at; undefined: it is not there
 */
export function configSources(file: string, stampOf = statOf): ConfigSources {
  const folder = join(dirname(file), 'providers');
  let taken: Taken | null = read();

  function read(): Taken {
    const now = Date.now();
    // Stamps go first: what changes during the reading has another one afterwards.
    const inFolder = stampOf(folder)?.isDirectory() === true ? namesIn(folder) : [];
    const paths = [file, folder, ...inFolder.map((name) => join(folder, name))];
    const stamps = paths.map(stampOf);
    const said = paths.map((path, index) => saidBy(path, stamps[index]));
    return {
      paths,
      stamps,
      digest: stamps[0] === undefined ? null : digestOf([...paths, ...said]),
      settled: stamps.every((stamp) => stamp === undefined || now - Number(stamp.ctimeMs) > tickMs),
    };
  }

  /** Whether every stamp is as it was. */
  function isUntouched({ paths, stamps }: Taken): boolean {
    for (let i = 0; i < paths.length; i += 1) if (!isSame(stampOf(paths[i]!), stamps[i])) return false;
    return true;
  }

  return {
    differ() {
      if (taken?.settled === true && isUntouched(taken)) return false;
      const found = read();
      if (found.digest === null) return false;
      if (found.digest !== taken?.digest) return true;
      taken = found;
      return false;
    },
    take() {
      taken = read();
    },
    loaded() {
      if (taken !== null && !isUntouched(taken)) taken = null;
    },
  };
}

const noThrow = { bigint: true, throwIfNoEntry: false } as const;

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, noThrow);
  } catch {
    return undefined;
  }
}

function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.ctimeNs === b.ctimeNs &&
    a.mtimeNs === b.mtimeNs &&
    a.ino === b.ino &&
    a.dev === b.dev &&
    a.size === b.size
  );
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return [];
  }
}

/** What a path says: its text, or why there is none. Who may write to a definition counts as much as what it says. */
function saidBy(path: string, stamp: BigIntStats | undefined): string {
  if (stamp === undefined) return 'missing';
  const { size, mtimeNs, mode, uid } = stamp;
  if (stamp.isDirectory()) return `folder: ${mode}, ${uid}`;
  if (!stamp.isFile()) return 'no file';
  if (size > mostConfigBytes) return `too large: ${size}, ${mtimeNs}`;
  try {
    return readRegularFile(path, mostConfigBytes)?.bytes.toString('latin1') ?? 'no file';
  } catch (cause) {
    return `unreadable: ${systemCode(cause)}`;
  }
}

function digestOf(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}
