import { createHash, randomBytes } from 'node:crypto';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { SidekeyError } from '../../lib/errors.ts';
import { resetStream } from '../../lib/http2-abort.ts';
import type { Timers } from '../../lib/timers.ts';
import type { Limits } from '../../policy/limits.ts';
import { hopByHop, type RawFields, valuesOf } from '../fields.ts';
import { type HeadLimits, Malformed } from '../h1/scan.ts';
import type { Client, InboundRequest, UpgradeSide } from '../message.ts';
import type { RequestHead } from '../head.ts';
import { refuse } from '../problem.ts';
import { ConnectionDeadline, refuseExpectation } from './h1-connection.ts';
import { left, silent } from './h1-request.ts';
import { type ReplyOwner, StreamReply } from './h2-response.ts';

/** RFC 6455 §1.3. */
const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * A stream as the client's side of a WebSocket (RFC 8441): the handshake of HTTP/1.1 with the upstream is the proxy's own,
 * key and proof too. The client sees a 200, and frames as the body of both directions.
 */
export function streamSide(request: RequestStream): UpgradeSide {
  const key = randomBytes(16).toString('base64');
  return {
    client: request.stream,
    // A client that leaves resets its stream: nobody need read it to see that.
    frames: { early: Buffer.alloc(0), heard() {} },
    asks: ['Sec-WebSocket-Key', key],
    switched(fields) {
      const proofs = valuesOf(fields, 'sec-websocket-accept');
      if (proofs.length !== 1 || proofs[0] !== proofOf(key)) {
        throw new SidekeyError(
          'upstream_protocol',
          'The upstream accepted another WebSocket than was asked for.',
        );
      }
      const { webSocketKey } = request;
      request.reply.tunnel([
        ...fields.filter((_text, i) => !ofHandshake.has(fields[i - (i % 2)]!.toLowerCase())),
        // Node 26.10 sends a key all the same and closes where there is no proof; other clients do neither.
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

/** What a body tells of itself. */
interface BodyOwner {
  /** Somebody waits for a piece; `false`: nobody does any more. */
  bodyAwaited(isAwaited: boolean): void;
  /** A piece has come from the client, or goes to it. */
  passed(bytesIn: number, bytesOut: number): void;
}

/**
 * The body of one stream, as an exchange reads it (`InboundRequest.body`). What nobody reads stays within the stream's window:
 * the client is let send more when it has been taken.
 *
 * `next` rejects with SidekeyError `bad_request` where the client resets the stream or leaves in the middle, and with what
 * `fail` was given. `return` waits for nothing: from then on what comes is thrown away.
 */
export class StreamBody implements AsyncIterableIterator<Buffer> {
  /** As `InboundRequest.trailers`; none before all of it has come. */
  trailers: RawFields = [];
  /** Whether all of it has come. */
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

  /** No more of it will be read: who waits for a piece, or asks for one later, is told why. */
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
    // Node ends a stream that the client has reset without an error as if it were whole.
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

/** The functions that answer the requests of a session. */
export interface StreamService {
  readonly timers: Timers;
  /** A clock that goes forward alone, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Answers a request. Never rejects. */
  exchange(inbound: InboundRequest, stream: RequestStream): Promise<void>;
  /** Carries a WebSocket (RFC 8441). Never rejects. */
  webSocket(inbound: InboundRequest, stream: RequestStream): Promise<void>;
  /** A request was refused before it was one. */
  denied(client: Client, why: SidekeyError): void;
}

/** The head of a stream, as the exchange sees heads. */
export interface StreamHead {
  readonly head: RequestHead;
  /** `:protocol` of an extended CONNECT (RFC 8441 §4); null: there is none. */
  readonly protocol: string | null;
}

const pseudoNames = [':method', ':scheme', ':authority', ':path', ':protocol'];

/** As the codec for HTTP/1.1 has it: no more than 32 characters, and no small letters, which some take for capitals. */
const method = /^[!#$%&'*+.^_|~0-9A-Z-]{1,32}$/;

/**
 * Reads the fields of a HEADERS block as the head of a request. The framing library refuses what is malformed before
 * it comes here; this does not rely on it, for what it let through would be written into a request line.
 *
 * A body without a length is announced as HTTP/1.1 would: whatever is behind knows one way to say so. Cookies that came
 * in crumbs are one field again (RFC 9113 §8.2.3).
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

/** The size of a list of fields as SETTINGS_MAX_HEADER_LIST_SIZE has it (RFC 9113 §6.5.2). */
export function listSize(raw: RawFields): number {
  return raw.reduce((sum, text) => sum + text.length, 16 * raw.length);
}

function malformed(): SidekeyError {
  return refusal('The pseudo-header fields of the request are not those of a request.');
}

function refusal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence);
}

/** One request on its stream, from its head until nothing of it is under way any more. */
export class RequestStream implements ReplyOwner, BodyOwner {
  readonly stream: ServerHttp2Stream;
  readonly reply: StreamReply;
  readonly body: StreamBody | null;
  readonly #head: RequestHead;
  readonly #protocol: string | null;
  readonly #client: Client;
  readonly #service: StreamService;
  readonly passed: BodyOwner['passed'];
  /** `Sec-WebSocket-Key` of an extended CONNECT; RFC 8441 §5 asks for none. */
  readonly webSocketKey: string | undefined;
  #deadline: ConnectionDeadline | null = null;

  constructor(
    stream: ServerHttp2Stream,
    { head, protocol }: StreamHead,
    client: Client,
    service: StreamService,
    passed: BodyOwner['passed'],
  ) {
    this.stream = stream;
    this.#head = head;
    this.#protocol = protocol;
    this.#client = client;
    this.#service = service;
    this.passed = passed;
    this.webSocketKey = valuesOf(head.fields, 'sec-websocket-key')[0];
    // What stands behind a CONNECT is no body.
    const hasBody = !stream.endAfterHeaders && head.method !== 'CONNECT';
    this.body = hasBody ? new StreamBody(stream, this, service.limits()) : null;
    const waits = hasBody && expectationOf(head) === 'met';
    this.reply = new StreamReply(stream, head.method, waits, this);
  }

  /** Resolves when what was asked has been answered, or refused. Never rejects. */
  async run(): Promise<void> {
    const { stream, reply, body } = this;
    const head = this.#head;
    const why = this.#refusal();
    if (why !== null) {
      this.#service.denied(this.#client, why);
      refuse(reply, why, head.method);
    } else if (head.method === 'CONNECT') {
      const inbound = {
        head: webSocketHead(head),
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

  /** Cuts what is under way, so that it cannot be taken for whole, and nothing else of the connection. */
  destroy(): void {
    resetStream(this.stream, constants.NGHTTP2_CANCEL);
  }

  replied(): void {
    void this.body?.return();
  }

  /** Who still sends is told that nobody reads it (RFC 9113 §8.1). */
  sent(): void {
    const isWhole = this.body === null ? this.#head.method !== 'CONNECT' : this.body.over;
    if (!isWhole) this.stream.close(constants.NGHTTP2_NO_ERROR);
  }

  /** Why it is none that can be served; null: it is. */
  #refusal(): SidekeyError | null {
    if (this.#head.method !== 'CONNECT') return null;
    if (this.#protocol === null) {
      return new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not carried.');
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

/** Judged as the handshake that it stands for (RFC 8441 §5); what proves a handshake of HTTP/1.1 has no use in it. */
function webSocketHead(head: RequestHead): RequestHead {
  const fields = head.fields.filter((_text, i) => !notOfWebSocket.has(head.fields[i - (i % 2)]!));
  return { ...head, method: 'GET', fields };
}

/** The handshake has a key of the proxy's own, and no body. */
const notOfWebSocket = new Set(['sec-websocket-key', 'content-length']);

/** What becomes of the expectation of a request (RFC 9110 §10.1.1); null: it has none. */
function expectationOf({ fields }: RequestHead): 'met' | 'unmet' | null {
  const values = valuesOf(fields, 'expect');
  if (values.length === 0) return null;
  return values.some((value) => value.toLowerCase() === '100-continue') ? 'met' : 'unmet';
}
