import { readdir, readFile } from 'node:fs/promises';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Data that a process could pass on: its input and its memory. */
export interface ProcessImage {
  readonly pid: number;
  /** `argv`, with spaces between. */
  readonly command: string;
  readonly environment: string;
  /** All that it may read and write, as far as it was ever used. */
  readonly memory: Buffer;
}

/** The reason why processes cannot be inspected here (only Linux has /proc); false: they can. */
export const processesAreClosed: false | string =
  process.platform === 'linux' ? false : 'processes can be looked into on Linux alone';

/**
 * Every process that this one started, and those that they started, as they are at this moment; not itself.
 */
export async function imagesBelow(pid: number): Promise<ProcessImage[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null);
    // The name of the program stands in brackets, and may hold whatever it likes.
    const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const isBelow = (each: number): boolean => {
    const parent = parents.get(each);
    return parent !== undefined && parent !== 0 && (parent === pid || isBelow(parent));
  };
  const images: ProcessImage[] = [];
  for (const each of [...parents.keys()].filter(isBelow)) {
    const image = await imageOf(each);
    if (image !== null) images.push(image);
  }
  return images;
}

/** Null: it has ended by now. */
async function imageOf(pid: number): Promise<ProcessImage | null> {
  try {
    const [command, environment, maps] = await Promise.all([
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
      readFile(`/proc/${pid}/environ`, 'utf8'),
      readFile(`/proc/${pid}/maps`, 'utf8'),
    ]);
    if (maps === '') return null;
    return {
      pid,
      command: command.replaceAll('\0', ' ').trim(),
      environment,
      memory: memoryOf(pid, maps),
    };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
}

/** Leaves out memory that was never written, which is all zeros. */
const blockBytes = 65_536;

function memoryOf(pid: number, maps: string): Buffer {
  const blocks: Buffer[] = [];
  const [memory, pages] = [openSync(`/proc/${pid}/mem`, 'r'), openSync(`/proc/${pid}/pagemap`, 'r')];
  const [zeros, block] = [Buffer.alloc(blockBytes), Buffer.alloc(blockBytes)];
  try {
    for (const line of maps.split('\n')) {
      // Memory that is not writable holds programs, not their data.
      const range = /^([0-9a-f]+)-([0-9a-f]+) rw.(.) \S+ \S+ (\d+)/.exec(line);
      if (range === null || line.includes('[vvar')) continue;
      const [start, end] = [Number.parseInt(range[1]!, 16), Number.parseInt(range[2]!, 16)];
      // Memory that others share, and the content of files, may have been written elsewhere.
      const isAnonymous = range[3] === 'p' && range[4] === '0';
      const used = isAnonymous ? usedPages(pages, start, end) : null;
      for (let at = start; at < end; at += blockBytes) {
        const first = (at - start) / pageBytes;
        if (used?.subarray(first, first + blockBytes / pageBytes).includes(1) === false) continue;
        const bytes = block.subarray(0, readOr0(memory, block.subarray(0, end - at), at));
        if (!bytes.equals(zeros.subarray(0, bytes.length))) blocks.push(Buffer.from(bytes));
      }
    }
  } finally {
    closeSync(memory);
    closeSync(pages);
  }
  return Buffer.concat(blocks);
}

const pageBytes = 1_024 * Number(/^KernelPageSize: +(\d+) kB$/m.exec(readSmaps())?.[1]);

function readSmaps(): string {
  return processesAreClosed === false ? readFileSync('/proc/self/smaps', 'utf8') : '';
}

/**
 * Returns one byte for each page of a region: 1 if the page is in memory or swapped, 0 if it was never used.
 * A process reserves many pages that it does not use, such as those of stacks, and the kernel makes one for
 * each read.
 */
function usedPages(file: number, start: number, end: number): Uint8Array {
  // The highest bits of a little-endian number of 64 bits (Linux, Documentation/admin-guide/mm/pagemap.rst).
  const entryBytes = 8;
  const entries = Buffer.alloc(((end - start) / pageBytes) * entryBytes);
  readOr0(file, entries, (start / pageBytes) * entryBytes);
  const used = new Uint8Array(entries.length / entryBytes);
  for (let page = 0; page < used.length; page += 1)
    used[page] = (entries[page * entryBytes + 7]! & 0b1100_0000) === 0 ? 0 : 1;
  return used;
}

/** A region may be gone since it was listed, or be a device's. */
function readOr0(file: number, into: Buffer, at: number): number {
  try {
    return readSync(file, into, 0, into.length, at);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EIO' || code === 'EFAULT' || code === 'ESRCH') return 0;
    throw error;
  }
}
