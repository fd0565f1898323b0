import type { ChainHead } from './line.ts';
import type { AuditVault } from './live-file.ts';
import type { DiskCalls } from './log-files.ts';
import { claimSlot } from './writer-slot.ts';

export interface SlotOptions {
  readonly file: string;
  readonly host: string;
  readonly vault: AuditVault;
  readonly disk: DiskCalls;
  readonly now: () => number;
  /** The slot to take; absent: the first free one. */
  readonly slot?: number | undefined;
  /** The last line of each node by the store. */
  readonly stored?: ReadonlyMap<string, ChainHead> | undefined;
  /** Reports a rotation or a head record that could not be written. */
  readonly warn: (sentence: string, cause: unknown) => void;
}

/** Milliseconds after a line until the head record has it: the most by which a kill leaves it behind. */
const headAfter = 5;
/** Milliseconds between checks of lock and head record, and between attempts at a rotation that failed. */
export const checkEvery = 1_000;

/** The slot of a writer, with the last line of its chain, which the head record of the slot names. */
export class ChainSlot {
  /** The last line of the chain, and the ID of its key. */
  last: ChainHead;
  lastKey: string;
  readonly #options: SlotOptions;
  readonly #heads: Map<string, ChainHead>;
  #slot: ReturnType<typeof claimSlot>;
  #headFailed = false;
  #headTimer: NodeJS.Timeout | undefined;
  #checkedAt: number;

  /** @throws errors of `claimSlot` */
  constructor(options: SlotOptions) {
    this.#options = options;
    this.#heads = new Map(options.stored);
    this.#checkedAt = options.now();
    this.#slot = this.#claim(options.slot);
    this.last = this.#slot.last;
    this.lastKey = this.#slot.keyId;
  }

  /** The slot as it was claimed. */
  get claimed(): Pick<ReturnType<typeof claimSlot>, 'node' | 'findings' | 'behind'> {
    return this.#slot;
  }

  #claim(only?: number): ReturnType<typeof claimSlot> {
    const { file, host, vault, disk } = this.#options;
    return claimSlot(file, host, vault, { calls: disk, stored: this.#heads, only });
  }

  /**
   * Claims another slot if the lock file was removed: another process could write the same chain. Returns
   * whether it did.
   */
  keep(): boolean {
    const { now } = this.#options;
    if (this.#headFailed) this.#writeHead();
    if (Math.abs(now() - this.#checkedAt) < checkEvery) return false;
    const isLost = !this.#slot.held();
    if (isLost) {
      const lost = this.#slot;
      if (this.last.seq > 0) this.#heads.set(lost.node, this.last);
      this.#slot = this.#claim();
      lost.release();
      this.last = this.#slot.last;
      this.lastKey = this.#slot.keyId;
    }
    this.#checkedAt = now();
    return isLost;
  }

  #writeHead(): void {
    this.#headFailed = true;
    this.#slot.record(this.last, this.lastKey);
    this.#headFailed = false;
  }

  /** Writes the head record soon. */
  writeHeadLater(): void {
    this.#headTimer ??= setTimeout(() => {
      this.#headTimer = undefined;
      this.writeHeadNow();
    }, headAfter).unref();
  }

  writeHeadNow(): void {
    try {
      this.#writeHead();
    } catch (error) {
      // Until the next batch writes the record, or fails, the removal of these lines would not be found.
      this.#options.warn('The head record of the audit log could not be written.', error);
    }
  }

  /** Stops writing the head record. The timer would write to a closed descriptor. */
  stop(): void {
    clearTimeout(this.#headTimer);
  }

  release(): void {
    this.#slot.release();
  }

  /** Records that the chain ends with its last line, and releases the slot. */
  end(): void {
    this.#slot.release(this.last, this.lastKey);
  }
}
