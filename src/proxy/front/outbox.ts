import type { Duplex } from 'node:stream';

/** Pieces up to this size together are copied into one buffer: a system call and a TLS record cost more. */
const joinedBytes = 16_384;

/** What goes out on a connection. What is written in one turn leaves in one piece: a head with the body behind it. */
export class Outbox {
  readonly #socket: Duplex;
  /** Text in latin1: a character a byte. */
  #pieces: (string | Buffer)[] = [];
  #size = 0;
  #isScheduled = false;
  #onTaken: (() => void) | null = null;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /**
   * Takes a piece, which must not change from then on; it leaves at the end of this turn at the latest.
   *
   * @returns false: the client takes less than it is sent; `drain` of the socket tells when to go on
   */
  add(piece: string | Buffer): boolean {
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size >= joinedBytes) this.flush();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      process.nextTick(this.#flushLater);
    }
    return !this.#socket.writableNeedDrain;
  }

  /** Sends what is there. */
  flush(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    const size = this.#size;
    this.#pieces = [];
    this.#size = 0;
    const socket = this.#socket;
    if (!socket.writable) return;
    const [first] = pieces;
    if (pieces.length === 1 && typeof first === 'object') socket.write(first, this.#taken);
    else if (size <= 2 * joinedBytes) socket.write(join(pieces, size), this.#taken);
    else {
      socket.cork();
      for (const piece of pieces) {
        if (typeof piece === 'string') socket.write(piece, 'latin1', this.#taken);
        else socket.write(piece, this.#taken);
      }
      socket.uncork();
    }
  }

  /** Calls `taken` when the socket has taken all that was written up to now; never where it is closed before. */
  whenTaken(taken: () => void): void {
    this.flush();
    if (this.#socket.writableLength === 0 && !this.#socket.destroyed) taken();
    else this.#onTaken = taken;
  }

  readonly #flushLater = (): void => {
    this.#isScheduled = false;
    this.flush();
  };

  readonly #taken = (error?: Error | null): void => {
    if (error != null || this.#onTaken === null || this.#socket.writableLength > 0) return;
    const taken = this.#onTaken;
    this.#onTaken = null;
    taken();
  };
}

function join(pieces: readonly (string | Buffer)[], size: number): Buffer {
  const joined = Buffer.allocUnsafe(size);
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === 'string') at += joined.write(piece, at, 'latin1');
    else at += piece.copy(joined, at);
  }
  return joined;
}
