import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from 'node:http2';
import { SidekeyError } from '../../../lib/errors.ts';
import { hopByHop, type RawFields } from '../fields.ts';
import { hasResponseBody } from '../framing.ts';
import { fieldLines } from '../h1/write.ts';
import { createGone, type Gone, type Reply, resetStream } from '../message.ts';

/** Maximum number of interim responses to forward on a stream: flow control does not limit them. */
const maxInterim = 16;

export interface ReplyOwner {
  /** The response is complete. The rest of the request is not needed. */
  replied(): void;
  /** The socket has taken the whole response. */
  sent(): void;
  /** Counts a piece of the body. */
  passed(bytesIn: number, bytesOut: number): void;
}

/** The reply to an HTTP/2 request. */
export class StreamReply implements Reply {
  started = false;
  /** True if the whole response was written. */
  ended = false;
  readonly gone = createGone();
  readonly #stream: ServerHttp2Stream;
  readonly #method: string;
  /** True if the client waits for a 100 before it sends its body. */
  #expectsContinue: boolean;
  readonly #owner: ReplyOwner;
  #isBare = false;
  /** Sends the head; null if it was sent. `isAll`: nothing follows the head. */
  #begin: ((isAll: boolean) => void) | null = null;
  /** Remaining bytes; null: no limit. */
  #left: number | null = null;
  #hasTrailers = false;
  #trailers: RawFields = [];
  #interim = 0;

  constructor(stream: ServerHttp2Stream, method: string, expectsContinue: boolean, owner: ReplyOwner) {
    this.#stream = stream;
    this.#method = method;
    this.#expectsContinue = expectsContinue;
    this.#owner = owner;
    const tell = () => this.gone.tell();
    // A reset closes the stream only after the earlier input was read. `aborted` comes at once.
    stream.once('aborted', tell).once('close', tell);
    if (stream.destroyed) tell();
  }

  /** A client that leaves resets the stream or closes the connection. */
  hold(): Gone {
    return this.gone;
  }

  get expectsContinue(): boolean {
    return this.#expectsContinue;
  }

