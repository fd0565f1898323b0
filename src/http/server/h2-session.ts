import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { SidekeyError } from '../../lib/errors.ts';
import type { Limits } from '../../policy/limits.ts';
import type { RawFields } from '../fields.ts';
import { Malformed } from '../h1/scan.ts';
import type { Client } from '../message.ts';
import { refuse } from '../problem.ts';
import { type Awaited, ConnectionDeadline } from './h1-connection.ts';
import { StreamReply } from './h2-response.ts';
import { listSize, readStreamHead, RequestStream, type StreamHead, type StreamService } from './h2-stream.ts';

/** The functions that a session calls. */
export interface SessionService extends StreamService {
  /** Called when the session has ended. */
  left(session: ClientSession): void;
}

/** How long a connection may stay open behind the last word on it. */
const lingerMs = 5_000;
/** How often a session is looked at, and the most for one on which nothing comes. */
const lookMs = 1_000;
const longestLookMs = 8_000;
/** Frames of no use between two looks. */
const idleFrames = 64;

/**
 * One connection of a client that speaks HTTP/2: each stream is an exchange of its own. No more of them are under way than
 * `limits.client_streams`: one that the client has reset counts until its exchange has ended (CVE-2023-44487), and
 * others wait for it.
 */
export class ClientSession {
  readonly #socket: TLSSocket;
  readonly #client: Client;
  readonly #service: SessionService;
  readonly #session: ServerHttp2Session;
  readonly #deadline: ConnectionDeadline;
  readonly #underWay = new Set<RequestStream>();
  readonly #waiting = new Set<RequestStream>();
  readonly #begunAt: number;
  /** See `SessionTraffic`. */
  #bodyIn = 0;
  #bodyOut = 0;
  #pieces = 0;
  #requests = 0;
  #heads = 0;
  #idleFrames = 0;
  #cancelLook: () => void;

  /**
   * @param socket after its handshake, which chose `h2`
   * @param extendedConnect offers WebSockets over HTTP/2
   */
  constructor(socket: TLSSocket, client: Client, service: SessionService, extendedConnect: boolean) {
    this.#socket = socket;
    this.#client = client;
    this.#service = service;
    const limits = service.limits();
    this.#begunAt = service.now();
    this.#deadline = new ConnectionDeadline(service.timers, service.now, (what) => this.#late(what));
    this.#deadline.set('first', limits.head_timeout);
    // A client that has ended its side can acknowledge nothing (RFC 9113 §6.5, §6.9): it has left. The socket stays open
    // by itself, for the listener allows half-open connections.
    socket
      .on('error', ignore)
      .once('end', () => socket.destroy())
      .once('close', this.#onClose);
    const usedUp = () => {
      this.#idleFrames += 1;
      if (this.#idleFrames % idleFrames === 0) this.#look();
    };
    this.#session = performServerHandshake(socket, sessionOptions(limits, extendedConnect))
      .on('error', ignore)
      .on('stream', this.#onStream)
      .on('ping', usedUp)
      .on('remoteSettings', usedUp);
    // A TLS socket that no server of Node's has made never says that its handshake is over, and the session waits for it.
    if (this.#session.connecting) socket.emit('secureConnect');
    this.#cancelLook = this.#lookAfter(lookMs, socket.bytesRead);
  }

  /** Resolves when the connection has ended, or will as soon as the client has taken what was written. */
  get drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#socket.writableFinished || this.#socket.destroyed) resolve();
    else this.#socket.once('finish', resolve).once('close', resolve);
    return promise;
  }

  /** Says that no more is taken, and ends when what is under way has ended (RFC 9113 §6.8). */
  drain(): void {
    this.#session.close();
    if (this.#isIdle) this.#linger();
  }

  get #isIdle(): boolean {
    return this.#underWay.size === 0 && this.#waiting.size === 0;
  }

  readonly #onStream = (
    stream: ServerHttp2Stream,
    _fields: IncomingHttpHeaders,
    _flags: number,
    raw: RawFields,
  ): void => {
    stream.on('error', ignore);
    // The client may have taken it back in the same breath.
    if (stream.closed || stream.destroyed) return;
    this.#requests += 1;
    const read = this.#headOf(raw, !stream.endAfterHeaders);
    if (read instanceof SidekeyError) {
      this.#service.denied(this.#client, read);
      const reply = new StreamReply(stream, '', false, {
        replied: () => void stream.resume(),
        sent: () => stream.close(constants.NGHTTP2_NO_ERROR),
        passed: this.#passed,
      });
      refuse(reply, read, '');
      return;
    }
    const request = new RequestStream(stream, read, this.#client, this.#service, this.#passed);
    this.#deadline.clear();
    if (this.#underWay.size < this.#service.limits().client_streams) this.#begin(request);
    else {
      this.#waiting.add(request);
      const left = () => void this.#waiting.delete(request);
      stream.once('aborted', left).once('close', left);
    }
  };

  /** nghttp2 knows of the limit only when the client has acknowledged our SETTINGS (RFC 9113 §6.5.3). */
  #headOf(raw: RawFields, hasBody: boolean): StreamHead | SidekeyError {
    const limits = this.#service.limits();
    const size = listSize(raw);
    if (size > limits.head_bytes) return new Malformed('request', 'head_too_large', limits);
    this.#heads += size;
    return readStreamHead(raw, hasBody);
  }

  #begin(request: RequestStream): void {
    this.#underWay.add(request);
    void request.run().then(() => {
      this.#underWay.delete(request);
      const [next] = this.#waiting;
      if (next !== undefined) {
        this.#waiting.delete(next);
        this.#begin(next);
      }
      this.#watch();
    });
  }

  readonly #passed = (bytesIn: number, bytesOut: number): void => {
    this.#bodyIn += bytesIn;
    this.#bodyOut += bytesOut;
    this.#pieces += 1;
  };

  // Time.

  #watch(): void {
    if (!this.#isIdle || this.#socket.destroyed) return;
    if (this.#session.closed || this.#session.destroyed) this.#linger();
    else this.#deadline.set('next', this.#service.limits().client_idle);
  }

  /** Closing waits for the client to take the last word; but not for ever. */
  #linger(): void {
    if (this.#deadline.what !== 'close' && !this.#socket.destroyed) this.#deadline.set('close', lingerMs);
  }

  #late(what: Awaited): void {
    if (what === 'close') this.#socket.destroy();
    else this.drain();
  }

  #lookAfter(ms: number, read: number): () => void {
    return this.#service.timers.after(ms, () => {
      const isQuiet = this.#socket.bytesRead === read;
      this.#look();
      this.#cancelLook = this.#lookAfter(
        isQuiet ? Math.min(2 * ms, longestLookMs) : lookMs,
        this.#socket.bytesRead,
      );
    });
  }

  #look(): void {
    const session = this.#session;
    if (session.destroyed) {
      this.#linger();
      return;
    }
    const traffic = {
      read: this.#socket.bytesRead,
      bodyIn: this.#bodyIn,
      bodyOut: this.#bodyOut,
      pieces: this.#pieces,
      requests: this.#requests,
      heads: this.#heads,
    };
    if (!isFlood(traffic, this.#service.now() - this.#begunAt)) return;
    const why = new SidekeyError('bad_request', 'The client sent more frames than its requests explain.');
    this.#service.denied(this.#client, why);
    session.destroy(why, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    this.#linger();
  }

  readonly #onClose = (): void => {
    this.#deadline.close();
    this.#cancelLook();
    this.#service.left(this);
  };
}

