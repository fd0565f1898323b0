import { createHash, randomBytes } from 'node:crypto';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { SidekeyError } from '../../../lib/errors.ts';
import type { Timers } from '../../../lib/timers.ts';
import type { Limits } from '../../policy/limits.ts';
import { hopByHop, type RawFields, valuesOf, withoutFields } from '../fields.ts';
import { type HeadLimits, Malformed } from '../h1/scan.ts';
import type { RequestHead } from '../head.ts';
import { type Client, type InboundRequest, resetStream, type UpgradeSide } from '../message.ts';
import { refuse } from '../problem.ts';
import { ConnectionDeadline, refuseExpectation } from './h1-connection.ts';
import { left, silent } from './h1-request.ts';
import { type ReplyOwner, StreamReply } from './h2-response.ts';

/** RFC 6455 §1.3. */
const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * Returns the client's side of a WebSocket over HTTP/2 (RFC 8441). The handshake with the upstream has the
 * proxy's own key. The client gets a 200, and frames as the data of the stream.
 */
export function streamSide(request: RequestStream): UpgradeSide {
  const key = randomBytes(16).toString('base64');
  return {
    client: request.stream,
    // A client that leaves resets its stream, which is detected without reading.
    frames: { take: () => Promise.reject(left()), heard() {} },
    asks: ['Sec-WebSocket-Key', key],
    switched(fields) {
      const proofs = valuesOf(fields, 'sec-websocket-accept');
      if (proofs.length !== 1 || proofs[0] !== proofOf(key)) {
        const sentence = 'The upstream accepted another WebSocket than was asked for.';
        throw new SidekeyError('upstream_protocol', sentence);
      }
      const { webSocketKey } = request;
      request.reply.tunnel([
        ...withoutFields(fields, (name) => ofHandshake.has(name)),
        // Node 26.10 sends a key although RFC 8441 has none, and closes without this answer to it.
        ...(webSocketKey === undefined ? [] : ['Sec-WebSocket-Accept', proofOf(webSocketKey)]),
      ]);
    },
    cut: () => request.destroy(),
  };
}

const ofHandshake = new Set(['sec-websocket-accept', 'content-length', 'trailer']);

function proofOf(key: string): string {
  return createHash('sha1').update(`${key}${acceptGuid}`).digest('base64');
}

interface BodyOwner {
  /** Called when a reader starts or stops waiting for a piece. */
  bodyAwaited(isAwaited: boolean): void;
  /** Called for each piece from the client or to it. */
  passed(bytesIn: number, bytesOut: number): void;
}

/**
 * The body of a stream (`InboundRequest.body`). The stream's window opens as pieces are read.
 *
 * `next` rejects with the error of `fail`: SidekeyError `bad_request` if the client resets the stream or
 * leaves. `return` does not wait: later input is discarded.
 */
export class StreamBody implements AsyncIterableIterator<Buffer> {
  /** See `InboundRequest.trailers`. Empty before the end of the body. */
  trailers: RawFields = [];
  /** True if the body has ended. */
  over = false;
  readonly #stream: ServerHttp2Stream;
  readonly #owner: BodyOwner;
  #pieces: Buffer[] = [];
  #failure: Error | null = null;
  #isReleased = false;
  #waiting: PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null = null;

