import { type ClientHttp2Session, type ClientSessionOptions, connect, constants } from 'node:http2';
import type { Socket } from 'node:net';
import { LRUCache } from 'lru-cache';
import { SidekeyError } from '../../lib/errors.ts';
import { type Clock, Deadline } from '../../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Peer } from '../policy/peer.ts';
import { peerKey } from './h1-pool.ts';
import { requestFieldsOf, SessionStream, type StreamContext, type StreamUser } from './h2-stream.ts';

/** Maximum concurrent streams of a session, even if the upstream allows more. Limits the cost of its loss. */
export const maxStreams = 100;

/** Flow-control window of a stream, in bytes: the data that an upstream may send ahead of a slow client. */
const streamWindow = 262_144;
/** Flow-control window of a session, in bytes. A stream whose client does not read uses none of it. */
const sessionWindow = 4 * 1_048_576;
/** Node's memory limit of a session, in megabytes: more than all windows together. */
const sessionMemory = 64;

/** Milliseconds of silence before a PING is sent to the upstream, and milliseconds until it must answer. */
const silenceMs = 60_000;
const pongMs = 15_000;
/** Milliseconds between PINGs. gRPC servers close connections that send more than one in five minutes. */
const pingIntervalMs = 305_000;
/** Milliseconds until the upstream must close a connection that we have ended. */
const closeTimeoutMs = 5_000;

/** The pool of a session. */
export interface SessionOwner {
  /** The upstream has sent its SETTINGS. The session accepts streams. */
  ready(session: Session): void;
  /** The session accepts more streams than before, or none. */
  changed(session: Session): void;
  /** The session is closed. `error`: the reason if it was never ready, otherwise null. */
  closed(session: Session, error: Error | null): void;
}

export interface SessionOptions {
  readonly authority: Authority;
  readonly owner: SessionOwner;
  readonly clock: Clock;
  readonly limits: Pick<Limits, 'head_bytes' | 'head_fields' | 'upstream_connect' | 'upstream_keep_alive'>;
}

/** An HTTP/2 connection to an upstream (RFC 9113), and its streams. */
export class Session implements StreamContext {
  readonly authority: Authority;
  readonly clock: Clock;
  readonly headBytes: number;
  readonly #options: SessionOptions;
  readonly #socket: Socket;
  readonly #native: ClientHttp2Session;
  readonly #deadline: Deadline;
  readonly #frames: FrameBudget;
  #streams = 0;
  /** Concurrent streams that the upstream allows; 0 until its SETTINGS arrive. */
  #maxStreams = 0;
  #isReady = false;
  #extendedConnect = false;
  /** True if the session opens no more streams. */
  #isRetired = false;
  #isClosed = false;
  /** The upstream did not process streams with a higher ID (RFC 9113 §6.8). */
  #lastStream = Infinity;
  #error: Error | null = null;
  #bytesSeen = 0;
  #pingedAt = -Infinity;
  #isPinging = false;

