import type { Grant } from '../domain/grant.ts';
import { type RawFields, withoutFields } from './http/fields.ts';
import { type BodyReader, createBodyReader, payloadTogether } from './http/h1/body.ts';
import { isReusable, responseFraming, type ResponseFraming } from './http/framing.ts';
import { type ResponseHeadBytes } from './http/head.ts';
import { createMendingReader, isRepairable } from './http/h1/mend.ts';
import { giveBackResponseReader, type HeadReader, takeResponseReader } from './http/h1/read-head.ts';
import { Malformed } from './http/h1/scan.ts';
import { fieldSection, isOneLine, isOneTarget, trailersToPass } from './http/h1/write.ts';
import { PendingBytes } from './http/server/h1-request.ts';
import type { Limits } from './policy/limits.ts';
import type { ConnectionUser, UpstreamConnection } from './upstream/h1-connection.ts';
import {
  cannotBeForwarded,
  ConnectionEnded,
  expectationMs,
  framedFor,
  uploadOf,
  type AttemptContext,
  timedOut,
  Upload,
} from './attempt.ts';
import type { UpstreamRequest } from './request.ts';
import { ResponseHandler, type Transport } from './response.ts';

const noTrailers: RawFields = [];

/**
 * Reads the heads of the responses to one request: interim ones, and the final one. If the strict reader
 * refuses a head, repairs it and those behind it (decision 136).
 */
export class ResponseHeads {
  /** Framing of the last head. */
  framing!: ResponseFraming;
  /** True if heads are repaired. Then the connection must not be used again. */
  isMended = false;
  readonly #method: string;
  readonly #limits: Limits;
  #reader: HeadReader<ResponseHeadBytes>;

  /** @param method of the request */
  constructor(method: string, limits: Limits) {
    this.#method = method;
    this.#limits = limits;
    this.#reader = takeResponseReader(limits);
  }

