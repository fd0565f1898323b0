import type { Duplex } from 'node:stream';

/** Size of a small buffer: enough for a head and a short body. */
const smallBytes = 4_096;
/** Four records of TLS (RFC 8446 §5.1). */
const largeBytes = 65_536;
/** Number of unsent bytes from which the buffer counts as full. */
const fullBytes = 2 * largeBytes;

/** A buffer with a view of its last write: most writes of a connection have the length of the one before. */
class Slab {
  readonly bytes: Buffer;
  #written: Buffer;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.#written = this.bytes;
  }

  /** Length of the last result of `first`. */
  get lastSize(): number {
    return this.#written.length;
  }

  /** Returns the first `size` bytes. */
  first(size: number): Buffer {
    if (this.#written.length !== size) this.#written = this.bytes.subarray(0, size);
    return this.#written;
  }
}

/** Free buffers. A new buffer for each piece of a body would make V8 collect its whole heap every 64 MB. */
const idle = { small: [] as Slab[], large: [] as Slab[] };
const maxIdle = { small: 256, large: 32 };

/**
 * The write buffer of a connection. Combines all pieces of one turn of the event loop, and all pieces during
 * a write, into one write: each write costs a system call and a TLS record.
 */
export class WriteBuffer {
  readonly #socket: Duplex;
  /** The gathered bytes, of which `#size` are used. */
  #gathered: Slab | null = null;
  #size = 0;
  /** Number of bytes that the socket has accepted but not written. */
  #given = 0;
  /** The buffer that the socket is writing, its used bytes, and the buffers that wait after it. */
  #writing: Slab | null = null;
  #writingSize = 0;
  readonly #queued: Slab[] = [];
  readonly #queuedSizes: number[] = [];
  /** Size of the last write. */
  #lastSize = 0;
  #isScheduled = false;
  #onDrain: (() => void)[] = [];
  #onTaken: (() => void) | null = null;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** True if the peer reads too slowly. Wait for `onDrain` before sending more. */
  get isFull(): boolean {
    return this.#size + this.#given >= fullBytes;
  }

  /**
   * Adds a copy of a piece; text is latin1. Without a write in progress, it is written before the end of this
   * turn of the event loop.
   *
   * @returns false if the buffer is full
   */
  add(piece: string | Buffer): boolean {
    if (typeof piece !== 'string') return this.addPart(piece, 0, piece.length);
    if (piece.length === 0) return !this.isFull;
    const into = this.#bufferFor(piece.length);
    if (this.#size + piece.length > into.length) {
      const bytes = Buffer.from(piece, 'latin1');
      this.#addInParts(bytes, 0, bytes.length);
    } else this.#size += into.write(piece, this.#size, 'latin1');
    this.#schedule();
    return !this.isFull;
  }

