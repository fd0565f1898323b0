import path from 'node:path';
import type { AuditEvent } from '../domain/event.ts';
import { checkEvery, ChainSlot, type SlotOptions } from './chain-slot.ts';
import {
  type ChainHead,
  type ChainMac,
  chainMac,
  formatEnd,
  linkAfter,
  LineBatch,
  unknownEnd,
} from './line.ts';
import { createCheckPace } from '../lib/timers.ts';
import { LiveFile, rotate } from './live-file.ts';
import { rotatedAs } from './log-files.ts';

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

interface ChainWriterOptions extends SlotOptions {
  readonly limits: () => RotationLimits;
  /** Reports whether the path must be checked before the next batch. Default: every 5 ms. */
  readonly isFileCheckDue?: (() => boolean) | undefined;
}

/**
 * One chain, open for writing. All its calls but `sync` and `close` are synchronous. Whatever happens to the
 * file, the chain continues from the new line if it is in the log, otherwise from the one before.
 */
export class ChainWriter {
  readonly #options: ChainWriterOptions;
  readonly #isFileCheckDue: () => boolean;
  /** The batch of the lines to write, its MAC, and the ID of their key. */
  #lines!: LineBatch;
  #mac!: ChainMac;
  #lineKey!: string;
  /** Events of the log itself, which precede all others. */
  readonly #own: TimedEvent[] = [];
  /** Rotated files that are being synced and closed. */
  readonly #closing = new Set<Promise<void>>();
  /** True if the next batch names the end of the last one, which did not directly follow its predecessor. */
  #tellsEnd = true;
  /** Size of the file after this writer's last batch; later bytes are of other writers. */
  #knownEnd = 0;
  /** Size of the file at the last check or after the last batch. */
  #seenEnd = 0;
  /** Time at which the first line of the file was written; undefined while unknown. */
  #begunAt: number | undefined;
  #rotationFailedAt: number | undefined;
  readonly #slot: ChainSlot;
  #live: LiveFile;

  /**
   * Claims a slot, repairs what a crash left, and opens the live file.
   * @throws errors of `claimSlot` and `LiveFile`, and of the file system as they are; nothing stays open then
   */
  constructor(options: ChainWriterOptions) {
    const { file, disk } = options;
    this.#options = options;
    this.#isFileCheckDue = options.isFileCheckDue ?? createCheckPace(undefined, Infinity);
    this.#useKey();
    this.#slot = new ChainSlot(options);
    try {
      this.#adopt();
      this.#live = new LiveFile(file, disk);
    } catch (error) {
      this.#slot.release();
      throw error;
    }
    try {
      this.write([]);
    } catch (error) {
      this.#slot.stop();
      void this.#live.close().catch(() => undefined);
      this.#slot.release();
      throw error;
    }
  }

  get node(): string {
    return this.#slot.claimed.node;
  }

  get last(): ChainHead {
    return this.#slot.last;
  }