  /** @param socket a connection that negotiated `h2` */
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
      this.#maxStreams = Math.min(maxStreams, maxConcurrentStreams ?? maxStreams);
      this.#countFrame();
      if (this.#isReady) owner.changed(this);
      else if (this.#accepts) this.#started();
    });
    native.on('ping', () => this.#countFrame());
    native.on('goaway', (_code, lastStream) => {
      this.#lastStream = Math.min(this.#lastStream, lastStream);
      this.#noMoreStreams();
    });
    native.on('error', (error) => void (this.#error ??= error));
    native.on('close', () => this.#closed());
    // An alert after the handshake: node emits it only on the socket, and would continue to wait.
    socket.on('error', (error) => this.#fail(error));
  }

  /** Waits for SETTINGS. Calls `ready` or `closed` of the owner. */
  begin(): void {
    this.#deadline.set(this.#options.limits.upstream_connect);
  }

  /** Number of additional streams that the session accepts now. */
  get room(): number {
    return this.#isReady && this.#accepts ? Math.max(0, this.#maxStreams - this.#streams) : 0;
  }

  get maxStreams(): number {
    return this.#maxStreams;
  }

  /** The protocol with the extensions in its SETTINGS, for a session that has been ready. */
  get negotiated(): NegotiatedProtocol {
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

  /** Opens a stream for this user. `room` must not be 0. */
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
    if (this.#streams === 0) this.#watch();
    this.#streams += 1;
    native.on('headers', () => this.#countFrame());
    native.once('response', () => this.#frames.clear());
    // Before the listener of the stream, so that its user finds its place free.
    native.once('close', () => this.#streamClosed());
    user.opened(new SessionStream(native, this, user));
  }

  /** Opens no more streams, and closes after the last one has ended. */
  retire(): void {
    this.#noMoreStreams();
    if (this.#streams === 0) this.#native.destroy();
  }

  get #accepts(): boolean {
    return !this.#isRetired && !this.#native.closed && !this.#native.destroyed;
  }

  #started(): void {
    this.#isReady = true;
    this.#options.owner.ready(this);
    if (this.#streams === 0) this.#idle();
  }

  #streamClosed(): void {
    this.#streams -= 1;
    if (this.#streams === 0) this.#idle();
    if (this.#accepts) this.#options.owner.changed(this);
  }

  #noMoreStreams(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    if (this.#streams === 0) this.#idle();
    this.#options.owner.changed(this);
  }

  /** Called when the last stream has ended. */
  #idle(): void {
    if (!this.#isReady || this.#isClosed) return;
    const { upstream_keep_alive: keepAlive } = this.#options.limits;
    if (this.#accepts && keepAlive > 0) this.#deadline.set(keepAlive);
    else this.#end();
  }

  /** Closes cleanly. Closes the socket if the upstream does not answer in time. */
  #end(): void {
    this.#isRetired = true;
    this.#deadline.set(closeTimeoutMs);
    this.#native.destroy();
  }

  #watch(): void {
    this.#isPinging = false;
    this.#bytesSeen = this.#socket.bytesRead;
    this.#deadline.set(silenceMs);
  }

  #expired(): void {
    if (this.#native.destroyed) this.#socket.destroy();
    else if (!this.#isReady) this.#fail(noSettings(this.#options));
    else if (this.#streams === 0) this.#end();
    else this.#probe();
  }

  #probe(): void {
    const { bytesRead } = this.#socket;
    const wait = this.#pingedAt + pingIntervalMs - this.clock.now();
    if (bytesRead !== this.#bytesSeen) this.#watch();
    else if (this.#isPinging)
      this.#fail(Object.assign(new Error('the upstream does not answer a ping'), { code: 'ECONNRESET' }));
    else if (wait > 0) this.#deadline.set(wait);
    else {
      this.#pingedAt = this.clock.now();
      this.#isPinging = true;
      this.#deadline.set(pongMs);
      // The answer shows in the number of bytes read.
      this.#native.ping(() => {});
    }
  }

  #countFrame(): void {
    if (!this.#frames.take()) this.#fail(flooded(this.authority), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #fail(error: Error, code: number = constants.NGHTTP2_NO_ERROR): void {
    this.#error ??= error;
    this.#isRetired = true;
    this.#native.destroy(error, code);
    this.#socket.destroy();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isRetired = true;
    this.#deadline.stop();
    const error = this.#isReady ? null : (this.#error ?? new Error('closed'));
    this.#options.owner.closed(this, error);
  }
}

function nativeOptions(
  socket: Socket,
  { head_bytes: headBytes, head_fields: headFields }: SessionOptions['limits'],
): ClientSessionOptions {
  // Node's types lack this option.
  const unchecked: object = {
    // Repeated fields are sent repeatedly, as the policy has seen them.
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

function noSettings({ authority, limits }: SessionOptions): SidekeyError {
  const sentence = `${authorityText(authority)} sent no HTTP/2 SETTINGS within ${limits.upstream_connect} ms.`;
  return new SidekeyError('upstream_timeout', sentence);
}

function flooded(authority: Authority): SidekeyError {
  const sentence = `${authorityText(authority)} sent too many SETTINGS, PING or interim responses.`;
  return new SidekeyError('upstream_protocol', sentence);
}

const maxFrames = 1_000;
const framesPerMs = 10_000;

/**
 * Limits frames that cost work without data: SETTINGS and PING, which require an answer (CVE-2019-9512,
 * CVE-2019-9515), and interim responses. Allows 1,000 in ten seconds.
 */
class FrameBudget {
  readonly #clock: Clock;
  #since = -Infinity;
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts a frame. Returns false if there were too many. */
  take(): boolean {
    const now = this.#clock.now();
    if (now - this.#since >= framesPerMs) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count <= maxFrames;
  }

  /** Restarts the count: the upstream sent a response. */
  clear(): void {
    this.#count = 0;
  }
}

/** A protocol by its ALPN name (RFC 7301 §6, RFC 9113 §3.2). */
export type Protocol = 'h2' | 'http/1.1';

/** The protocol of an upstream, with its extensions. */
export interface NegotiatedProtocol {
  readonly protocol: Protocol;
  /** True if its SETTINGS have ENABLE_CONNECT_PROTOCOL: it accepts WebSockets over HTTP/2 (RFC 8441 §3). */
  readonly extendedConnect: boolean;
}

export const http1: NegotiatedProtocol = { protocol: 'http/1.1', extendedConnect: false };

/** The last negotiated protocols of upstreams. */
export type KnownProtocols = ReturnType<typeof createKnownProtocols>;

const maxKnown = 10_000;

/** Milliseconds until the protocol is negotiated again: the upstream may have enabled HTTP/2. */
const knownForMs = 600_000;

/** Creates an empty cache of at most 10,000 upstreams, for ten minutes each. */
export function createKnownProtocols(clock: Clock) {
  const protocols = new LRUCache<string, { readonly negotiated: NegotiatedProtocol; readonly until: number }>(
    { max: maxKnown },
  );
  return {
    get(peer: Peer): NegotiatedProtocol | undefined {
      const entry = protocols.get(peerKey(peer));
      return entry === undefined || entry.until <= clock.now() ? undefined : entry.negotiated;
    },
    learn(peer: Peer, negotiated: NegotiatedProtocol): void {
      protocols.set(peerKey(peer), { negotiated, until: clock.now() + knownForMs });
    },
    forget: (peer: Peer) => void protocols.delete(peerKey(peer)),
  };
}

/** @param negotiate makes a connection, once for all concurrent callers, and resolves to its protocol */
export function createProtocols(
  known: KnownProtocols,
  negotiate: (authority: Authority) => Promise<NegotiatedProtocol>,
) {
  return {
    /**
     * Returns the protocol that this upstream selects from `h2` and `http/1.1`. Negotiates an unknown one,
     * and keeps the connection. Never rejects: `http/1.1` if no connection can be made.
     */
    of(authority: Authority): NegotiatedProtocol | Promise<NegotiatedProtocol> {
      // HTTP/2 without TLS needs prior knowledge (RFC 9113 §3.3).
      if (authority.scheme !== 'https') return http1;
      return known.get(authority) ?? negotiate(authority).catch(() => http1);
    },
  };
}
