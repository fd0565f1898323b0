import path from 'node:path';
import type { AuditEvent } from '../domain/event.ts';
import { type ChainHead, chainMac, formatEnd, linkAfter, LineBatch, unknownEnd } from './line.ts';
import { createCheckPace } from '../lib/timers.ts';
import { type AuditVault, LiveFile, rotate } from './live-file.ts';
import { type DiskCalls, rotatedAs } from './log-files.ts';
import { claimSlot } from './writer-slot.ts';

/** An event and its time, in milliseconds since the epoch. */
export interface TimedEvent {
  readonly event: AuditEvent;
  readonly time: number;
}

/** A file is rotated after it exceeds `maxBytes`, and before an event `maxAgeMs` after its first line. */
export interface RotationLimits {
  readonly maxBytes: number;
  /** Milliseconds; null: no limit. */
  readonly maxAgeMs: number | null;
}

interface ChainWriterOptions {
  readonly file: string;
  readonly limits: () => RotationLimits;
  readonly vault: AuditVault;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly host: string;
  readonly disk: DiskCalls;
  /** The slot to take; absent: the first free one. */
  readonly slot?: number | undefined;
  /** The last line of each node by the store. */
  readonly stored?: ReadonlyMap<string, ChainHead> | undefined;
  /** Reports whether the path must be checked before the next batch. Default: every 5 ms. */
  readonly isFileCheckDue?: (() => boolean) | undefined;
  /** Reports a rotation or a head record that could not be written. */
  readonly warn: (sentence: string, cause: unknown) => void;
}

/** One chain, open for writing. All its calls but `sync` and `close` are synchronous. */
export interface ChainWriter {
  node(): string;
  last(): ChainHead;
  /**
   * Writes the events in order; returns how many are in the log: fewer than given if the disk took only a
   * part, or if they are too long for one write.
   * @throws if none of them is in the log.
   */
  write(events: readonly TimedEvent[]): number;
  /** Makes written lines durable. */
  sync(): Promise<void>;
  /** Syncs, records the chain head, and closes all files. */
  close(): Promise<void>;
}

/** Milliseconds after a line until the head record has it: the most by which a kill leaves it behind. */
const headAfter = 5;
/** Milliseconds between checks of lock and head record, and between attempts at a rotation that failed. */
const checkEvery = 1_000;

/**
 * Claims a slot, repairs what a crash left, and opens the live file. Whatever happens to the file later, the
 * chain continues from the new line if it is in the log, otherwise from the one before.
 * @throws errors of `claimSlot` and `LiveFile`, and of the file system as they are; nothing stays open then
 */
