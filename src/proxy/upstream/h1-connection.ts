import type { OnReadOpts, Socket } from 'node:net';
import { addRequestHead, type OutgoingLine } from '../http/h1/write.ts';
import { beginGathering, endGathering, WriteBuffer } from '../../lib/write-buffer.ts';
import { Deadline, type Clock } from '../../lib/timers.ts';

/** An HTTP/1.1 connection to an upstream, for its current user. */
export interface UpstreamConnection {
  /** True if it had another user before. */
  readonly isReused: boolean;
  /**
   * Copies the bytes; a string is latin1. Writes them, together with all others, before the end of this turn
   * of the event loop. Returns false if the user must wait for `drained`.
   */
  write(bytes: string | Buffer): boolean;
  /** Copies a request head; see `addRequestHead`. `isAlone`: writes at once, because no bytes follow yet. */
  writeHead(line: OutgoingLine, section: Buffer, isAlone: boolean): void;
  /** Stops reading. Bytes that were already read may still be delivered. */
  pause(): void;
  resume(): void;
  /** Sets the deadline: milliseconds from this call until `expired`. */
  deadline(ms: number): void;
  /** True if more bytes are buffered than the upstream accepts for now. `drained` follows. */
  readonly isFull: boolean;
  /**
   * Returns the connection to its pool, after complete responses to all its requests.
   *
   * @param idleMs keep-alive timeout of the upstream in milliseconds, or null
   */
  release(idleMs: number | null): void;
  /** Closes the connection. Its user receives no further calls. */
  destroy(): void;
}

/** The user of a connection, who first waits for one. */
export interface ConnectionUser {
  /** The caller of the request. A connection never serves two owners. */
  readonly owner: string;
  /** The user has the connection until it releases, destroys or loses it. */
  connected(connection: UpstreamConnection): void;
  /** The user gets no connection. `error` is a SidekeyError. */
  unconnected(error: Error): void;
  /** Delivers the bytes from the start of the buffer to `end`. They are valid until this returns. */
  received(bytes: Buffer, end: number): void;
  /** The buffered bytes are written. The user may write more. */
  drained(): void;
  /** The deadline has passed. */
  expired(): void;
  /** The upstream closed its side cleanly. The user must destroy the connection. */
  ended(): void;
  /** The connection is closed. */
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
 * The read buffer of all connections; a user must copy the bytes it keeps. Reads never overlap, because the
 * event loop delivers one at a time.
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
  /** The owner of the requests so far; null if it was never used. */
  #owner: string | null = null;
  isReused = false;
  #paused = false;
  #closed = false;
  /** Maximum idle time in milliseconds. The pool sets it at the release. */
  maxIdleMs = 0;
  /** Turns of the event loop until the connection is idle. The pool sets it. */
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

  /** Takes over the socket. Closes it if it has already sent data or ended. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#outbox = new WriteBuffer(socket);
    socket.on('error', (error) => this.#lost(error));
    socket.on('close', () => this.#lost(new Error('the connection was closed')));
    socket.on('end', () => this.#ended());
    // Early bytes of a socket without `onread` are in its buffer, and could pass for the first response.
    const hasSpoken = socket.readableLength > 0;
    if (this.#closed || hasSpoken || socket.destroyed || socket.readableEnded) this.destroy();
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  /** True if the upstream does not read, or has closed the connection. */
  get hasUnsent(): boolean {
    return (this.#socket?.writableLength ?? 0) > 0;
  }

  get isFull(): boolean {
    return this.#outbox?.isFull === true;
  }

  /** Reports whether this user may use the connection. */
  serves({ owner }: ConnectionUser): boolean {
    return this.#owner === null || this.#owner === owner;
  }

  /** Gives the connection to a user that it serves. */
  lend(user: ConnectionUser): void {
    this.#deadline.clear();
    this.#user = user;
    this.isReused = this.#owner !== null;
    this.#owner = user.owner;
    // Like `#tell`, without a closure for each request.
    try {
      user.connected(this);
    } catch (error) {
      this.#failed(user, error as Error);
    }
  }

  /** Closes the connection after `ms` milliseconds, unless it gets a user before. */
  idleFor(ms: number): void {
    this.#deadline.set(ms);
  }

  write(bytes: string | Buffer): boolean {
    const outbox = this.#outbox;
    return outbox === null || outbox.add(bytes) || this.#waitForDrain(outbox);
  }

  writeHead(line: OutgoingLine, section: Buffer, isAlone: boolean): void {
    if (this.#outbox !== null) addRequestHead(this.#outbox, line, section, isAlone);
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
    const failure = this.#socket?.errored ?? null;
    if (failure !== null) this.#lost(failure);
    else if (this.#user === null) this.destroy();
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

  /** Closes this connection after an exception of its user, which must not end the process. */
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

/** Errors of a write to a connection that the other side has closed. */
const closed: ReadonlySet<string | undefined> = new Set(['EPIPE', 'ECONNRESET', 'ECONNABORTED']);

type Done = (error?: NodeJS.ErrnoException | null) => void;

/**
 * Delays the failure of a write to a closed connection until all received bytes are read: a server that
 * answers before it has read the request body, and then closes, resets the connection (RFC 9112 §9.6). Node
 * would discard the answer. Until then, `writableLength` counts the bytes of the failed write.
 */
export function readBeforeFailing(socket: Socket): Socket {
  let done: Done;
  const written: Done = (error) => {
    if (error == null || !closed.has(error.code)) done(error);
    else if (socket.readableEnded) done(error);
    // Before other listeners, which must not take this for an orderly end: `errored` is set for them.
    else socket.prependOnceListener('end', () => done(error));
  };
  /* oxlint-disable no-underscore-dangle -- the names that Node gives them */
  const write = socket._write.bind(socket);
  const writev = socket._writev?.bind(socket);
  // Node passes the same callback to all writes of a socket.
  socket._write = (chunk, encoding, callback) => {
    done = callback;
    write(chunk, encoding, written);
  };
  if (writev === undefined) return socket;
  socket._writev = (chunks, callback) => {
    done = callback;
    writev(chunks, written);
  };
  return socket;
}