  /** See `HeadReader.read`. A head is valid until the next call, or until `release`. */
  read(bytes: Buffer, start: number, end: number): ReturnType<HeadReader<ResponseHeadBytes>['read']> {
    const head = this.#reader.read(bytes, start, end);
    if (head === 'incomplete') return head;
    const framing = head instanceof Malformed ? head : responseFraming(head, this.#method);
    if (!(framing instanceof Malformed)) {
      this.framing = framing;
      return head;
    }
    if (this.isMended || !isRepairable(framing.fault)) return framing;
    this.isMended = true;
    this.#reader = createMendingReader(this.#method, this.#limits);
    return this.read(bytes, start, end);
  }

  /** Gives the reader back after a complete head. Nothing may be read after that. */
  release(): void {
    if (!this.isMended) giveBackResponseReader(this.#reader, this.#limits);
  }
}

/** Events of a response, in their order. */
interface ResponseSink {
  /** An interim response, good until this returns. */
  interim(head: ResponseHeadBytes): void;
  /** The final head, good until this returns. */
  head(head: ResponseHeadBytes): void;
  /** A piece of the body without what frames it: a part of a buffer, good until this returns. */
  payload(bytes: Buffer, start: number, end: number): void;
  /** The response is whole. */
  whole(trailers: RawFields): void;
}

/**
 * Reads the response to one request. Keeps only the bytes of an incomplete head, and moves the bytes of a
 * chunked body together in their buffer.
 */
class ResponseReading {
  readonly #limits: Limits;
  readonly #sink: ResponseSink;
  readonly #heads: ResponseHeads;
  /** The bytes of a head that comes in pieces; null: none did. */
  #pending: PendingBytes | null = null;
  #body: BodyReader | null = null;
  #isChunked = false;
  #mayReuse = false;
  #over = false;
  /** True if a byte of an answer has come. */
  hasBegun = false;

  constructor(method: string, limits: Limits, sink: ResponseSink) {
    this.#limits = limits;
    this.#sink = sink;
    this.#heads = new ResponseHeads(method, limits);
  }

  /** Reports whether the final head has come. */
  get hasHead(): boolean {
    return this.#body !== null;
  }

  /** Reports whether the connection can be used again: to be asked when the response is whole. */
  get isReusable(): boolean {
    return this.#over && this.#mayReuse;
  }

  /** Reads what came next, up to `end`. Returns its fault; null: nothing. */
  read(bytes: Buffer, end: number): Error | null {
    this.hasBegun = true;
    if (this.#body !== null) return this.#readBody(bytes, 0, end);
    if (this.#pending === null) return this.#readHeads(bytes, end);
    const whole = this.#pending.with(bytes.subarray(0, end));
    return this.#readHeads(whole, whole.length);
  }

  /** The connection has ended in good order. Answers whether the response is whole by that. */
  end(): boolean {
    if (this.#body === null || this.#over || !this.#body.isWhole) return false;
    this.#over = true;
    this.#sink.whole(noTrailers);
    return true;
  }

  #readHeads(bytes: Buffer, end: number): Error | null {
    let at = 0;
    for (;;) {
      const head = this.#heads.read(bytes, at, end);
      if (head === 'incomplete') {
        (this.#pending ??= new PendingBytes()).keep(bytes.subarray(0, end), at);
        return null;
      }
      if (head instanceof Malformed) return head;
      const { framing, isMended } = this.#heads;
      if (framing.kind === 'tunnel' || head.status === 101)
        return new Malformed('response', 'unasked_switch');
      at += head.size;
      if (head.status < 200) {
        this.#sink.interim(head);
        continue;
      }
      this.#body = createBodyReader(framing, {
        whose: 'response',
        limits: this.#limits,
        spans: framing.kind === 'chunked',
      });
      this.#isChunked = framing.kind === 'chunked';
      this.#mayReuse = !isMended && isReusable(head, framing);
      return this.#readBody(bytes, at, end, head);
    }
  }

  /** @param head that was not delivered yet */
  #readBody(bytes: Buffer, start: number, end: number, head: ResponseHeadBytes | null = null): Error | null {
    if (this.#over) {
      // No request asked for these bytes.
      this.#mayReuse = false;
      return null;
    }
    const body = this.#body!;
    const stop = body.read(bytes, start, end);
    if (head !== null) {
      // The client can still be told that nothing of the body can be read.
      if (typeof stop !== 'number' && body.payload === 0) return stop;
      this.#sink.head(head);
      this.#heads.release();
    }
    if (typeof stop !== 'number') return stop;
    if (this.#isChunked) {
      const piece = payloadTogether(bytes, body.spans);
      if (piece !== null) this.#sink.payload(piece, 0, piece.length);
    } else if (stop > start) this.#sink.payload(bytes, start, stop);
    if (!body.over) return null;
    this.#over = true;
    if (stop < end || body.isMended) this.#mayReuse = false;
    this.#sink.whole(body.trailers === null ? noTrailers : trailersToPass(body.trailers));
    return null;
  }
}

/**
 * Returns the field section of a request for HTTP/1.1, and checks its method and path.
 *
 * @param isExpecting whether the upstream is asked for a 100 before the body (RFC 9110 §10.1.1)
 * @throws SidekeyError `bad_request` where it would not be one head of one request
 */
export function requestSection(
  {
    method,
    path,
    fields,
    planned,
    protocol,
  }: Pick<UpstreamRequest, 'method' | 'path' | 'fields' | 'planned' | 'protocol'>,
  isExpecting = false,
): Buffer {
  if (!isOneTarget(path) || !isOneLine(method)) throw cannotBeForwarded();
  // `TE` applies to one connection of HTTP/1.1. Clients of HTTP/2 get trailers in any case.
  const accepted = protocol === 'h2' ? withoutFields(fields, (name) => name === 'te') : fields;
  const sent = isExpecting ? [...accepted, 'Expect', '100-continue'] : accepted;
  try {
    return (sent === fields ? planned?.section(fields) : null) ?? fieldSection(sent);
  } catch (cause) {
    throw cannotBeForwarded(cause);
  }
}

/** `timeout` of a response's `Keep-Alive`, in milliseconds; null if absent. */
function keptFor(head: ResponseHeadBytes): number | null {
  const value = head.first('keep-alive');
  if (value === null) return null;
  const seconds = /(?:^|[\s,;])timeout\s*=\s*"?([0-9]{1,9})/i.exec(value)?.[1];
  return seconds === undefined ? null : Number(seconds) * 1_000;
}

/**
 * Methods whose body every server reads (RFC 9110 §9.3.3 and §9.3.4, RFC 5789). Servers may ignore the body
 * of GET, HEAD, DELETE and OPTIONS (§9.3.1, §9.3.2, §9.3.5, §9.3.7), and of an unknown method.
 */
const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** A name for each grant: connections compare it for each request. */
const owners = new WeakMap<Grant, string>();

/** Returns the owner of the credential: that of the grant. */
function ownerOf(grant: Grant): string {
  let owner = owners.get(grant);
  if (owner === undefined) owners.set(grant, (owner = `grant ${grant.id}`));
  return owner;
}

/** One request over one connection, and the response into the reply. */
export class Attempt implements ConnectionUser, ResponseSink, Transport {
  readonly owner: string;
  readonly #context: AttemptContext;
  readonly #response: ResponseHandler;
  readonly #reading: ResponseReading;
  readonly #isExpecting: boolean;
  /** The fields of the request; null: it is sent, or not to be sent. */
  #section: Buffer | null = null;
  #connection: UpstreamConnection | null = null;
  #upload: Upload | null = null;
  /** Milliseconds that the upstream keeps the connection, by its own statement. */
  #idleMs: number | null = null;
  /** True if the upstream may have left the body of the request unread. */
  #isBodyDoubtful = false;
  isReused = false;

  constructor(context: AttemptContext) {
    this.#context = context;
    const { facts, grant, also } = context.request.permission;
    const owner = grant === null ? `agent ${facts.agent ?? ''}` : ownerOf(grant);
    this.owner = also === undefined ? owner : [owner, ...also.map(ownerOf)].join();
    this.#isExpecting = context.isExpecting;
    this.#response = new ResponseHandler(context, this);
    this.#reading = new ResponseReading(context.request.method, context.limits, this);
  }

  run(): void {
    if (!this.#response.begin()) return;
    const { request, connections, fresh } = this.#context;
    try {
      this.#section = requestSection(request, this.#isExpecting);
      connections.request(request.peer, this, fresh);
    } catch (error) {
      this.#response.refuse(error as Error);
    }
  }

  // Events of the connection.

  connected(connection: UpstreamConnection): void {
    const { request, reply, limits } = this.#context;
    this.#connection = connection;
    this.isReused = connection.isReused;
    connection.deadline(this.#isExpecting ? expectationMs : limits.upstream_head);
    const { framing } = request;
    const isAlone = framing.kind === 'none';
    connection.writeHead(request, this.#section!, isAlone);
    this.#section = null;
    if (isAlone) return;
    // A server that sends no 100 may not read the body, and need not say so (RFC 9110 §10.1.1).
    this.#isBodyDoubtful = this.#isExpecting || !methodsWithBody.has(request.method);
    if (!this.#isExpecting) reply.continue();
    this.#upload = new Upload(framedFor(framing, connection));
    this.#upload
      .send(uploadOf(this.#context), () => this.#goOn(true))
      .catch((error: Error) => {
        if (this.#connection !== null) this.#broke(error);
      });
  }

  unconnected(error: Error): void {
    this.#response.fail(error, false);
  }

  received(bytes: Buffer, end: number): void {
    const wrong = this.#reading.read(bytes, end);
    if (wrong !== null) this.#broke(wrong);
    else if (this.#reading.hasHead) this.#rearm();
  }

  drained(): void {
    this.#upload?.drained();
  }

  expired(): void {
    const { authority } = this.#context.request;
    if (this.#reading.hasHead) {
      if (this.#response.isWaitedFor) this.#rearm();
      else this.#broke(timedOut(authority, 'stopped sending'));
    } else if (this.#isExpecting && this.#context.reply.expectsContinue) this.#goOn();
    else if (this.#upload?.waitsForPiece === true) this.#rearm();
    else this.#broke(timedOut(authority, 'did not answer in time'));
  }

  ended(): void {
    if (this.#reading.end()) return;
    if (this.#reading.hasHead) this.#response.cut(new ConnectionEnded());
    else if (this.#reading.hasBegun) this.#broke(new Malformed('response', 'incomplete_head'));
    else this.#broke(new ConnectionEnded());
  }

  lost(error: Error): void {
    this.#broke(error);
  }

  // Events of the response.

  interim(head: ResponseHeadBytes): void {
    const { request, reply } = this.#context;
    if (head.status !== 100) {
      this.#response.interim(head.status, head.raw());
      return;
    }
    this.#isBodyDoubtful = this.#upload !== null && !methodsWithBody.has(request.method);
    if (reply.expectsContinue) this.#goOn();
  }

  head(head: ResponseHeadBytes): void {
    this.#idleMs = keptFor(head);
    if (this.#upload !== null && (head.status >= 400 || !this.#upload.isSent)) this.#isBodyDoubtful = true;
    this.#response.headRead(head);
  }

  payload(bytes: Buffer, start: number, end: number): void {
    this.#response.payloadLent(bytes, start, end);
  }

  whole(trailers: RawFields): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#upload?.stop();
    // The upstream reads an unread body as the start of the next request.
    const isReusable = !this.#isBodyDoubtful && this.#reading.isReusable;
    if (isReusable && connection?.isFull === false) connection.release(this.#idleMs);
    else connection?.destroy();
    this.#response.whole(trailers);
  }

  // Calls of the response handler.

  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
    this.#rearm();
  }

  stopSending(): void {
    this.#upload?.stop();
  }

  drop(): void {
    this.#upload?.stop();
    if (this.#section !== null) this.#context.connections.leave(this.#context.request.peer, this);
    this.#section = null;
    this.#connection?.destroy();
    this.#connection = null;
  }

  /** The body comes, or may come. */
  #goOn(isSending = false): void {
    this.#context.reply.continue(isSending);
    this.#rearm();
  }

  #rearm(): void {
    const { upstream_idle: idle, upstream_head: head } = this.#context.limits;
    this.#connection?.deadline(this.#reading.hasHead ? idle : head);
  }

  #broke(error: Error): void {
    this.#response.broke(error, this.#reading.hasBegun);
  }
}