export function openChainWriter(options: ChainWriterOptions): ChainWriter {
  const { file, limits, vault, now, warn } = options;
  const heads = new Map(options.stored);
  let mac = chainMac(vault);
  let lines = new LineBatch(mac);
  /** Id of the key that `lines` are written with, and of the key of the last line. */
  let lineKey = vault.keyId;
  let lastKey = lineKey;
  /** Events of the log itself, which precede all others. */
  const own: TimedEvent[] = [];
  /** Rotated files that are being synced and closed. */
  const closing = new Set<Promise<void>>();
  let last: ChainHead;
  /** True if the next batch names the end of the last one, which did not directly follow its predecessor. */
  let tellsEnd = true;
  /** Size of the file after this writer's last batch; later bytes are of other writers. */
  let knownEnd = 0;
  /** Size of the file at the last check or after the last batch. */
  let seenEnd = 0;
  const isFileCheckDue = options.isFileCheckDue ?? createCheckPace(undefined, Infinity);
  /** Time at which the first line of the file was written; undefined while unknown. */
  let begunAt: number | undefined;
  let headFailed = false;
  let headTimer: NodeJS.Timeout | undefined;
  let checkedAt = now();
  let rotationFailedAt: number | undefined;

  let slot = claimSlot(file, options.host, vault, { calls: options.disk, stored: heads, only: options.slot });
  let live: LiveFile;
  try {
    adopt();
    live = new LiveFile(file, options.disk);
  } catch (error) {
    slot.release();
    throw error;
  }

  function adopt(): void {
    last = slot.last;
    lastKey = slot.keyId;
    tellsEnd = true;
    for (const finding of slot.findings) record('audit.repaired', finding, 'audit_broken');
    if (slot.behind === undefined) return;
    // Without a code, because the chain itself shows the gap until a person accepts it.
    record('audit.repaired', slot.behind);
    warn(slot.behind, undefined);
  }

  function record(event: 'audit.repaired' | 'audit.rotated', reason: string, code?: 'audit_broken'): void {
    own.push({ event: { event, reason, code }, time: now() });
  }

  function isDue(since: number): boolean {
    return Math.abs(now() - since) >= checkEvery;
  }

  /** Claims another slot if the lock file was removed: another process could write the same chain. */
  function keepSlot(): void {
    if (headFailed) writeHead();
    if (!isDue(checkedAt)) return;
    if (!slot.held()) {
      const lost = slot;
      if (last.seq > 0) heads.set(lost.node, last);
      slot = claimSlot(file, options.host, vault, { calls: options.disk, stored: heads });
      lost.release();
      adopt();
    }
    checkedAt = now();
  }

  function writeHead(): void {
    headFailed = true;
    slot.record(last, lastKey);
    headFailed = false;
  }

  function writeHeadLater(): void {
    headTimer ??= setTimeout(() => {
      headTimer = undefined;
      writeHeadNow();
    }, headAfter).unref();
  }

  function writeHeadNow(): void {
    try {
      writeHead();
    } catch (error) {
      // Until the next batch writes the record, or fails, the removal of these lines would not be found.
      warn('The head record of the audit log could not be written.', error);
    }
  }

  /**
   * Reopens the path if it names another file, and ends a torn line. Other processes cause both, so it checks
   * by time: a rotated file gets lines for some milliseconds more, and a line may directly follow a torn one.
   */
  function keepFile(): void {
    if (knownEnd !== seenEnd || knownEnd === 0 || isFileCheckDue()) checkFile();
  }

  function checkFile(): void {
    let size = live.sizeInPlace();
    if (size === undefined) {
      const rotated = rotatedAs(file, live.id) !== undefined;
      openNext();
      if (!rotated)
        record(
          'audit.repaired',
          `The file was removed or replaced while in use; line ${last.seq} was the last before.`,
        );
      size = live.sizeInPlace() ?? 0;
    }
    seenEnd = size;
    if (size === knownEnd || live.endsLineAt(size)) return;
    // The newline comes before the check, because its write waits for an unfinished write of another writer.
    if (live.append(newline) !== 1) throw new Error('The newline after a torn line was not written.');
    const torn = live.tornBytesAt(size, mac);
    if (torn > 0)
      record('audit.repaired', `A torn line of ${torn} bytes was ended: its writer died or met a full disk.`);
  }

  function openNext(): void {
    const next = new LiveFile(file, options.disk);
    const closed = live.close();
    closing.add(closed);
    closed
      .catch((error: unknown) => warn('The end of a rotated audit file may not be durable.', error))
      .finally(() => closing.delete(closed));
    live = next;
    knownEnd = 0;
    seenEnd = 0;
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
      openNext();
      rotationFailedAt = undefined;
      writeBatch([]);
      // Retention may remove the rotated file before the timer ends: an older record would look restored.
      writeHeadNow();
    } catch (error) {
      rotationFailedAt = now();
      warn(`The audit log ${file} could not be rotated and grows on.`, error);
    }
  }

  /**
   * Writes the log's own events and the given ones. Returns how many given ones are in the log; undefined if
   * the file was removed with its lines.
   */
  function writeBatch(events: readonly TimedEvent[]): number | undefined {
    if (lineKey !== vault.keyId) {
      mac = chainMac(vault);
      lines = new LineBatch(mac);
      lineKey = vault.keyId;
    }
    const link = lastKey === lineKey || last.seq === 0 ? null : linkAfter(last, lastKey, lineKey);
    const first = link === null ? own : [{ event: link, time: now() }, ...own];
    const ours = first.length;
    if (ours + events.length === 0) return 0;
    lines.begin(last);
    for (let at = 0; at < ours + events.length && lines.hasRoom; at += 1)
      addLine(first[at] ?? events[at - ours]!);
    const batch = lines.bytes();
    const bytes = live.append(batch);
    const size = live.sizeWhereNamed();
    if (size === undefined) return undefined;
    const complete = bytes === batch.length;
    const whole = complete ? lines.count : lines.wholeLines(bytes);
    if (whole > 0) {
      advance(whole, bytes, size);
      own.splice(0, link === null ? whole : whole - 1);
      lastKey = lineKey;
      writeHeadLater();
    }
    if (complete) knownEnd = size;
    seenEnd = size;
    return Math.max(0, whole - ours);
  }

  function addLine({ event, time }: TimedEvent): void {
    const namesEnd = tellsEnd && lines.count === 0;
    lines.add(event, time, slot.node, namesEnd ? (last.end ?? unknownEnd) : undefined);
  }

  /**
   * Advances the head of the chain by the first lines of the batch. `bytes` bytes of the batch were appended;
   * the file has `size` bytes now. Searches for the lines if another writer appended too.
   */
  function advance(count: number, bytes: number, size: number): void {
    const { length } = lines.bytes(count);
    const begin =
      size - seenEnd === bytes ? seenEnd : live.find(lines.bytes(count).subarray(0, -1), seenEnd, size);
    tellsEnd = begin === undefined || last.end !== formatEnd(live.number, begin - 1);
    const { seq, hash } = lines.head(count);
    last = { seq, hash, end: begin === undefined ? undefined : formatEnd(live.number, begin + length - 1) };
  }

  function write(events: readonly TimedEvent[]): number {
    keepSlot();
    keepFile();
    if (events.length === 0 && own.length === 0 && lastKey === vault.keyId) return 0;
    if (events.length > 0 && isOld()) rotateFile();
    let written = writeBatch(events);
    if (written === undefined) {
      // The file was removed after the check. The batch is written again, to a new file.
      checkFile();
      written = writeBatch(events);
    }
    if (written === undefined) throw new Error('it is removed as often as it is created');
    if (written === 0 && events.length > 0) throw new Error('the disk took only a part of a line');
    if (knownEnd > limits().maxBytes) rotateFile();
    return written;
  }

  async function close(): Promise<void> {
    clearTimeout(headTimer);
    try {
      await Promise.all([...closing].map((each) => each.catch(() => undefined)));
      await live.close();
    } finally {
      slot.release(last, lastKey);
    }
  }

  try {
    write([]);
  } catch (error) {
    // The timer would write to a closed descriptor.
    clearTimeout(headTimer);
    void live.close().catch(() => undefined);
    slot.release();
    throw error;
  }
  // A file that has just been rotated also has lines of the last batch.
  const sync = async () => void (await Promise.all([...closing, live.sync()]));
  return { node: () => slot.node, last: () => last, write, sync, close };
}

const newline = Buffer.from('\n');
