import { hopByHop, type RawFields, trailerFields } from './http/fields.ts';
import { isOneLine, isOneTarget } from './http/h1/write.ts';
import { authorityText } from './policy/authority.ts';
import { isFieldName } from './policy/text.ts';
import type { StreamHead, StreamLoss, StreamUser, UpstreamStream } from './upstream/h2-stream.ts';
import {
  cannotBeForwarded,
  expectationMs,
  uploadOf,
  type AttemptContext,
  timedOut,
  Upload,
} from './attempt.ts';
import type { UpstreamRequest } from './request.ts';
import { ResponseHandler, type Transport } from './response.ts';

/** Fields that header compression must not index, because others could guess the values by the size. */
const secrets = ['authorization', 'cookie'];

/**
 * The head of a request as it opens a stream of HTTP/2 (RFC 9113 §8.3.1).
 *
 * @throws SidekeyError `bad_request` as `requestSection`
 */
export function streamHead(
  { authority, method, path, fields, framing, carriedIn, conceal }: UpstreamRequest,
  isExpecting = false,
): StreamHead {
  if (!isOneTarget(path)) throw cannotBeForwarded();
  const { scheme } = authority;
  const head = [':method', method, ':scheme', scheme, ':authority', authorityText(authority), ':path', path];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    // `:authority` replaces `Host`, and HTTP/2 has no other hop-by-hop fields (RFC 9113 §8.2.2).
    if (name === 'te' ? value !== 'trailers' : name === 'host' || hopByHop.has(name)) continue;
    if (!isFieldName(name) || !isOneLine(value)) throw cannotBeForwarded();
    head.push(name, value);
  }
  if (isExpecting) head.push('expect', '100-continue');
  const neverIndexed = [...secrets, ...(carriedIn ?? []), ...(conceal === undefined ? [] : [':path'])];
  return { fields: head, neverIndexed, isWhole: framing.kind === 'none' };
}

/** One request over one stream of an HTTP/2 session, and the response into the reply. */
export class StreamAttempt implements StreamUser, Transport {
  /** Head of the stream, created before a stream is requested. */
  head!: StreamHead;
  readonly #context: AttemptContext;
  readonly #response: ResponseHandler;
  readonly #isExpecting: boolean;
  isReused = false;
  #isWaiting = false;
  #stream: UpstreamStream | null = null;
  #upload: Upload | null = null;
  #hasBegun = false;
  #hasHead = false;

  constructor(context: AttemptContext) {
    this.#context = context;
    this.#isExpecting = context.isExpecting;
    this.#response = new ResponseHandler(context, this);
  }

  run(): void {
    if (!this.#response.begin()) return;
    const { request, streams, fresh } = this.#context;
    try {
      this.head = streamHead(request, this.#isExpecting);
      this.#isWaiting = true;
      streams.request(request.peer, this, fresh);
    } catch (error) {
      this.#response.refuse(error as Error);
    }
  }

  // Events of the stream.

  opened(stream: UpstreamStream): void {
    const { request, reply } = this.#context;
    this.#isWaiting = false;
    this.#stream = stream;
    this.isReused = stream.isReused;
    if (this.#isExpecting) stream.deadline(expectationMs);
    else this.#rearm();
    const { framing } = request;
    if (framing.kind === 'none') return;
    if (!this.#isExpecting) reply.continue();
    this.#upload = new Upload({ write: (piece) => stream.write(piece), end: (fields) => stream.end(fields) });
    this.#upload
      .send(uploadOf(this.#context), () => this.#goOn(true))
      .catch((error: Error) => {
        if (this.#stream !== null) this.#response.broke(error, this.#hasBegun);
      });
  }

  unopened(why: Error | 'http/1.1'): void {
    this.#isWaiting = false;
    if (why === 'http/1.1') this.#response.downgrade();
    else this.#response.fail(why, false);
  }

  interim(status: number, fields: RawFields): void {
    this.#hasBegun = true;
    if (status !== 100) this.#response.interim(status, fields);
    else if (this.#context.reply.expectsContinue) this.#goOn();
  }

  answered(status: number, fields: RawFields): void {
    this.#hasBegun = true;
    this.#hasHead = true;
    this.#rearm();
    // HTTP/2 has no reason phrase (RFC 9113 §8.3.2).
    this.#response.head(status, '', fields);
  }

  received(piece: Buffer): void {
    this.#rearm();
    this.#response.payload(piece);
  }

  whole(trailers: RawFields): void {
    const stream = this.#stream;
    this.#stream = null;
    this.#upload?.stop();
    // An upstream that answers early wants no more of the request.
    if (this.#upload?.isSent === false) stream?.destroy();
    this.#response.whole(trailerFields(trailers));
  }

  drained(): void {
    this.#upload?.drained();
  }

  expired(): void {
    const { authority } = this.#context.request;
    const isWaitedFor = this.#hasHead ? this.#response.isWaitedFor : this.#upload?.waitsForPiece === true;
    if (!this.#hasHead && this.#isExpecting && this.#context.reply.expectsContinue) this.#goOn();
    else if (isWaitedFor) this.#rearm();
    else {
      const how = this.#hasHead ? 'stopped sending' : 'did not answer in time';
      this.#response.broke(timedOut(authority, how), this.#hasBegun);
    }
  }

  lost({ how, error }: StreamLoss): void {
    this.#stream = null;
    if (how === 'http_1_1_required' && !this.#hasBegun) this.#response.downgrade(error);
    else this.#response.broke(error, this.#hasBegun, how === 'unprocessed' && !this.#hasBegun);
  }

  // Calls of the response handler.

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
    this.#rearm();
  }

  stopSending(): void {
    this.#upload?.stop();
  }

  drop(): void {
    this.#upload?.stop();
    if (this.#isWaiting) this.#context.streams.leave(this.#context.request.peer, this);
    this.#isWaiting = false;
    this.#stream?.destroy();
    this.#stream = null;
  }

  /** The body comes, or may come. */
  #goOn(isSending = false): void {
    this.#context.reply.continue(isSending);
    this.#rearm();
  }

  #rearm(): void {
    const { upstream_idle: idle, upstream_head: head } = this.#context.limits;
    this.#stream?.deadline(this.#hasHead ? idle : head);
  }
}
