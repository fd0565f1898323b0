import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from 'node:http2';
import { SidekeyError } from '../../lib/errors.ts';
import { createGone, resetStream, type Gone } from '../../lib/http2-abort.ts';
import { hopByHop, type RawFields } from '../fields.ts';
import { hasResponseBody } from '../framing.ts';
import { fieldLines } from '../h1/write.ts';
import type { Reply } from '../message.ts';

/** Interim responses of one stream that go on: no window bounds them, and an upstream may send any number. */
const mostInterim = 16;

/** Who has a response written. */
export interface ReplyOwner {
  /** The response is whole: nothing of the request is wanted any more. */
  replied(): void;
  /** The client's connection has taken all of it. */
  sent(): void;
  /** A piece of the body goes out. */
  passed(bytesIn: number, bytesOut: number): void;
}

/** The response to the request of one stream. */
export class StreamReply implements Reply {
  started = false;
  /** Whether it is complete, as far as was written. */
  ended = false;
  readonly gone = createGone();
  readonly #stream: ServerHttp2Stream;
  readonly #method: string;
  /** The client waits for a 100 before it sends its body. */
  #waits: boolean;
  readonly #owner: ReplyOwner;
  #isBare = false;
  /** Sends the head, if that was not done yet; `isAll`: nothing comes behind it. */
  #begin: ((isAll: boolean) => void) | null = null;
  /** Bytes that are still to be written; null: any number. */
  #left: number | null = null;
  #hasTrailers = false;
  #trailers: RawFields = [];
  #interim = 0;

  constructor(stream: ServerHttp2Stream, method: string, waitsToContinue: boolean, owner: ReplyOwner) {
    this.#stream = stream;
    this.#method = method;
    this.#waits = waitsToContinue;
    this.#owner = owner;
    const tell = () => this.gone.tell();
    // A reset closes the stream only when what came before was read: it is told of at once.
    stream.once('aborted', tell).once('close', tell);
    if (stream.destroyed) tell();
  }

  /** A client that waits says nothing; one that leaves resets the stream, or closes the connection. */
  waiting(): Gone {
    return this.gone;
  }

  get waits(): boolean {
    return this.#waits;
  }

  continue(isSending = false): void {
    if (this.#waits && this.#mayBegin && !isSending) this.#stream.additionalHeaders({ ':status': 100 });
    this.#waits = false;
  }

  informational(status: number, fields: RawFields): void {
    if (!this.#mayBegin || this.#interim >= mostInterim) return;
    const head = interimHead(status, fields);
    if (head === null) return;
    this.#interim += 1;
    this.#stream.additionalHeaders(head);
  }

  /** A connection outlives what was wrong with one stream. */
  last(): void {}

  /** The head of a tunnel that is open from now on: what is sent through it goes straight into the stream. */
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
    // With a length there are trailers only where they are announced: to wait for them costs a frame of its own.
    this.#hasTrailers = !head.isBare && (head.length === null || head.fields.includes('trailer'));
    if (!mayBegin) return;
    this.#begin = (isAll) => {
      this.#begin = null;
      if (this.#stream.closed || this.#stream.destroyed) return;
      if (isAll) this.#hasTrailers = false;
      if (this.#hasTrailers) this.#stream.once('wantTrailers', this.#onWantTrailers);
      this.#respond(head.fields, { endStream: isAll, waitForTrailers: this.#hasTrailers });
    };
    // gRPC knows answers without a body by a head that is all: an end may come in this turn.
    if (head.isBare) this.#begin(true);
    else process.nextTick(() => this.#begin?.(false));
  }

  write(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (chunk.length === 0 || this.#isBare || this.ended || stream.closed || stream.destroyed) return true;
    if (this.#left !== null) {
      // More than was announced is another message to whoever reads on.
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
    // The upstream's date goes on, or none.
    const options: ServerStreamResponseOptions & { readonly sendDate: boolean } = { ...how, sendDate: false };
    this.#stream.respond(fields, options);
  }

  get #mayBegin(): boolean {
    return !this.started && !this.#stream.closed && !this.#stream.destroyed;
  }
}

/** A response as HTTP/2 has it. */
interface ResponseHead {
  /** Names in small letters and values in turn, `:status` first. */
  readonly fields: string[];
  /** Bytes that the body has; null: that is not announced. 0 where it can have none. */
  readonly length: number | null;
  /** Whether the stream ends with the head. */
  readonly isBare: boolean;
}

/**
 * The head of a final response. HTTP/2 has no reason phrase, no fields of one connection, and small letters alone
 * (RFC 9113 §8.2).
 *
 * @param method of the request
 * @throws SidekeyError `upstream_protocol` where its status or its length cannot be passed on; `policy_violation` where
 *   a field would be more than one
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
  // What is not one line each would be another list of fields.
  fieldLines(list.slice(2));
  return { fields: list, length: isBare ? 0 : length, isBare };
}

/** Interim statuses that clients know; 100 and 101 are answers of the proxy's own. */
const interim = new Set([102, 103]);

/** An interim response; null: clients do not know it. It announces neither a body nor trailers. */
export function interimHead(
  status: number,
  fields: RawFields,
): Readonly<Record<string, number | string[]>> | null {
  if (!interim.has(status)) return null;
  return { ':status': status, ...fieldMap(fields, ['content-length', 'trailer']) };
}

/** Fields by their names in small letters, as Node takes trailers. */
export function fieldMap(fields: RawFields, without: readonly string[] = []): Record<string, string[]> {
  // Without a prototype: `constructor` and `__proto__` are names as any other.
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