  continue(isSending = false): void {
    if (this.#expectsContinue && this.#mayBegin && !isSending)
      this.#stream.additionalHeaders({ ':status': 100 });
    this.#expectsContinue = false;
  }

  informational(status: number, fields: RawFields): void {
    if (!this.#mayBegin || this.#interim >= maxInterim) return;
    const head = interimHead(status, fields);
    if (head === null) return;
    this.#interim += 1;
    this.#stream.additionalHeaders(head);
  }

  /** Does nothing: the connection continues for its other streams. */
  closeAfter(): void {}

  /** Sends the head of a tunnel. Its data is written directly to the stream. */
  tunnel(fields: RawFields): void {
    const head = responseHead(this.#method, 200, fields);
    if (this.#mayBegin) this.#respond(head.fields, {});
    this.started = true;
  }

  head(status: number, _reason: string, fields: RawFields): void {
    const head = responseHead(this.#method, status, fields);
    const mayBegin = this.#mayBegin;
    this.started = true;
    this.#isBare = head.isBare;
    this.#left = head.length;
    // With a length, only announced trailers are sent: waiting for trailers costs an additional frame.
    this.#hasTrailers = !head.isBare && (head.length === null || head.fields.includes('trailer'));
    if (!mayBegin) return;
    this.#begin = (isAll) => {
      this.#begin = null;
      if (this.#stream.closed || this.#stream.destroyed) return;
      if (isAll) this.#hasTrailers = false;
      if (this.#hasTrailers) this.#stream.once('wantTrailers', this.#onWantTrailers);
      this.#respond(head.fields, { endStream: isAll, waitForTrailers: this.#hasTrailers });
    };
    // gRPC detects a response without a body by END_STREAM on its head. The end may follow in this turn.
    if (head.isBare) this.#begin(true);
    else process.nextTick(() => this.#begin?.(false));
  }

  write(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (chunk.length === 0 || this.#isBare || this.ended || stream.closed || stream.destroyed) return true;
    if (this.#left !== null) {
      // The client would read bytes beyond the length as another message.
      if (chunk.length > this.#left) {
        this.abort();
        return true;
      }
      this.#left -= chunk.length;
    }
    this.#begin?.(false);
    this.#owner.passed(0, chunk.length);
    return stream.write(chunk);
  }

  onDrain(listener: () => void): void {
    this.#stream.once('drain', listener);
  }

  end(trailers: RawFields, flushed?: () => void): void {
    if (this.ended) return;
    if (!this.started || (this.#left !== null && this.#left > 0)) {
      this.abort();
      return;
    }
    this.ended = true;
    this.#begin?.(trailers.length === 0);
    this.#trailers = this.#hasTrailers ? trailers : [];
    const stream = this.#stream;
    this.#owner.replied();
    if (stream.closed || stream.destroyed) return;
    const taken = () => {
      flushed?.();
      if (!this.#hasTrailers) this.#owner.sent();
    };
    if (stream.writableFinished) taken();
    else stream.once('finish', taken);
    if (!stream.writableEnded) stream.end();
  }

  abort(): void {
    if (!this.ended) resetStream(this.#stream, constants.NGHTTP2_INTERNAL_ERROR);
  }

  readonly #onWantTrailers = (): void => {
    this.#stream.sendTrailers(fieldMap(this.#trailers));
    // Node sends them in the next turn.
    setImmediate(() => this.#owner.sent());
  };

  #respond(fields: string[], how: ServerStreamResponseOptions): void {
    // Forward the `Date` of the upstream, or none.
    const options: ServerStreamResponseOptions & { readonly sendDate: boolean } = { ...how, sendDate: false };
    this.#stream.respond(fields, options);
  }

  get #mayBegin(): boolean {
    return !this.started && !this.#stream.closed && !this.#stream.destroyed;
  }
}

/** The head of an HTTP/2 response. */
interface ResponseHead {
  /** Lower-case names and values in turn, `:status` first. */
  readonly fields: string[];
  /** Announced length of the body in bytes; null if unannounced; 0 if there can be no body. */
  readonly length: number | null;
  /** True if the stream ends with the head. */
  readonly isBare: boolean;
}

/**
 * Returns the head of a final response, without a reason phrase and hop-by-hop fields. Names are in lower
 * case (RFC 9113 §8.2).
 *
 * @param method of the request
 * @throws SidekeyError `upstream_protocol` if its status or length cannot be sent; `policy_violation` if a
 * field has a line break
 */
export function responseHead(method: string, status: number, fields: RawFields): ResponseHead {
  if (status > 599) throw unsendable('a status above 599');
  const list = [':status', String(status)];
  // 205 has no content (RFC 9110 §15.3.6), and Node sends none.
  const isBare = !hasResponseBody(method, status) || status === 205;
  let length: number | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (hopByHop.has(name)) continue;
    if (name === 'content-length') {
      if (status === 205) continue;
      if (length !== null || !/^[0-9]{1,15}$/.test(fields[i + 1]!)) {
        throw unsendable('no single, plain Content-Length');
      }
      length = Number(fields[i + 1]);
    }
    list.push(name, fields[i + 1]!);
  }
  // Throws if a value has a line break.
  fieldLines(list.slice(2));
  return { fields: list, length: isBare ? 0 : length, isBare };
}

/** The interim statuses that are forwarded. The proxy itself sends 100 and 101. */
const interim = new Set([102, 103]);

/** Returns an interim response, without announcements of a body or trailers, or null for other statuses. */
export function interimHead(
  status: number,
  fields: RawFields,
): Readonly<Record<string, number | string[]>> | null {
  if (!interim.has(status)) return null;
  return { ':status': status, ...fieldMap(fields, ['content-length', 'trailer']) };
}

/** Returns fields by their lower-case names, as Node expects trailers. */
export function fieldMap(fields: RawFields, without: readonly string[] = []): Record<string, string[]> {
  // No prototype: `constructor` and `__proto__` are ordinary names.
  const map = Object.create(null) as Record<string, string[]>;
  fieldLines(fields);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (!hopByHop.has(name) && !without.includes(name)) (map[name] ??= []).push(fields[i + 1]!);
  }
  return map;
}

function unsendable(what: string): SidekeyError {
  return new SidekeyError('upstream_protocol', `The response has ${what}.`);
}