  /**
   * Writes the events in order; returns how many are in the log: fewer than given if the disk took only a
   * part, or if they are too long for one write.
   * @throws if none of them is in the log.
   */
  write(events: readonly TimedEvent[]): number {
    if (this.#slot.keep()) this.#adopt();
    this.#keepFile();
    if (events.length === 0 && this.#own.length === 0 && this.#slot.lastKey === this.#options.vault.keyId)
      return 0;
    if (events.length > 0 && this.#isOld()) this.#rotateFile();
    let written = this.#writeBatch(events);
    if (written === undefined) {
      // The file was removed after the check. The batch is written again, to a new file.
      this.#checkFile();
      written = this.#writeBatch(events);
    }
    if (written === undefined) throw new Error('it is removed as often as it is created');
    if (written === 0 && events.length > 0) throw new Error('the disk took only a part of a line');
    if (this.#knownEnd > this.#options.limits().maxBytes) this.#rotateFile();
    return written;
  }

  /** Makes written lines durable. */
  async sync(): Promise<void> {
    // A file that has just been rotated also has lines of the last batch.
    await Promise.all([...this.#closing, this.#live.sync()]);
  }

  /** Syncs, records the chain head, and closes all files. */
  async close(): Promise<void> {
    this.#slot.stop();
    try {
      await Promise.all([...this.#closing].map((each) => each.catch(() => undefined)));
      await this.#live.close();
    } finally {
      this.#slot.end();
    }
  }

  /** Begins a batch with the key of the vault. */
  #useKey(): void {
    const { vault } = this.#options;
    this.#mac = chainMac(vault);
    this.#lines = new LineBatch(this.#mac);
    this.#lineKey = vault.keyId;
  }

  /** Records what was found in the claimed slot. */
  #adopt(): void {
    const { findings, behind } = this.#slot.claimed;
    this.#tellsEnd = true;
    for (const finding of findings) this.#record('audit.repaired', finding, 'audit_broken');
    if (behind === undefined) return;
    // Without a code, because the chain itself shows the gap until a person accepts it.
    this.#record('audit.repaired', behind);
    this.#options.warn(behind, undefined);
  }

  #record(event: 'audit.repaired' | 'audit.rotated', reason: string, code?: 'audit_broken'): void {
    this.#own.push({ event: { event, reason, code }, time: this.#options.now() });
  }

  /**
   * Reopens the path if it names another file, and ends a torn line. Other processes cause both, so it checks
   * by time: a rotated file gets lines for some milliseconds more, and a line may directly follow a torn one.
   */
  #keepFile(): void {
    if (this.#knownEnd !== this.#seenEnd || this.#knownEnd === 0 || this.#isFileCheckDue()) this.#checkFile();
  }

  #checkFile(): void {
    let size = this.#live.sizeInPlace();
    if (size === undefined) {
      const rotated = rotatedAs(this.#options.file, this.#live.id) !== undefined;
      this.#openNext();
      if (!rotated)
        this.#record(
          'audit.repaired',
          `The file was removed or replaced while in use; line ${this.#slot.last.seq} was the last before.`,
        );
      size = this.#live.sizeInPlace() ?? 0;
    }
    this.#seenEnd = size;
    if (size === this.#knownEnd || this.#live.endsLineAt(size)) return;
    // The newline comes before the check, because its write waits for an unfinished write of another writer.
    if (this.#live.append(newline) !== 1) throw new Error('The newline after a torn line was not written.');
    const torn = this.#live.tornBytesAt(size, this.#mac);
    if (torn > 0)
      this.#record(
        'audit.repaired',
        `A torn line of ${torn} bytes was ended: its writer died or met a full disk.`,
      );
  }

  #openNext(): void {
    const next = new LiveFile(this.#options.file, this.#options.disk);
    const closed = this.#live.close();
    this.#closing.add(closed);
    closed
      .catch((error: unknown) =>
        this.#options.warn('The end of a rotated audit file may not be durable.', error),
      )
      .finally(() => this.#closing.delete(closed));
    this.#live = next;
    this.#knownEnd = 0;
    this.#seenEnd = 0;
    this.#begunAt = undefined;
  }

  #isOld(): boolean {
    const { maxAgeMs } = this.#options.limits();
    if (maxAgeMs === null) return false;
    this.#begunAt ??= this.#live.begunAt();
    return this.#begunAt !== undefined && this.#options.now() - this.#begunAt >= maxAgeMs;
  }

  #rotateFile(): void {
    const { file, now, warn } = this.#options;
    if (this.#rotationFailedAt !== undefined && Math.abs(now() - this.#rotationFailedAt) < checkEvery) return;
    try {
      const target = rotate(file, this.#live.id);
      if (target === undefined) return;
      this.#record('audit.rotated', `Continues ${path.basename(target)}.`);
      this.#openNext();
      this.#rotationFailedAt = undefined;
      this.#writeBatch([]);
      // Retention may remove the rotated file before the timer ends: an older record would look restored.
      this.#slot.writeHeadNow();
    } catch (error) {
      this.#rotationFailedAt = now();
      warn(`The audit log ${file} could not be rotated and grows on.`, error);
    }
  }

  /**
   * Writes the log's own events and the given ones. Returns how many given ones are in the log; undefined if
   * the file was removed with its lines.
   */
  #writeBatch(events: readonly TimedEvent[]): number | undefined {
    if (this.#lineKey !== this.#options.vault.keyId) this.#useKey();
    const slot = this.#slot;
    const lines = this.#lines;
    const { last, lastKey } = slot;
    const link = lastKey === this.#lineKey || last.seq === 0 ? null : linkAfter(last, lastKey, this.#lineKey);
    const first = link === null ? this.#own : [{ event: link, time: this.#options.now() }, ...this.#own];
    const ours = first.length;
    if (ours + events.length === 0) return 0;
    lines.begin(last);
    for (let at = 0; at < ours + events.length && lines.hasRoom; at += 1)
      this.#addLine(first[at] ?? events[at - ours]!);
    const batch = lines.bytes();
    const bytes = this.#live.append(batch);
    const size = this.#live.sizeWhereNamed();
    if (size === undefined) return undefined;
    const complete = bytes === batch.length;
    const whole = complete ? lines.count : lines.wholeLines(bytes);
    if (whole > 0) {
      this.#advance(whole, bytes, size);
      this.#own.splice(0, link === null ? whole : whole - 1);
      slot.lastKey = this.#lineKey;
      slot.writeHeadLater();
    }
    if (complete) this.#knownEnd = size;
    this.#seenEnd = size;
    return Math.max(0, whole - ours);
  }

  #addLine({ event, time }: TimedEvent): void {
    const { last, claimed } = this.#slot;
    const namesEnd = this.#tellsEnd && this.#lines.count === 0;
    this.#lines.add(event, time, claimed.node, namesEnd ? (last.end ?? unknownEnd) : undefined);
  }

  /**
   * Advances the head of the chain by the first lines of the batch. `bytes` bytes of the batch were appended;
   * the file has `size` bytes now. Searches for the lines if another writer appended too.
   */
  #advance(count: number, bytes: number, size: number): void {
    const live = this.#live;
    const slot = this.#slot;
    const lines = this.#lines.bytes(count);
    const isNext = size - this.#seenEnd === bytes;
    const begin = isNext ? this.#seenEnd : live.find(lines.subarray(0, -1), this.#seenEnd, size);
    this.#tellsEnd = begin === undefined || slot.last.end !== formatEnd(live.number, begin - 1);
    const { seq, hash } = this.#lines.head(count);
    const end = begin === undefined ? undefined : formatEnd(live.number, begin + lines.length - 1);
    slot.last = { seq, hash, end };
  }
}

const newline = Buffer.from('\n');
