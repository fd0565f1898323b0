import type { Duplex } from 'node:stream';

/** What a head and a short body fit into: most of what is written. */
const smallBytes = 4_096;
/** Four records of TLS (RFC 8446 §5.1). */
const largeBytes = 65_536;
/** Bytes that are gathered and being written at most, before no more is wanted. */
const fullBytes = 2 * largeBytes;

/** Buffers that nobody uses now. A body that passes in buffers of its own has V8 collect its whole heap every 64 MB. */
const idle = { small: [] as Buffer[], large: [] as Buffer[] };
const mostIdle = { small: 256, large: 32 };

/**
 * What goes out on a connection. What is written in one turn leaves in one piece, a head with the body behind it; and what
 * comes while a piece is being written waits and leaves in one, too, since each write costs a system call and a record of TLS.
 */
export class Outbox {
  readonly #socket: Duplex;
  /** What is gathered, `#size` bytes of it. It is the outbox's alone until the socket has taken it. */
  #gathered: Buffer | null = null;
  #size = 0;
  /** Bytes that the socket was given and has not taken. */
  #given = 0;
  #isScheduled = false;
  #onDrain: (() => void)[] = [];
  #onTaken: (() => void) | null = null;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Whether the other side takes less than it is sent: `onDrain` tells when to go on. */
  get isFull(): boolean {
    return this.#size + this.#given >= fullBytes;
  }

  /**
   * Takes a copy of a piece; text is latin1, a character a byte. Where nothing is being written, it leaves at the end of
   * this turn at the latest.
   *
   * @returns false: `isFull`
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

  /** Sends what is there. */
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
      // Of what fails nobody knows whether the system still reads it: it is left to the collector.
      if (error == null) this.#taken(bytes, size);
    });
  }

  /** Calls once when it is not full any more; never where the connection is closed before. */
  onDrain(drained: () => void): void {
    this.#onDrain.push(drained);
  }

  /** Calls `taken` when the socket has taken all that was added up to now; never where it is closed before. */
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

  /** What to gather so many more bytes in; a large one may have room for a part of them alone. */
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
  if (idle[kind].length < mostIdle[kind]) idle[kind].push(bytes);
}
