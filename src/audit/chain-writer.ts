import fs from 'node:fs';
import path from 'node:path';
import type { AuditEvent } from './event.ts';
import { type LiveFile, openLiveFile } from './live-file.ts';
import { type DiskCalls, fileId, rotatedAs, rotatedFiles, rotatedName, tryLockFile } from './log-files.ts';
import { type ChainMac, composeLine, formatEnd, type ChainHead } from './line.ts';
import type { AuditVault } from './head-file.ts';
import { claimSlot } from './writer-slot.ts';

/**
 * Writes one chain to the log, synchronously: what a slot, the live file, rotation and repair are for. Whatever
 * happens to the file below it, either a line is in the log and the chain goes on from it, or it is not and the chain
 * goes on from the one before.
 */

/** An event and when it happened: milliseconds since the epoch. */
export interface TimedEvent {
  readonly event: AuditEvent;
  readonly time: number;
}

/**
 * When the file is rotated: when it is larger than `maxBytes`, and before an event that comes more than `maxAgeMs`
 * after its first line.
 */
export interface RotationLimits {
  readonly maxBytes: number;
  /** Milliseconds; null: only its size counts. */
  readonly maxAgeMs: number | null;
}

/** What a chain is written with. `now` answers milliseconds since the epoch. */
interface ChainWriterOptions {
  readonly file: string;
  /** As they are at that moment. */
  readonly limits: () => RotationLimits;
  readonly vault: AuditVault;
  readonly now: () => number;
  readonly host: string;
  readonly disk: DiskCalls;
  /** The last line of each node by what the store says. */
  readonly stored?: ReadonlyMap<string, ChainHead> | undefined;
  /** Told of what went wrong beside the lines themselves: a rotation or a head record that could not be written. */
  readonly warn: (sentence: string, cause: unknown) => void;
}

/** One chain, open for writing. */
export interface ChainWriter {
  /** The name of the chain. */
  node(): string;
  /** The last line of the chain. */
  last(): ChainHead;
  /**
   * Writes the events in order; answers how many of them, from the first on, are in the log. Fewer than given only
   * where the disk took a part of them.
   * @throws where none of them is.
   */
  write(events: readonly TimedEvent[]): number;
  /** Makes durable what was written. */
  sync(): Promise<void>;
  /** Syncs, records the end of the chain, and closes all. */
  close(): Promise<void>;
}

/** How often, in milliseconds, to look whether lock and head record are in place, and to try a rotation that failed. */
const glance = 1_000;

/**
 * Takes a slot, repairs what a crash left, and opens the live file.
 * @throws what `takeSlot` and `openLiveFile` throw, and errors of the file system as they are; nothing stays open then
 */
