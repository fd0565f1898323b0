import { type ClientHttp2Session, type ClientSessionOptions, connect, constants } from 'node:http2';
import type { Socket } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import { type Clock, Deadline } from '../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { requestFieldsOf, SessionStream, type StreamHome, type StreamUser } from './h2-stream.ts';
import type { Spoken } from './protocol.ts';

/** Streams at once on one session, where the upstream would take more: what is lost with a connection stays bounded. */
export const mostStreams = 100;

/** Bytes of one response that an upstream may send ahead of its client; so much of each may lie in memory. */
const streamWindow = 262_144;
/** Of all streams of a session together. What one stream's client does not read holds none of it. */
const sessionWindow = 4 * 1_048_576;
/** Node's own count of a session's memory, in megabytes: more than all windows together. */
const sessionMemory = 64;

/** Silence while an answer is waited for, before the upstream is asked whether it is still there; and its time for that. */
const silenceMs = 60_000;
const pongMs = 15_000;
/** gRPC servers take more of them, from who sends nothing else, for an attack. */
const betweenPingsMs = 305_000;
/** So long the other side may take to close a connection that we have ended. */
const lastWordMs = 5_000;

/** Who keeps a session. */
export interface SessionOwner {
  /** It takes streams: its upstream has said how many. */
  ready(session: Session): void;
  /** It takes more than before, or none any more. */
  changed(session: Session): void;
  /** It is no more. `error`: why, where it never came to be ready. */
  closed(session: Session, error: Error | null): void;
}

/** What a session is made with. */
export interface SessionOptions {
  readonly authority: Authority;
  readonly owner: SessionOwner;
  readonly clock: Clock;
  readonly limits: Pick<Limits, 'head_bytes' | 'head_fields' | 'upstream_connect' | 'upstream_keep_alive'>;
}

/** One HTTP/2 connection to an upstream (RFC 9113), and the streams on it. */
export class Session implements StreamHome {
  readonly authority: Authority;
  readonly clock: Clock;
  readonly headBytes: number;
  readonly #options: SessionOptions;
  readonly #socket: Socket;
  readonly #native: ClientHttp2Session;
  readonly #deadline: Deadline;
  readonly #frames: FrameBudget;
  #streams = 0;
  /** As many as the upstream takes; 0 until it has said so. */
  #most = 0;
  #isReady = false;
  #extendedConnect = false;
  /** Takes no more. */
  #isLeaving = false;
  #isClosed = false;
  /** Streams above it were not processed. */
  #lastStream = Infinity;
  #error: Error | null = null;
  #bytesHeard = 0;
  #pingedAt = -Infinity;
  #isPinging = false;