  constructor(stream: ServerHttp2Stream, owner: BodyOwner, limits: HeadLimits) {
    this.#stream = stream;
    this.#owner = owner;
    stream
      .on('data', this.#onData)
      .on('trailers', (_fields, _flags, raw) => {
        if (listSize(raw) <= limits.head_bytes) this.trailers = raw;
        else this.fail(new Malformed('request', 'trailers_too_large', limits));
      })
      .on('end', this.#onEnd)
      .on('aborted', () => this.fail(left()))
      .on('close', () => this.fail(left()))
      .pause();
  }

  /** Fails the body: the current and later calls of `next` reject with `why`. */
  fail(why: SidekeyError): void {
    if (this.#failure !== null || this.over) return;
    this.#failure = why;
    this.#pieces = [];
    this.#settle()?.reject(why);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    const piece = this.#pieces.shift();
    if (piece !== undefined) return Promise.resolve({ done: false, value: piece });
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.over || this.#isReleased) return Promise.resolve({ done: true, value: undefined });
    if (this.#waiting === null) {
      this.#waiting = Promise.withResolvers();
      this.#owner.bodyAwaited(true);
      this.#stream.resume();
    }
    return this.#waiting.promise;
  }

  return(): Promise<IteratorResult<Buffer, undefined>> {
    if (!this.#isReleased) {
      if (!this.over || this.#pieces.length > 0) this.fail(left());
      this.#isReleased = true;
      this.#pieces = [];
      this.#stream.resume();
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  readonly #onData = (piece: Buffer): void => {
    this.#owner.passed(piece.length, 0);
    if (this.#isReleased || this.#failure !== null) return;
    this.#stream.pause();
    const waiting = this.#settle();
    if (waiting === null) this.#pieces.push(piece);
    else waiting.resolve({ done: false, value: piece });
  };

  readonly #onEnd = (): void => {
    // If the client resets a stream with NO_ERROR, Node ends it as if it were complete.
    if (this.#stream.closed) {
      this.fail(left());
      return;
    }
    if (this.#failure !== null) return;
    this.over = true;
    this.#settle()?.resolve({ done: true, value: undefined });
  };

  #settle(): PromiseWithResolvers<IteratorResult<Buffer, undefined>> | null {
    const waiting = this.#waiting;
    if (waiting === null) return null;
    this.#waiting = null;
    this.#owner.bodyAwaited(false);
    return waiting;
  }
}

/** The functions that handle the requests of a session. */
export interface StreamService {
  readonly timers: Timers;
  /** A monotonic clock, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Handles a request. Never rejects. */
  exchange(inbound: InboundRequest, stream: RequestStream): Promise<void>;
  /** Carries a WebSocket (RFC 8441). Never rejects. */
  webSocket(inbound: InboundRequest, stream: RequestStream): Promise<void>;
  /** Records a request that was refused before its exchange. */
  denied(client: Client, why: SidekeyError): void;
}

/** The head of an HTTP/2 request. */
export interface StreamHead {
  readonly head: RequestHead;
  /** `:protocol` of an extended CONNECT (RFC 8441 §4), or null. */
  readonly protocol: string | null;
}

const pseudoNames = [':method', ':scheme', ':authority', ':path', ':protocol'];

/** Same rule as for HTTP/1.1: at most 32 characters, and no lower case, which some programs convert. */
const method = /^[!#$%&'*+.^_|~0-9A-Z-]{1,32}$/;

/**
 * Reads a HEADERS block as the head of a request. Checks again what nghttp2 checks, because the values are
 * written into a request line.
 *
 * A body without a length gets `Transfer-Encoding: chunked`, as in HTTP/1.1. The parts of `Cookie` are joined
 * (RFC 9113 §8.2.3).
 *
 * @param raw names and values in turn, pseudo-header fields first
 */
export function readStreamHead(raw: RawFields, hasBody: boolean): StreamHead | SidekeyError {
  const pseudo: Partial<Record<string, string>> = {};
  const fields: string[] = [];
  let cookieAt = -1;
  let hasLength = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (name.startsWith(':')) {
      if (fields.length > 0 || !pseudoNames.includes(name) || pseudo[name] !== undefined) return malformed();
      pseudo[name] = value;
    } else if (name === 'te' && value !== 'trailers') {
      return refusal('The TE field of the request says more than "trailers".');
    } else if (name !== 'te' && hopByHop.has(name)) {
      // RFC 9113 §8.2.2.
      return refusal('The request has a field of one connection, and HTTP/2 knows none.');
    } else if (name === 'cookie' && cookieAt >= 0) {
      fields[cookieAt] = `${fields[cookieAt]}; ${value}`;
    } else {
      if (name === 'cookie') cookieAt = fields.length + 1;
      if (name === 'content-length') hasLength = true;
      fields.push(name, value);
    }
  }
  const isConnect = pseudo[':method'] === 'CONNECT';
  const protocol = pseudo[':protocol'] ?? null;
  const { ':method': verb = '', ':path': path, ':scheme': scheme, ':authority': authority } = pseudo;
  if (!method.test(verb)) return refusal('The request has a method that is not one.');
  if (protocol !== null && !isConnect) return malformed();
  if (!isConnect || protocol !== null) {
    if (path === undefined) return malformed();
    if (scheme !== 'https') return refusal('The :scheme of the request is not that of its connection.');
  }
  if (hasBody && !hasLength && !isConnect) fields.push('transfer-encoding', 'chunked');
  return { head: { method: verb, target: path ?? '', version: '2', authority, fields }, protocol };
}

/** Returns the size of a field list as counted by SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2). */
export function listSize(raw: RawFields): number {
  return raw.reduce((sum, text) => sum + text.length, 16 * raw.length);
}

function malformed(): SidekeyError {
  return refusal('The pseudo-header fields of the request are not those of a request.');
}

function refusal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence);
}

/** The session of a stream, as its requests see it. */
interface StreamOwner {
  readonly client: Client;
  readonly service: StreamService;
  readonly passed: BodyOwner['passed'];
}

/** A request on its stream, from its head to the end of its exchange. */
export class RequestStream implements ReplyOwner, BodyOwner {
  readonly stream: ServerHttp2Stream;
  readonly reply: StreamReply;
  readonly body: StreamBody | null;
  readonly #head: RequestHead;
  readonly #protocol: string | null;
  readonly #client: Client;
  readonly #service: StreamService;
  readonly passed: BodyOwner['passed'];
  /** `Sec-WebSocket-Key` of an extended CONNECT. RFC 8441 §5 requires none. */
  readonly webSocketKey: string | undefined;
  #deadline: ConnectionDeadline | null = null;

  constructor(
    stream: ServerHttp2Stream,
    { head, protocol }: StreamHead,
    { client, service, passed }: StreamOwner,
  ) {
    this.stream = stream;
    this.#head = head;
    this.#protocol = protocol;
    this.#client = client;
    this.#service = service;
    this.passed = passed;
    this.webSocketKey = valuesOf(head.fields, 'sec-websocket-key')[0];
    // The data of a CONNECT is not a body.
    const hasBody = !stream.endAfterHeaders && head.method !== 'CONNECT';
    this.body = hasBody ? new StreamBody(stream, this, service.limits()) : null;
    const waits = hasBody && expectationOf(head) === 'met';
    this.reply = new StreamReply(stream, head.method, waits, this);
  }

  /** Resolves when the request was answered or refused. Never rejects. */
  async run(): Promise<void> {
    const { stream, reply, body } = this;
    const head = this.#head;
    const why = this.#refusal();
    if (why !== null) {
      this.#service.denied(this.#client, why);
      refuse(reply, why, head.method);
    } else if (head.method === 'CONNECT') {
      // An extended CONNECT becomes the equivalent GET (RFC 8441 §5).
      const fields = withoutFields(head.fields, (name) => notOfWebSocket.has(name));
      const inbound = {
        head: { ...head, method: 'GET', fields },
        body: null,
        client: this.#client,
        upgrades: true,
      } as const;
      await this.#service.webSocket(inbound, this);
    } else if (expectationOf(head) === 'unmet') refuseExpectation(reply);
    else {
      const inbound = {
        head,
        body,
        client: this.#client,
        ...(body !== null && { trailers: () => body.trailers }),
      };
      await this.#service.exchange(inbound, this);
      if (!reply.ended) resetStream(stream, constants.NGHTTP2_INTERNAL_ERROR);
    }
    void body?.return();
    this.#deadline?.close();
  }

  /** Resets only the stream, so that an incomplete message does not look complete. */
  destroy(): void {
    resetStream(this.stream, constants.NGHTTP2_CANCEL);
  }

  replied(): void {
    void this.body?.return();
  }

  /** Stops a client that is still sending (RFC 9113 §8.1). */
  sent(): void {
    const isWhole = this.body === null ? this.#head.method !== 'CONNECT' : this.body.over;
    if (!isWhole) this.stream.close(constants.NGHTTP2_NO_ERROR);
  }

  /** Returns the reason that the request cannot be served, or null. */
  #refusal(): SidekeyError | null {
    if (this.#head.method !== 'CONNECT') return null;
    if (this.#protocol === null) {
      return new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not supported.');
    }
    if (this.#protocol === 'websocket' && !this.stream.endAfterHeaders) return null;
    return new SidekeyError('bad_request', 'A CONNECT for another protocol than WebSocket is not carried.');
  }

  bodyAwaited(isAwaited: boolean): void {
    const idleMs = () => this.#service.limits().client_body_idle;
    if (!isAwaited) this.#deadline?.clear();
    else {
      this.#deadline ??= new ConnectionDeadline(this.#service.timers, this.#service.now, () =>
        this.body?.fail(silent(idleMs())),
      );
      this.#deadline.set('body', idleMs());
    }
  }
}

/** Removed fields: the handshake has the proxy's own key, and no body. */
const notOfWebSocket = new Set(['sec-websocket-key', 'content-length']);

/** Reports whether the expectation of a request is met (RFC 9110 §10.1.1); null if it has none. */
function expectationOf({ fields }: RequestHead): 'met' | 'unmet' | null {
  const values = valuesOf(fields, 'expect');
  if (values.length === 0) return null;
  return values.some((value) => value.toLowerCase() === '100-continue') ? 'met' : 'unmet';
}