export function openChainWriter(options: ChainWriterOptions): ChainWriter {
  const { file, limits, vault, now, warn } = options;
  const ends = new Map(options.stored);
  const mac: ChainMac = (text) => vault.mac('audit-chain', text);
  const isoTime = timeTeller();
  /** Events of the log itself, to be written before any other. */
  const own: TimedEvent[] = [];
  /** Files that were rotated away and are being synced and closed. */
  const leaving = new Set<Promise<void>>();
  let last: ChainHead;
  /** The next batch says where the last one ended: it did not begin right after the one before of this chain. */
  let tellsEnd = true;
  /** Size of the file after this writer's last batch; what comes after is another's. */
  let knownEnd = 0n;
  /** Size of the file when it was looked at last. */
  let seenEnd = 0n;
  /** When the file's first line was written; undefined before that is known. */
  let begunAt: number | undefined;
  let headBehind = false;
  let glancedAt = now();
  let rotationFailedAt: number | undefined;

  let slot = claimSlot(file, options.host, vault, options.disk, ends);
  let live: LiveFile;
  try {
    adopt();
    live = openLiveFile(file, options.disk);
  } catch (error) {
    slot.release();
    throw error;
  }

  function adopt(): void {
    last = slot.last;
    tellsEnd = true;
    for (const finding of slot.findings) record('audit.repaired', finding, 'audit_broken');
    if (slot.behind === undefined) return;
    // Without the code: the chain itself shows what is missing, until a person accepts it.
    record('audit.repaired', slot.behind);
    warn(slot.behind, undefined);
  }

  function record(event: 'audit.repaired' | 'audit.rotated', reason: string, code?: 'audit_broken'): void {
    own.push({ event: { event, reason, code }, time: now() });
  }

  function isDue(since: number): boolean {
    return Math.abs(now() - since) >= glance;
  }

  /** Makes sure of the slot: were its lock file removed, another process could write the same chain. */
  function keepSlot(): void {
    if (headBehind) writeHead();
    if (!isDue(glancedAt)) return;
    if (!slot.held()) {
      const lost = slot;
      if (last.seq > 0) ends.set(lost.node, last);
      slot = claimSlot(file, options.host, vault, options.disk, ends);
      lost.release();
      adopt();
    }
    glancedAt = now();
  }

  function writeHead(): void {
    headBehind = true;
    slot.record(last);
    headBehind = false;
  }

  /** Makes sure that the file at the path is the one that is written to, and that it ends with a newline. */
  function keepFile(): void {
    let size = live.sizeInPlace();
    if (size === undefined) {
      const rotated = rotatedAs(file, live.id) !== undefined;
      moveOn();
      if (!rotated)
        record(
          'audit.repaired',
          `The file was removed or replaced while in use; line ${last.seq} was the last before.`,
        );
      size = live.sizeInPlace() ?? 0n;
    }
    seenEnd = size;
    if (size === knownEnd || live.endsLineAt(size)) return;
    // The newline comes first, for it waits until a write that was only seen half done is whole.
    if (live.append('\n') !== 1) throw new Error('The newline after a torn line was not written.');
    const torn = live.tornBytesAt(size, mac);
    if (torn > 0)
      record('audit.repaired', `A torn line of ${torn} bytes was ended: its writer died or met a full disk.`);
  }

  function moveOn(): void {
    const next = openLiveFile(file, options.disk);
    const closing = live.close();
    leaving.add(closing);
    closing
      .catch((error: unknown) => warn('The end of a rotated audit file may not be durable.', error))
      .finally(() => leaving.delete(closing));
    live = next;
    knownEnd = 0n;
    seenEnd = 0n;
    begunAt = undefined;
  }

  function isOld(): boolean {
    const { maxAgeMs } = limits();
    if (maxAgeMs === null) return false;
    begunAt ??= live.begunAt();
    return begunAt !== undefined && now() - begunAt >= maxAgeMs;
  }

  function rotateFile(): void {
    if (rotationFailedAt !== undefined && !isDue(rotationFailedAt)) return;
    try {
      const target = rotate(file, live.id);
      if (target === undefined) return;
      record('audit.rotated', `Continues ${path.basename(target)}.`);
      moveOn();
      rotationFailedAt = undefined;
      writeBatch([]);
    } catch (error) {
      rotationFailedAt = now();
      warn(`The audit log ${file} could not be rotated and grows on.`, error);
    }
  }

  /**
   * Writes the own events and the given ones; answers how many of those are in the log. Undefined where the file's last
   * name was removed, and what was written with it.
   */
  function writeBatch(events: readonly TimedEvent[]): number | undefined {
    const ours = own.length;
    const batch = ours === 0 ? events : [...own, ...events];
    if (batch.length === 0) return 0;
    const links: ChainHead[] = [];
    const lines: string[] = [];
    let link = last;
    for (const { event, time } of batch) {
      const line = composeLine(event, isoTime(time), slot.node, link, mac, tellsEnd && link === last);
      link = line.link;
      links.push(link);
      lines.push(line.text, '\n');
    }
    const text = lines.join('');
    const bytes = live.append(text);
    const size = live.sizeWhereNamed();
    if (size === undefined) return undefined;
    const complete = bytes === Buffer.byteLength(text);
    const whole = complete ? batch.length : wholeLines(text, bytes);
    if (whole > 0) {
      advance(
        links[whole - 1] ?? last,
        whole === batch.length ? text : lines.slice(0, 2 * whole).join(''),
        bytes,
        size,
      );
      own.splice(0, whole);
      try {
        writeHead();
      } catch (error) {
        // The lines are in the log; only a cut of them would not be found. The next batch writes it first, or fails.
        warn('The head record of the audit log could not be written.', error);
      }
    }
    if (complete) knownEnd = size;
    seenEnd = size;
    return Math.max(0, whole - ours);
  }

  /**
   * The chain now ends with the link, the last line of `text`, with which `bytes` began that were appended; the file has
   * `size` bytes. Where another writer appended too, the text is looked for.
   */
  function advance(link: ChainHead, text: string, bytes: number, size: bigint): void {
    const begin =
      size - seenEnd === BigInt(bytes) ? Number(seenEnd) : live.find(text.slice(0, -1), seenEnd, size);
    const follows = begin !== undefined && last.end === formatEnd(live.number, begin - 1);
    tellsEnd = !follows;
    last =
      begin === undefined
        ? { seq: link.seq, hash: link.hash }
        : {
            seq: link.seq,
            hash: link.hash,
            end: formatEnd(live.number, begin + Buffer.byteLength(text) - 1),
          };
  }

  function write(events: readonly TimedEvent[]): number {
    keepSlot();
    keepFile();
    if (events.length === 0 && own.length === 0) return 0;
    if (events.length > 0 && isOld()) rotateFile();
    let written = writeBatch(events);
    if (written === undefined) {
      // Removed between the look and the write: once more, in a new file.
      keepFile();
      written = writeBatch(events);
    }
    if (written === undefined) throw new Error('it is removed as often as it is made');
    if (written === 0 && events.length > 0) throw new Error('the disk took only a part of a line');
    if (knownEnd > limits().maxBytes) rotateFile();
    return written;
  }

  async function close(): Promise<void> {
    try {
      await Promise.all([...leaving].map((each) => each.catch(() => undefined)));
      await live.close();
    } finally {
      slot.release(last);
    }
  }

  try {
    write([]);
  } catch (error) {
    void live.close().catch(() => undefined);
    slot.release();
    throw error;
  }
  // What was rotated away a moment ago has lines of the last batch too.
  const sync = async () => void (await Promise.all([...leaving, live.sync()]));
  return { node: () => slot.node, last: () => last, write, sync, close };
}