  /** @param socket as the dialer made it, with `h2` chosen */
  constructor(socket: Socket, options: SessionOptions) {
    const { authority, clock, limits, owner } = options;
    this.authority = authority;
    this.clock = clock;
    this.headBytes = limits.head_bytes;
    this.#options = options;
    this.#socket = socket;
    this.#deadline = new Deadline(clock, () => this.#expired());
    this.#frames = new FrameBudget(clock);
    const native = connect(`https://${authority.host}:${authority.port}`, nativeOptions(socket, limits));
    this.#native = native;
    native.setLocalWindowSize(sessionWindow);
    native.on('remoteSettings', ({ maxConcurrentStreams, enableConnectProtocol }) => {
      this.#extendedConnect = enableConnectProtocol === true;
      this.#most = Math.min(mostStreams, maxConcurrentStreams ?? mostStreams);
      this.#countFrame();
      if (this.#isReady) owner.changed(this);
      else if (this.#takes) this.#begun();
    });
    native.on('ping', () => this.#countFrame());
    native.on('goaway', (_code, lastStream) => {
      this.#lastStream = Math.min(this.#lastStream, lastStream);
      this.#leave();
    });
    native.on('error', (error) => void (this.#error ??= error));
    native.on('close', () => this.#closed());
    // An alert that comes after the handshake: node tells nobody but the socket, and would wait on.
    socket.on('error', (error) => this.#fail(error));
  }

  /** Waits for the upstream to begin: its owner is told by `ready` or `closed`. */
  begin(): void {
    this.#deadline.set(this.#options.limits.upstream_connect);
  }

  /** How many more streams it takes now. */
  get room(): number {
    return this.#isReady && this.#takes ? Math.max(0, this.#most - this.#streams) : 0;
  }

  /** As many as it takes at once. */
  get most(): number {
    return this.#most;
  }

  /** As its SETTINGS say; for one that has been ready. */
  get spoken(): Spoken {
    return { protocol: 'h2', extendedConnect: this.#extendedConnect };
  }

  get isIdle(): boolean {
    return this.#streams === 0;
  }

  get isGone(): boolean {
    return this.#native.destroyed || this.#socket.destroyed;
  }

  isUnprocessed(id: number | undefined): boolean {
    return id === undefined || id > this.#lastStream;
  }

  /** Opens a stream for this user; there must be room. */
  open(user: StreamUser): void {
    let native;
    try {
      native = this.#native.request(requestFieldsOf(user.head), {
        endStream: user.head.isWhole,
        waitForTrailers: !user.head.isWhole,
      });
    } catch (cause) {
      const sentence = 'The request has a field that cannot be forwarded in HTTP/2.';
      user.unopened(new SidekeyError('bad_request', sentence, { cause }));
      return;
    }
    if (this.#streams === 0) this.#listen();
    this.#streams += 1;
    native.on('headers', () => this.#countFrame());
    native.once('response', () => this.#frames.clear());
    // Before the stream's own, so that its user finds a place free that it has left.
    native.once('close', () => this.#left());
    user.opened(new SessionStream(native, this, user));
  }

  /** Takes no more streams, and closes when the last one has ended. */
  retire(): void {
    this.#leave();
    if (this.#streams === 0) this.#native.destroy();
  }

  get #takes(): boolean {
    return !this.#isLeaving && !this.#native.closed && !this.#native.destroyed;
  }

  #begun(): void {
    this.#isReady = true;
    this.#options.owner.ready(this);
    if (this.#streams === 0) this.#rest();
  }

  #left(): void {
    this.#streams -= 1;
    if (this.#streams === 0) this.#rest();
    if (this.#takes) this.#options.owner.changed(this);
  }

  #leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    if (this.#streams === 0) this.#rest();
    this.#options.owner.changed(this);
  }

  /** Nothing is under way. */
  #rest(): void {
    if (!this.#isReady || this.#isClosed) return;
    const { upstream_keep_alive: keepAlive } = this.#options.limits;
    if (this.#takes && keepAlive > 0) this.#deadline.set(keepAlive);
    else this.#end();
  }

  /** In good order; and if the other side does nothing about it, without it. */
  #end(): void {
    this.#isLeaving = true;
    this.#deadline.set(lastWordMs);
    this.#native.destroy();
  }

  #listen(): void {
    this.#isPinging = false;
    this.#bytesHeard = this.#socket.bytesRead;
    this.#deadline.set(silenceMs);
  }

  #expired(): void {
    if (this.#native.destroyed) this.#socket.destroy();
    else if (!this.#isReady) this.#fail(silentAtFirst(this.#options));
    else if (this.#streams === 0) this.#end();
    else this.#probe();
  }

  #probe(): void {
    const { bytesRead } = this.#socket;
    const wait = this.#pingedAt + betweenPingsMs - this.clock.now();
    if (bytesRead !== this.#bytesHeard) this.#listen();
    else if (this.#isPinging) this.#fail(connectionDead());
    else if (wait > 0) this.#deadline.set(wait);
    else {
      this.#pingedAt = this.clock.now();
      this.#isPinging = true;
      this.#deadline.set(pongMs);
      // The answer shows in the bytes that were read.
      this.#native.ping(() => {});
    }
  }

  #countFrame(): void {
    if (!this.#frames.take()) this.#fail(flooded(this.authority), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #fail(error: Error, code: number = constants.NGHTTP2_NO_ERROR): void {
    this.#error ??= error;
    this.#isLeaving = true;
    this.#native.destroy(error, code);
    this.#socket.destroy();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isLeaving = true;
    this.#deadline.stop();
    const error = this.#isReady ? null : (this.#error ?? new Error('closed'));
    this.#options.owner.closed(this, error);
  }
}

function nativeOptions(
  socket: Socket,
  { head_bytes: headBytes, head_fields: headFields }: SessionOptions['limits'],
): ClientSessionOptions {
  // Node's types do not know it.
  const unchecked: object = {
    // What is sent twice is sent twice: it was judged so.
    strictSingleValueFields: false,
  };
  return {
    ...unchecked,
    createConnection: () => socket,
    settings: { enablePush: false, initialWindowSize: streamWindow, maxHeaderListSize: headBytes },
    // One more for the status.
    maxHeaderListPairs: headFields + 1,
    maxSendHeaderBlockLength: 4 * headBytes,
    maxReservedRemoteStreams: 0,
    maxSessionMemory: sessionMemory,
  };
}

function silentAtFirst({ authority, limits }: SessionOptions): SidekeyError {
  const sentence = `${authorityText(authority)} did not begin to speak HTTP/2 within ${limits.upstream_connect} ms.`;
  return new SidekeyError('upstream_timeout', sentence);
}

function flooded(authority: Authority): SidekeyError {
  const sentence = `${authorityText(authority)} sent frames without end that ask for work and bring nothing.`;
  return new SidekeyError('upstream_protocol', sentence);
}

/** To the requests on it, the same as a connection that was reset. */
function connectionDead(): Error {
  return Object.assign(new Error('the upstream does not answer a ping'), { code: 'ECONNRESET' });
}

const most = 1_000;
const perMs = 10_000;

/**
 * Bounds frames that ask for work and bring nothing: SETTINGS and PING, each of which has to be answered (CVE-2019-9512,
 * CVE-2019-9515), and interim responses. 1,000 may come in ten seconds.
 */
class FrameBudget {
  readonly #clock: Clock;
  #since = -Infinity;
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts one. False: they are too many. */
  take(): boolean {
    const now = this.#clock.now();
    if (now - this.#since >= perMs) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count <= most;
  }

  /** Something was brought. */
  clear(): void {
    this.#count = 0;
  }
}
