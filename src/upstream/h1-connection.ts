import type { OnReadOpts, Socket } from 'node:net';
import { Outbox } from '../lib/write-buffer.ts';
import { Deadline, type Clock } from '../lib/timers.ts';

/** One connection to an upstream, in the hands of one user at a time. */
export interface UpstreamConnection {
  /** Takes a copy; text is latin1. False: wait for `drained`. */
  write(bytes: string | Buffer): boolean;
  /** Reads no more for now; what was read already may still come. */
  pause(): void;
  resume(): void;
  /** `expired` is called in so many milliseconds, unless it is set anew before. */
  deadline(ms: number): void;
  /** Whether more is written than the upstream takes for now: `drained` has not come yet. */
  readonly isFull: boolean;
  /**
   * Gives it back, to be used again: everything that was asked has been answered whole.
   *
   * @param idleMs for how long the upstream says that it keeps it; null: it says nothing
   */
  release(idleMs: number | null): void;
  /** Cuts it. Its user hears no more of it. */
  destroy(): void;
}

/** Who uses a connection, and waited for it before. */
export interface ConnectionUser {
  /** Whose request it sends. A connection that was used for one owner serves no other. */
  readonly owner: string;
  /** The connection is the user's from now on, until it is released or destroyed, or gone. */
  connected(connection: UpstreamConnection): void;
  /** There is none to be had: a SidekeyError says why. */
  unconnected(error: Error): void;
  /** Bytes have come, from the start of the buffer to `end`. They are good until this returns. */
  received(bytes: Buffer, end: number): void;
  /** What was written has gone, and more may be. */
  drained(): void;
  /** The deadline has passed. */
  expired(): void;
  /** The upstream has ended its side in good order. The connection is to be destroyed. */
  ended(): void;
  /** The connection is gone. */
  lost(error: Error): void;
}

/** Where connections come from and go back to. */
export interface ConnectionOwner {
  /** It has no user now. `wasPaused`: what had come on it and was not read may only come next. */
  released(connection: PooledConnection, idleMs: number | null, wasPaused: boolean): void;
  /** It is no more. */
  closed(connection: PooledConnection): void;
}

/**
 * All connections read into this one buffer: what is to be kept is copied by whoever keeps it. Reading is no more than
 * one call from the event loop at a time, so no two of them share it at once.
 */
const readBuffer = Buffer.allocUnsafeSlow(65_536);

/** A connection of a pool. While it has no user, whatever comes on it ends it. */
export class PooledConnection implements UpstreamConnection {
  /** For the dialer: what the socket is to be made with. */
  readonly onread: OnReadOpts;
  readonly #home: ConnectionOwner;
  readonly #deadline: Deadline;
  #socket: Socket | null = null;
  #outbox: Outbox | null = null;
  #waitsForDrain = false;
  #user: ConnectionUser | null = null;
  /** Who used it; null: nobody yet. */
  #owner: string | null = null;
  #paused = false;
  #closed = false;

  constructor(home: ConnectionOwner, clock: Clock) {
    this.#home = home;
    this.#deadline = new Deadline(clock, () => this.#expired());
    this.onread = {
      buffer: readBuffer,
      callback: (size) => {
        this.#received(size);
        return !this.#paused;
      },
    };
  }

  /** Takes the socket that was made with `onread`. Where it has spoken or ended meanwhile, it is closed. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#outbox = new Outbox(socket);
    socket.on('error', (error) => this.#lost(error));
    socket.on('close', () => this.#lost(new Error('the connection was closed')));
    socket.on('end', () => this.#ended());
    // A socket that was not made with it has what came first in a buffer, where it would be the answer to the first request.
    const hasSpoken = socket.readableLength > 0;
    if (this.#closed || hasSpoken || socket.destroyed || socket.readableEnded) this.destroy();
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  get isFull(): boolean {
    return this.#outbox?.isFull === true;
  }

  /** Reports whether it may be lent to this user. */
  serves({ owner }: ConnectionUser): boolean {
    return this.#owner === null || this.#owner === owner;
  }

  /** Gives it to a user, whom it serves. */
  lend(user: ConnectionUser): void {
    this.#deadline.clear();
    this.#user = user;
    this.#owner = user.owner;
    this.#tell((it) => it.connected(this));
  }

  /** Has it closed in so many milliseconds, unless it is lent before. */
  rest(ms: number): void {
    this.#deadline.set(ms);
  }

  write(bytes: string | Buffer): boolean {
    const outbox = this.#outbox;
    if (outbox === null || outbox.add(bytes)) return true;
    if (!this.#waitsForDrain) outbox.onDrain(this.#drained);
    this.#waitsForDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
    this.#socket?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket?.resume();
  }

  deadline(ms: number): void {
    this.#deadline.set(ms);
  }

  release(idleMs: number | null): void {
    this.#user = null;
    this.#deadline.clear();
    if (this.#closed) return;
    const wasPaused = this.#paused;
    if (wasPaused) this.resume();
    this.#home.released(this, idleMs, wasPaused);
  }

  destroy(): void {
    this.#user = null;
    this.#socket?.destroy();
    this.#close();
  }

  #received(size: number): void {
    const user = this.#user;
    if (user === null) {
      this.destroy();
      return;
    }
    // As `#tell`, without a closure for each read.
    try {
      user.received(readBuffer, size);
    } catch (error) {
      this.#failed(user, error as Error);
    }
  }

  readonly #drained = (): void => {
    this.#waitsForDrain = false;
    this.#tell((user) => user.drained());
  };

  #ended(): void {
    if (this.#user === null) this.destroy();
    else this.#tell((user) => user.ended());
  }

  #expired(): void {
    if (this.#user === null) this.destroy();
    else this.#tell((user) => user.expired());
  }

  #lost(error: Error): void {
    const user = this.#user;
    this.destroy();
    user?.lost(error);
  }

  #tell(what: (user: ConnectionUser) => void): void {
    const user = this.#user;
    if (user === null) return;
    try {
      what(user);
    } catch (error) {
      this.#failed(user, error as Error);
    }
  }

  /** Whatever a user fails at costs this connection, and not the process. */
  #failed(user: ConnectionUser, error: Error): void {
    this.destroy();
    user.lost(error);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.stop();
    this.#home.closed(this);
  }
}