/** How many lines are whole within the first `bytes` bytes; a line may lack its newline. */
function wholeLines(text: string, bytes: number): number {
  const written = Buffer.from(text).subarray(0, bytes + 1);
  let lines = 0;
  for (let at = written.indexOf(0x0a); at !== -1; at = written.indexOf(0x0a, at + 1)) lines += 1;
  return lines;
}

/** ISO 8601 of a time, remembered while the time is the same. */
function timeTeller(): (time: number) => string {
  let told = NaN;
  let text = '';
  return (time) => {
    if (time !== told) {
      told = time;
      text = new Date(time).toISOString();
    }
    return text;
  };
}

/** Giving the log file a number and its path free, beside other writers that may do the same. */

/**
 * Rotates the file at `file`, if it is still the one with this `id` and nobody else is at it. Answers the path it has now,
 * or undefined where another writer rotates or has rotated. Never overwrites a file; when interrupted, the file has
 * both names, and the next rotation finishes.
 */
export function rotate(file: string, id: string): string | undefined {
  const lock = tryLockFile(`${file}.rotate.lock`);
  if (lock === undefined) return undefined;
  try {
    const isOurs = (at: string) => fileId(fs.statSync(at, { bigint: true, throwIfNoEntry: false })) === id;
    if (!isOurs(file)) return undefined;
    const newest = rotatedFiles(file).at(-1);
    if (newest !== undefined && isOurs(newest.path)) {
      fs.unlinkSync(file);
      return newest.path;
    }
    const target = rotatedName(file, (newest?.number ?? 0) + 1);
    try {
      fs.linkSync(file, target);
    } catch (error) {
      if (!noLinks.has(String((error as NodeJS.ErrnoException).code)) || fs.existsSync(target)) throw error;
      fs.renameSync(file, target);
      return target;
    }
    fs.unlinkSync(file);
    return target;
  } finally {
    lock.release();
  }
}

/** What file systems without hard links say (FAT, some network and user-space ones). */
const noLinks = new Set(['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK']);
