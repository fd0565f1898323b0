import type { OnReadOpts, Socket } from 'node:net';
import { addRequestHead } from '../http/h1/write.ts';
import { beginGathering, endGathering, WriteBuffer } from '../lib/write-buffer.ts';
import { Deadline, type Clock } from '../lib/timers.ts';

/** An HTTP/1.1 connection to an upstream, as its current user sees it. */
export interface UpstreamConnection {
  /**
   * Copies the bytes; a string is latin1. They are written before the end of this turn of the event loop, together with all
   * others. Returns false if the user must wait for `drained`.
   */
  write(bytes: string | Buffer): boolean;
  /**
   * Copies the head of a request; see `addRequestHead`. `isAlone`: it is written at once, since no bytes follow for now.
   */
  writeHead(method: string, target: string, section: Buffer, isAlone: boolean): void;
  /** Stops reading. Bytes that were read already may still be delivered. */
  pause(): void;
  resume(): void;
  /** Sets the deadline: milliseconds until `expired`, counted from this call. */
  deadline(ms: number): void;
  /** True if more bytes are buffered than the upstream accepts for now: `drained` follows. */
  readonly isFull: boolean;
  /**
   * Returns the connection to its pool, after every request on it got a complete response.
   *
   * @param idleMs keep-alive time-out of the upstream in milliseconds; null if it named none
   */
  release(idleMs: number | null): void;
  /** Closes the connection. Its user gets no further calls. */
  destroy(): void;
}

/** The user of a connection, which first waits for one. */
export interface ConnectionUser {
  /** The caller whose request it sends. A connection never serves two owners. */
  readonly owner: string;
  /** The user has the connection until it releases, destroys or loses it. */
  connected(connection: UpstreamConnection): void;
  /** There is no connection. `error` is a SidekeyError. */
  unconnected(error: Error): void;
  /** Bytes arrived, from the start of the buffer to `end`. They are valid until this returns. */
  received(bytes: Buffer, end: number): void;
  /** The buffered bytes are written; the user may write more. */
  drained(): void;
  /** The deadline has passed. */
  expired(): void;
  /** The upstream closed its side cleanly. The user must destroy the connection. */
  ended(): void;
  /** The connection is gone. */
  lost(error: Error): void;
}

/** The pool of a connection. */
export interface ConnectionOwner {
  /** The connection has no user. `wasPaused`: unread bytes may arrive one turn of the event loop later. */
  released(connection: PooledConnection, idleMs: number | null, wasPaused: boolean): void;
  /** The connection is closed. */
  closed(connection: PooledConnection): void;
}

/**
 * The read buffer of all connections; a user copies what it keeps. The event loop delivers one read at a time, so no two
 * reads share the buffer.
 */
const readBuffer = Buffer.allocUnsafeSlow(65_536);

/** A connection of a pool. Bytes that arrive while it has no user close it. */
export class PooledConnection implements UpstreamConnection {
  /** Options with which the dialer creates the socket. */
  readonly onread: OnReadOpts;
  readonly #pool: ConnectionOwner;
  readonly #deadline: Deadline;
  #socket: Socket | null = null;
  #outbox: WriteBuffer | null = null;
  #waitsForDrain = false;
  #user: ConnectionUser | null = null;
  /** The owner of its requests so far; null: it was never used. */
  #owner: string | null = null;
  #paused = false;
  #closed = false;
  /** Milliseconds that it may be idle. Set by its pool when it is released. */
  maxIdleMs = 0;
  /** Turns of the event loop until it is idle. Set by its pool. */
  turnsToIdle = 0;

  constructor(pool: ConnectionOwner, clock: Clock) {
    this.#pool = pool;
    this.#deadline = new Deadline(clock, () => this.#expired());
    this.onread = {
      buffer: readBuffer,
      callback: (size) => {
        this.#received(size);
        return !this.#paused;
      },
    };
  }

  /** Takes over the socket. Closes it if it has sent data or ended already. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#outbox = new WriteBuffer(socket);
    socket.on('error', (error) => this.#lost(error));
    socket.on('close', () => this.#lost(new Error('the connection was closed')));
    socket.on('end', () => this.#ended());
    // Early bytes of a socket without `onread` wait in its buffer, and would be taken for the first response.
    const hasSpoken = socket.readableLength > 0;
    if (this.#closed || hasSpoken || socket.destroyed || socket.readableEnded) this.destroy();
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  get isFull(): boolean {
    return this.#outbox?.isFull === true;
  }

  /** Reports whether this user may use it. */
  serves({ owner }: ConnectionUser): boolean {
    return this.#owner === null || this.#owner === owner;
  }

  /** Gives it to a user that it serves. */
  lend(user: ConnectionUser): void {
    this.#deadline.clear();
    this.#user = user;
    this.#owner = user.owner;
    // Like `#tell`, without a closure for each request.
    try {
      user.connected(this);
    } catch (error) {
      this.#failed(user, error as Error);
    }
  }

  /** Closes it after this many milliseconds, unless it gets a user before. */
  idleFor(ms: number): void {
    this.#deadline.set(ms);
  }

  write(bytes: string | Buffer): boolean {
    const outbox = this.#outbox;
    return outbox === null || outbox.add(bytes) || this.#waitForDrain(outbox);
  }

  writeHead(method: string, target: string, section: Buffer, isAlone: boolean): void {
    if (this.#outbox !== null) addRequestHead(this.#outbox, method, target, section, isAlone);
  }

  #waitForDrain(outbox: WriteBuffer): false {
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
    this.#pool.released(this, idleMs, wasPaused);
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
    // Like `#tell`, without a closure for each read.
    beginGathering();
    try {
      user.received(readBuffer, size);
    } catch (error) {
      this.#failed(user, error as Error);
    } finally {
      endGathering();
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

  /** An exception of a user closes this connection, and does not end the process. */
  #failed(user: ConnectionUser, error: Error): void {
    this.destroy();
    user.lost(error);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.stop();
    this.#pool.closed(this);
  }
}
