import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { SidekeyError } from '../../../lib/errors.ts';
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

/** Milliseconds until a connection is cut after its last response. */
const lingerMs = 5_000;
/** Milliseconds between two checks of a session, and their maximum for a quiet one. */
const checkMs = 1_000;
const maxCheckMs = 8_000;
/** Number of PING and SETTINGS frames between two checks. */
const idleFrames = 64;

/**
 * An HTTP/2 client connection. Each stream is an exchange, at most `limits.client_streams` at a time; others
 * wait. A stream that the client resets counts until its exchange ends (CVE-2023-44487).
 */
export class ClientSession {
  readonly #socket: TLSSocket;
  readonly client: Client;
  readonly service: SessionService;
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
  #cancelCheck: () => void;

  /**
   * @param socket after a handshake that chose `h2`
   * @param extendedConnect offers WebSockets over HTTP/2
   */
  constructor(socket: TLSSocket, client: Client, service: SessionService, extendedConnect: boolean) {
    this.#socket = socket;
    this.client = client;
    this.service = service;
    const limits = service.limits();
    this.#begunAt = service.now();
    this.#deadline = new ConnectionDeadline(service.timers, service.now, (what) => this.#late(what));
    this.#deadline.set('first', limits.head_timeout);
    // A client that has ended its side cannot acknowledge frames (RFC 9113 §6.5, §6.9): it has left. The
    // listener allows half-open connections, so the socket would stay open.
    socket
      .on('error', ignore)
      .once('end', () => socket.destroy())
      .once('close', this.#onClose);
    const usedUp = () => {
      this.#idleFrames += 1;
      if (this.#idleFrames % idleFrames === 0) this.#check();
    };
    this.#session = performServerHandshake(socket, sessionOptions(limits, extendedConnect))
      .on('error', ignore)
      .on('stream', this.#onStream)
      .on('ping', usedUp)
      .on('remoteSettings', usedUp);
    // The session waits for this event, which a TLS socket without a Node server does not emit.
    if (this.#session.connecting) socket.emit('secureConnect');
    this.#cancelCheck = this.#checkAfter(checkMs, socket.bytesRead);
  }

  /** Resolves when the connection has ended, or all output was written. */
  get drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#socket.writableFinished || this.#socket.destroyed) resolve();
    else this.#socket.once('finish', resolve).once('close', resolve);
    return promise;
  }

  /** Sends GOAWAY, and ends the session after its current streams (RFC 9113 §6.8). */
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
    // The client may already have reset it.
    if (stream.closed || stream.destroyed) return;
    this.#requests += 1;
    const read = this.#headOf(raw, !stream.endAfterHeaders);
    if (read instanceof SidekeyError) {
      this.service.denied(this.client, read);
      const reply = new StreamReply(stream, '', false, {
        replied: () => void stream.resume(),
        sent: () => stream.close(constants.NGHTTP2_NO_ERROR),
        passed: this.passed,
      });
      refuse(reply, read, '');
      return;
    }
    const request = new RequestStream(stream, read, this);
    this.#deadline.clear();
    if (this.#underWay.size < this.service.limits().client_streams) this.#begin(request);
    else {
      this.#waiting.add(request);
      const left = () => void this.#waiting.delete(request);
      stream.once('aborted', left).once('close', left);
    }
  };

  /** nghttp2 applies the limit only after the client has acknowledged the SETTINGS (RFC 9113 §6.5.3). */
  #headOf(raw: RawFields, hasBody: boolean): StreamHead | SidekeyError {
    const limits = this.service.limits();
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

  readonly passed = (bytesIn: number, bytesOut: number): void => {
    this.#bodyIn += bytesIn;
    this.#bodyOut += bytesOut;
    this.#pieces += 1;
  };

  #watch(): void {
    if (!this.#isIdle || this.#socket.destroyed) return;
    if (this.#session.closed || this.#session.destroyed) this.#linger();
    else this.#deadline.set('next', this.service.limits().client_idle);
  }

  /** Limits the time to wait for the client to close. */
  #linger(): void {
    if (this.#deadline.what !== 'close' && !this.#socket.destroyed) this.#deadline.set('close', lingerMs);
  }

  #late(what: Awaited): void {
    if (what === 'close') this.#socket.destroy();
    else this.drain();
  }

  #checkAfter(ms: number, read: number): () => void {
    return this.service.timers.after(ms, () => {
      const isQuiet = this.#socket.bytesRead === read;
      this.#check();
      this.#cancelCheck = this.#checkAfter(
        isQuiet ? Math.min(2 * ms, maxCheckMs) : checkMs,
        this.#socket.bytesRead,
      );
    });
  }

  #check(): void {
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
    if (!isFlood(traffic, this.service.now() - this.#begunAt)) return;
    const why = new SidekeyError('bad_request', 'The client sent more frames than its requests explain.');
    this.service.denied(this.client, why);
    session.destroy(why, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    this.#linger();
  }

  readonly #onClose = (): void => {
    this.#deadline.close();
    this.#cancelCheck();
    this.service.left(this);
  };
}

function ignore(): void {}

/** Unexplained bytes that a session may have at its start, and for each second. */
const initialBytes = 131_072;
const bytesEachSecond = 32_768;
/** Overhead in bytes of each request and piece of a body: frames, TLS records, resets, windows, pings. */
const requestOverhead = 512;
const pieceOverhead = 96;

/** The traffic of a session so far. */
export interface SessionTraffic {
  /** Bytes read from the connection, including all frames. */
  readonly read: number;
  /** Body bytes from the client and to it, and pieces in both directions. */
  readonly bodyIn: number;
  readonly bodyOut: number;
  readonly pieces: number;
  /** Number of requests, and the uncompressed bytes of their heads. */
  readonly requests: number;
  readonly heads: number;
}

/**
 * Reports whether a client sends more bytes than its requests explain: PING, SETTINGS, WINDOW_UPDATE or empty
 * frames, heads that are too large (CVE-2019-9512, CVE-2019-9515). nghttp2 limits only some kinds of frames.
 *
 * @param ageMs age of the session in milliseconds
 */
export function isFlood(traffic: SessionTraffic, ageMs: number): boolean {
  const { read, bodyIn, bodyOut, pieces, requests, heads } = traffic;
  const forFree = initialBytes + (ageMs / 1_000) * bytesEachSecond;
  // The client acknowledges each piece that is sent to it, at most 16 KB on the wire.
  const bodies = 1.25 * bodyIn + bodyOut / 64 + pieceOverhead * pieces;
  return read > forFree + bodies + 2 * heads + requestOverhead * requests;
}

/** Fields to read beyond `limits.head_fields`, so that a request with too many gets a readable refusal. */
const spareFields = 32;

/**
 * Returns the limits that nghttp2 and Node enforce.
 *
 * @param extendedConnect offers WebSockets over HTTP/2 (RFC 8441 §3)
 */
function sessionOptions(limits: Limits, extendedConnect: boolean): ServerOptions {
  return {
    settings: {
      maxConcurrentStreams: limits.client_streams,
      // The default (RFC 9113 §6.9.2). If it is left out, urllib3-future 2.25 uses its own window
      // instead, and its uploads violate flow control.
      initialWindowSize: 65_535,
      // Counts uncompressed bytes: refuses a compression bomb (RFC 7541 §7.3).
      maxHeaderListSize: limits.head_bytes,
      enableConnectProtocol: extendedConnect,
      enablePush: false,
    },
    maxHeaderListPairs: limits.head_fields + spareFields,
    // nghttp2 counts more bytes for a field than HTTP/1.1. A head beyond this limit ends the session.
    maxSendHeaderBlockLength: 4 * limits.head_bytes,
    // Limits of stream resets, at once and for each second (CVE-2023-44487).
    streamResetBurst: 4 * limits.client_streams,
    streamResetRate: 33,
    // Malformed heads, empty DATA frames, streams beyond the limit.
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxSettings: 32,
    maxOutstandingPings: 4,
    // Megabytes. Each response that waits for its window holds up to two pieces of 64 KB.
    maxSessionMemory: 16 + Math.ceil((limits.client_streams * 131_072) / 1_000_000),
    strictSingleValueFields: false,
  };
}
