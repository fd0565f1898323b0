import type { Duplex } from 'node:stream';

/** Size of a small buffer: enough for a head and a short body. */
const smallBytes = 4_096;
/** Four records of TLS (RFC 8446 §5.1). */
const largeBytes = 65_536;
/** Number of unsent bytes from which the buffer counts as full. */
const fullBytes = 2 * largeBytes;

/** Free buffers. A new buffer for each piece of a body would make V8 collect its whole heap every 64 MB. */
const idle = { small: [] as Buffer[], large: [] as Buffer[] };
const maxIdle = { small: 256, large: 32 };

/**
 * The write buffer of a connection. It combines all pieces of one turn, and all pieces that come during a write, into
 * one write: each write costs a system call and a TLS record.
 */
export class WriteBuffer {
  readonly #socket: Duplex;
  /** The gathered bytes, `#size` of them. */
  #gathered: Buffer | null = null;
  #size = 0;
  /** Bytes that the socket is writing. */
  #given = 0;
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
   * Adds a copy of a piece; text is latin1. If no write is in progress, it is written before the end of this turn of
   * the event loop.
   *
   * @returns false if the buffer is full
   */
  add(piece: string | Buffer): boolean {
    const { length } = piece;
    if (length === 0) return !this.isFull;
    const into = this.#bufferFor(length);
    if (this.#size + length > into.length) {
      this.#addInParts(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece);
    } else if (typeof piece === 'string') this.#size += into.write(piece, this.#size, 'latin1');
    else this.#size += piece.copy(into, this.#size);
    if (this.#given === 0 && !this.#isScheduled) {
      this.#isScheduled = true;
      process.nextTick(this.#flushLater);
    }
    return !this.isFull;
  }

  /** Writes the gathered bytes. */
  flush(): void {
    const bytes = this.#gathered;
    const size = this.#size;
    if (bytes === null) return;
    this.#gathered = null;
    this.#size = 0;
    if (!this.#socket.writable) {
      giveBack(bytes);
      return;
    }
    this.#given += size;
    this.#socket.write(bytes.subarray(0, size), (error) => {
      // After an error the system may still read the buffer, so it is not reused.
      if (error == null) this.#taken(bytes, size);
    });
  }

  /** Calls `drained` once when the buffer is not full any more; never if the connection closes first. */
  onDrain(drained: () => void): void {
    this.#onDrain.push(drained);
  }

  /** Calls `taken` when the socket has written all bytes added so far; never if it closes first. */
  whenTaken(taken: () => void): void {
    this.flush();
    if (this.#given === 0 && !this.#socket.destroyed) taken();
    else this.#onTaken = taken;
  }

  #addInParts(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const into = this.#bufferFor(largeBytes);
      const size = bytes.copy(into, this.#size, at);
      this.#size += size;
      at += size;
      if (this.#size === largeBytes) this.flush();
    }
  }

  /** Returns a buffer for more bytes. A large one may have room for only a part of them. */
  #bufferFor(bytes: number): Buffer {
    const held = (this.#gathered ??= take(bytes));
    if (this.#size + bytes <= held.length || held.length === largeBytes) return held;
    const larger = take(largeBytes);
    held.copy(larger, 0, 0, this.#size);
    giveBack(held);
    return (this.#gathered = larger);
  }

  readonly #flushLater = (): void => {
    this.#isScheduled = false;
    if (this.#given === 0) this.flush();
  };

  #taken(bytes: Buffer, size: number): void {
    giveBack(bytes);
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

function take(bytes: number): Buffer {
  if (bytes <= smallBytes) return idle.small.pop() ?? Buffer.allocUnsafeSlow(smallBytes);
  return idle.large.pop() ?? Buffer.allocUnsafeSlow(largeBytes);
}

function giveBack(bytes: Buffer): void {
  const kind = bytes.length === smallBytes ? 'small' : 'large';
  if (idle[kind].length < maxIdle[kind]) idle[kind].push(bytes);
}