function ignore(): void {}

/** Bytes that a session may spend on nothing: at its beginning, and each second. */
const initialBytes = 131_072;
const bytesEachSecond = 32_768;
/** What is worth so many bytes of a client besides itself: frames around it, records of TLS, resets, windows, pings. */
const requestWorth = 512;
const pieceWorth = 96;

/** What went through one session so far. */
export interface SessionTraffic {
  /** Bytes that were read off the connection, frames and all. */
  readonly read: number;
  /** Of bodies, from the client and to it: bytes, and pieces both ways. */
  readonly bodyIn: number;
  readonly bodyOut: number;
  readonly pieces: number;
  /** Requests that were read, and the bytes of their heads as they are without compression. */
  readonly requests: number;
  readonly heads: number;
}

/**
 * Whether a client of HTTP/2 sends more than what it asks for explains: PING, SETTINGS and WINDOW_UPDATE without end, heads
 * that are refused for their size, frames of no use (CVE-2019-9512 and CVE-2019-9515 among others). The library has
 * guards for some kinds of frames; this counts what is left, whatever it is.
 *
 * @param ageMs of the session
 */
export function isFlood(traffic: SessionTraffic, ageMs: number): boolean {
  const { read, bodyIn, bodyOut, pieces, requests, heads } = traffic;
  const forFree = initialBytes + (ageMs / 1_000) * bytesEachSecond;
  // A body that goes out is acknowledged piece by piece, and its pieces have 16 KB and less each on the wire.
  const bodies = 1.25 * bodyIn + bodyOut / 64 + pieceWorth * pieces;
  return read > forFree + bodies + 2 * heads + requestWorth * requests;
}

/** A few fields more than `limits.head_fields` are read, so that one too many is refused with a word of why. */
const spareFields = 32;

/**
 * What a session with a client is bounded by, where nghttp2 and Node count for us.
 *
 * @param extendedConnect offers WebSockets over HTTP/2 (RFC 8441 §3)
 */
function sessionOptions(limits: Limits, extendedConnect: boolean): ServerOptions {
  return {
    settings: {
      maxConcurrentStreams: limits.client_streams,
      // Of a head as it is without compression: a bomb is refused by what it would be (RFC 7541 §7.3).
      maxHeaderListSize: limits.head_bytes,
      enableConnectProtocol: extendedConnect,
      enablePush: false,
    },
    maxHeaderListPairs: limits.head_fields + spareFields,
    // As nghttp2 reckons, which counts more for a field than HTTP/1.1 has: a head that it finds too long ends the session.
    maxSendHeaderBlockLength: 4 * limits.head_bytes,
    // A client that opens streams to reset them (CVE-2023-44487) has so many at once, and so many a second.
    streamResetBurst: 4 * limits.client_streams,
    streamResetRate: 33,
    // Malformed heads, DATA frames with nothing in them, streams beyond the limit: a client that errs so often is none.
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxSettings: 32,
    maxOutstandingPings: 4,
    // Megabytes; responses that wait for their windows count, and each holds up to two pieces of 64 KB.
    maxSessionMemory: 16 + Math.ceil((limits.client_streams * 131_072) / 1_000_000),
    strictSingleValueFields: false,
  };
}