  /** Does the same as `add` with a part of a buffer. */
  addPart(bytes: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (length === 0) return !this.isFull;
    const into = this.#bufferFor(length);
    if (this.#size + length > into.length) this.#addInParts(bytes, start, end);
    else this.#size += bytes.copy(into, this.#size, start, end);
    this.#schedule();
    return !this.isFull;
  }

  /**
   * Returns a buffer with room for `size` bytes from `end` on, or null if they are too many. The caller fills
   * it at once, and confirms with `filledTo`.
   */
  room(size: number): Buffer | null {
    if (size > largeBytes) return null;
    const into = this.#bufferFor(size);
    return this.#size + size > into.length ? null : into;
  }

  /** Number of gathered bytes: the start of the free room. */
  get end(): number {
    return this.#size;
  }

  /** Adds the bytes written to the buffer of `room`, up to `end`. `isFlushed`: writes everything at once. */
  filledTo(end: number, isFlushed = false): void {
    this.#size = end;
    if (isFlushed) this.flush();
    else this.#schedule();
  }

  #schedule(): void {
    if (this.#given > 0 || this.#isScheduled) return;
    this.#isScheduled = true;
    if (isGathering) {
      due[dueCount] = this;
      dueCount += 1;
    } else process.nextTick(this.#flushLater);
  }

  /** Writes the gathered bytes. */
  flush(): void {
    const slab = this.#gathered;
    const size = this.#size;
    if (slab === null || size === 0) return;
    this.#gathered = null;
    this.#size = 0;
    if (!this.#socket.writable) {
      giveBack(slab);
      return;
    }
    this.#given += size;
    if (this.#writing === null) {
      this.#writing = slab;
      this.#writingSize = size;
    } else {
      this.#queued.push(slab);
      this.#queuedSizes.push(size);
    }
    this.#lastSize = size;
    this.#socket.write(slab.first(size), this.#written);
  }

  /** Calls `drained` once when the buffer is no longer full; never if the connection closes first. */
  onDrain(drained: () => void): void {
    this.#onDrain.push(drained);
  }

  /** Calls `taken` when the socket has written all bytes added so far; never if it closes first. */
  whenTaken(taken: () => void): void {
    this.flush();
    if (this.#given === 0 && !this.#socket.destroyed) taken();
    else this.#onTaken = taken;
  }

  #addInParts(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end;) {
      const into = this.#bufferFor(largeBytes);
      const size = bytes.copy(into, this.#size, at, end);
      this.#size += size;
      at += size;
      if (this.#size === largeBytes) this.flush();
    }
  }

  /** Returns a buffer for more bytes. A large one may have room for only a part of them. */
  #bufferFor(bytes: number): Buffer {
    const held = (this.#gathered ??= take(bytes, this.#lastSize));
    if (this.#size + bytes <= held.bytes.length || held.bytes.length === largeBytes) return held.bytes;
    const larger = take(largeBytes, 0);
    held.bytes.copy(larger.bytes, 0, 0, this.#size);
    giveBack(held);
    this.#gathered = larger;
    return larger.bytes;
  }

  readonly #flushLater = (): void => {
    this.flushScheduled();
  };

  /** Writes the gathered bytes at the scheduled time, except during a write. */
  flushScheduled(): void {
    this.#isScheduled = false;
    if (this.#given === 0) this.flush();
  }

  /** Called by the socket once for each write, in order. */
  readonly #written = (error?: Error | null): void => {
    const slab = this.#writing!;
    const size = this.#writingSize;
    this.#writing = this.#queued.shift() ?? null;
    this.#writingSize = this.#queuedSizes.shift() ?? 0;
    // After an error the system may still read the buffer, so it is not reused.
    if (error == null) this.#taken(slab, size);
  };

  #taken(slab: Slab, size: number): void {
    giveBack(slab);
    this.#given -= size;
    if (this.#given === 0) this.flush();
    if (this.#given === 0 && this.#onTaken !== null) {
      const taken = this.#onTaken;
      this.#onTaken = null;
      taken();
    }
    if (this.#onDrain.length === 0 || this.isFull) return;
    const drained = this.#onDrain;
    this.#onDrain = [];
    for (const each of drained) each();
  }
}

/** Write buffers to flush at the end of the gathering: the first `dueCount` entries. */
const due: (WriteBuffer | null)[] = [];
let dueCount = 0;
let isGathering = false;

/**
 * Starts to gather: `endGathering` flushes the buffers, which costs less than a tick for each. Call both in
 * the same callback, without nesting.
 */
export function beginGathering(): void {
  isGathering = true;
}

/** Flushes the buffers that received bytes since `beginGathering`. */
export function endGathering(): void {
  isGathering = false;
  while (dueCount > 0) {
    dueCount -= 1;
    const buffer = due[dueCount]!;
    // The array keeps its length: V8 would free the memory of an empty one.
    due[dueCount] = null;
    buffer.flushScheduled();
  }
}

/** Number of free buffers to examine. */
const looks = 8;

/** Returns a free buffer for all or some of the bytes. @param lastSize preferred size of an existing view */
function take(bytes: number, lastSize: number): Slab {
  if (bytes > smallBytes) return idle.large.pop() ?? new Slab(largeBytes);
  const { small } = idle;
  const last = small.pop();
  if (last === undefined) return new Slab(smallBytes);
  if (last.lastSize === lastSize) return last;
  for (let at = small.length - 1; at >= 0 && at >= small.length - looks; at -= 1) {
    const earlier = small[at]!;
    if (earlier.lastSize !== lastSize) continue;
    small[at] = last;
    return earlier;
  }
  return last;
}

function giveBack(slab: Slab): void {
  const kind = slab.bytes.length === smallBytes ? 'small' : 'large';
  if (idle[kind].length < maxIdle[kind]) idle[kind].push(slab);
}

/** Maximum length of a cached view: at most 1,024 objects for a buffer. */
const longestKept = 1_024;

/**
 * Returns a function that returns the first `length` bytes of a buffer as a view. Caches views, because
 * creating one costs more than copying a line.
 */
export function viewsOf(bytes: Buffer): (length: number) => Buffer {
  const views: (Buffer | undefined)[] = [];
  return (length) => {
    if (length > longestKept) return bytes.subarray(0, length);
    return (views[length] ??= bytes.subarray(0, length));
  };
}
