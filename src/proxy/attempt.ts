import { type RawFields, trailerFields, withoutFields } from './http/fields.ts';
import { type BodyFraming, bodyTooLarge } from './http/framing.ts';
import { chunkEnd, chunkStart, lastChunk, fieldSection } from './http/h1/write.ts';
import type { ExchangeResult, Meter, Reply } from './http/message.ts';
import type { ExpiredSign } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import { clientCertificateHint, clientCertificateRefused, type Peer, tlsFault } from './policy/peer.ts';
import { FieldNames } from './policy/text.ts';
import type { UpstreamConnection } from './upstream/h1-connection.ts';
import type { CredentialRenewal } from './credential.ts';
import type { UpstreamRequest } from './request.ts';
import type { ConfigSnapshot } from './services.ts';

/** Failure: the head would not be one head of one request. */
export function cannotBeForwarded(cause?: unknown): SidekeyError {
  return new SidekeyError('bad_request', 'The request has a field or a target that cannot be forwarded.', {
    cause,
  });
}

/**
 * Calls of a forwarder back into the credential stages, with the request that its upstream refused. The type
 * has no private field of the class, so that any object with these methods will do.
 */
export type Credentials = Pick<CredentialRenewal, keyof CredentialRenewal>;

/** Receives the result of forwarding a request, once. */
export interface Ending {
  done(result: ExchangeResult): void;
  /** The upstream has failed before its head. `error` is a SidekeyError, or a fault of Sidekey itself. */
  failed(error: unknown): void;
}

/** A request that is ready for its upstream, and the parts that forward it. */
export interface Sending<Config = ConfigSnapshot> extends Ending {
  readonly request: UpstreamRequest;
  /** Receives the response. */
  readonly reply: Reply;
  readonly config: Config;
  readonly meter: Meter;
  readonly credentials: Credentials;
}

/** A request body while it is sent: counted, limited, and kept as far as a repeat may need it. */
export interface RequestBody {
  /** Stream of the body; null if there is no body. Throws SidekeyError `body_too_large`. */
  readonly stream: AsyncIterable<Buffer> | null;
  /** Returns the whole body if all of it was received and kept, so that it can be repeated. */
  whole(): { readonly copy: Buffer | null } | null;
  /**
   * Returns the whole body from its first byte, with the pieces that are still to come; null: received pieces
   * were not kept. The reader of the body continues with this.
   */
  again(): { readonly copy: AsyncIterable<Buffer> | null } | null;
}

/** A request, and the parts that an attempt to send it needs. Values change only between attempts. */
export interface AttemptContext
  extends
    Pick<Sending, 'reply' | 'meter' | 'credentials'>,
    Pick<ConfigSnapshot, 'limits' | 'connections' | 'streams'> {
  readonly request: UpstreamRequest;
  /** The incoming body, or the copy that was kept; null if the body is empty. */
  readonly sent: AsyncIterable<Buffer> | Buffer | null;
  readonly body: RequestBody;
  /** True if the upstream should send a 100, because the client still waits for one. */
  readonly isExpecting: boolean;
  /** True if a 401 may have the token renewed and the request sent again. */
  readonly mayRenew: boolean;
  /** Responses that count as a 401. */
  readonly expiredSigns: readonly ExpiredSign[];
  /** True if the request may be sent again with a new DPoP nonce. */
  readonly mayProve: boolean;
  /** True if a pooled connection closed during this request, so that it needs a new connection. */
  readonly fresh: boolean;
  /** The attempt has ended. */
  ended(end: AttemptEnd): void;
  /** The upstream has failed before its head. */
  failed(error: Error): void;
}

/** The end of an attempt. */
export type AttemptEnd =
  | { readonly kind: 'done'; readonly carried: ExchangeResult }
  /** The token had ended, and the request has a newer one. */
  | { readonly kind: 'renewed'; readonly request: UpstreamRequest; readonly sent: AttemptContext['sent'] }
  /** A 401 came that requires another proof, and has a nonce for it. */
  | { readonly kind: 'proved'; readonly sent: AttemptContext['sent'] }
  /**
   * The connection ended under a request that is safe to repeat (RFC 9110 §9.2.2), or the upstream has not
   * processed the request (RFC 9113 §8.7).
   */
  | { readonly kind: 'lost'; readonly error: SidekeyError; readonly sent: AttemptContext['sent'] }
  /** The upstream accepts the request only over HTTP/1.1. */
  | { readonly kind: 'downgraded'; readonly sent: AttemptContext['sent'] };

/** Milliseconds without an answer to an expectation, after which the client may send its body anyway. */
export const expectationMs = 2_000;

/** A piece, and the next link. A reference to a link keeps all later ones; nothing else keeps them. */
interface Link {
  readonly piece: Buffer;
  next: Promise<Link | null> | null;
}

const nothing = Buffer.alloc(0);

/**
 * Meters a body while it is read.
 * @param keep bytes to keep; a longer body cannot be repeated
 * @param most maximum bytes; 0: no limit
 */
export function meteredBody(
  source: AsyncIterable<Buffer>,
  keep: number,
  most: number,
  meter: Meter,
): RequestBody {
  const pieces = source[Symbol.asyncIterator]();
  let first: Link | null = { piece: nothing, next: null };
  let copies: Buffer[] | null = [];
  let bytes = 0;
  let ended = false;

  async function pull(): Promise<Link | null> {
    const { done, value } = await pieces.next();
    if (done === true) {
      ended = true;
      return null;
    }
    bytes += value.length;
    meter.received(value.length);
    if (most > 0 && bytes > most) throw bodyTooLarge(most);
    if (bytes > keep) first = copies = null;
    else copies?.push(value);
    return { piece: value, next: null };
  }
  /** @param at the only reference to a link: a variable for the first link would keep the whole body */
  async function* from(at: Link | null): AsyncGenerator<Buffer> {
    while (at !== null) {
      // One that waits for the next piece already, and wants it no more, does not take it from this one.
      at = await (at.next ??= pull());
      if (at !== null) yield at.piece;
    }
  }
  return {
    stream: from(first),
    whole: () => (ended && copies !== null ? { copy: bytes === 0 ? null : Buffer.concat(copies) } : null),
    again: () => (first === null ? null : { copy: from(first) }),
  };
}

/** A body to be sent, as its head frames it. */
interface UploadBody {
  readonly framing: BodyFraming;
  /** Stream or whole body; null if the body is empty. */
  readonly pieces: AsyncIterable<Buffer> | Buffer | null;
  /** Called after the last piece. */
  readonly trailers: () => RawFields;
}

/** Destination of a body. */
interface UploadTarget {
  /** Returns false if the target accepts no more until it has drained. */
  write(piece: Buffer): boolean;
  /** Ends the body after its last piece. */
  end(trailers: RawFields): void;
}

/** The end of a body, before its trailers. */
const noMoreChunks = Buffer.from('0\r\n');
const noTrailers = Buffer.from(lastChunk);

/** An HTTP/1.1 connection as the target of a body. The framing marks the end of the body. */
export function framedFor(
  { kind }: BodyFraming,
  connection: Pick<UpstreamConnection, 'write'>,
): UploadTarget {
  if (kind !== 'chunked') return { write: (piece) => connection.write(piece), end() {} };
  return {
    write(piece) {
      connection.write(chunkStart(piece.length));
      connection.write(piece);
      return connection.write(chunkEnd);
    },
    end: (trailers) => void connection.write(endOf(trailers)),
  };
}

/** Returns the body to send. If it contains the credential, it is rewritten while it streams. */
export function uploadOf({ request, sent }: AttemptContext): UploadBody {
  const { framing, rewriteBody, carriedIn } = request;
  return {
    framing,
    pieces: rewriteBody === undefined ? sent : rewriteBody(listOf(sent)),
    trailers: () => withoutNamed(trailerFields(request.trailers?.() ?? []), carriedIn),
  };
}

/** Removes trailers that a recipient could take for the field of the credential. */
function withoutNamed(trailers: RawFields, names: ReadonlySet<string> | undefined): RawFields {
  if (trailers.length === 0 || names === undefined) return trailers;
  const removed = new FieldNames(names);
  return withoutFields(trailers, (name) => removed.has(name));
}

/** Sends one request body to an upstream; reads no more of it than that takes. */
export class Upload {
  /** True if the whole body was written. */
  isSent = false;
  /** True if the upload waits for the next piece of the client instead of for the upstream. */
  waitsForPiece = true;
  readonly #target: UploadTarget;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(target: UploadTarget) {
    this.#target = target;
  }

  /**
   * Resolves when all is written, or the upload was stopped. Rejects with the error of the pieces, and with
   * SidekeyError `bad_request` if their size is not the announced one.
   *
   * @param progressed called when the upstream has been given something
   */
  async send({ framing, pieces, trailers }: UploadBody, progressed: () => void): Promise<void> {
    let bytes = 0;
    for await (const piece of listOf(pieces)) {
      if (this.#stopped) return;
      if (piece.length === 0) continue;
      bytes += piece.length;
      if (framing.kind === 'length' && bytes > framing.bytes) throw notAsLong();
      this.waitsForPiece = false;
      if (!this.#target.write(piece)) await this.#drain();
      if (this.#stopped) return;
      this.waitsForPiece = true;
      progressed();
    }
    if (this.#stopped) return;
    if (framing.kind === 'length' && bytes < framing.bytes) throw notAsLong();
    this.#target.end(trailers());
    this.waitsForPiece = false;
    this.isSent = true;
    progressed();
  }

  /** The upstream can receive more. */
  drained(): void {
    this.#drained?.();
    this.#drained = null;
  }

  /** Sends nothing more. */
  stop(): void {
    this.#stopped = true;
    this.drained();
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }
}

function listOf(pieces: UploadBody['pieces']): AsyncIterable<Buffer> | Iterable<Buffer> {
  if (pieces === null) return [];
  return Buffer.isBuffer(pieces) ? [pieces] : pieces;
}

function endOf(trailers: RawFields): Buffer {
  return trailers.length === 0 ? noTrailers : Buffer.concat([noMoreChunks, fieldSection(trailers)]);
}

function notAsLong(): SidekeyError {
  return new SidekeyError('bad_request', 'The length of the request body differs from its Content-Length.');
}

/** Bytes of a response that are buffered before its connection is paused. */
const maxBufferedBytes = 65_536;

/** A response that is not forwarded yet. */
export class BufferedResponse {
  readonly fields: RawFields;
  readonly reason: string;
  readonly pieces: Buffer[] = [];
  /** Set if the response is complete. */
  trailers: RawFields | null = null;
  /** Set if the response ended too early and the received part may be forwarded. */
  shortened: Error | null = null;
  /** Set if the response must not be forwarded. */
  broken: Error | null = null;
  #bytes = 0;

  constructor(fields: RawFields, reason: string) {
    this.fields = fields;
    this.reason = reason;
  }

  /** Adds a piece. Returns false if more than `most` bytes are buffered, so that reading should stop. */
  add(piece: Buffer, most = maxBufferedBytes): boolean {
    this.pieces.push(piece);
    this.#bytes += piece.length;
    return this.#bytes <= most;
  }
}

/**
 * Describes a failure of an upstream to the client.
 *
 * @param answering whether the first bytes of an answer had come
 */
export function upstreamFailure(error: Error, peer: Peer, answering: boolean): SidekeyError {
  if (error instanceof SidekeyError) return error;
  const notTaken = clientCertificateRefused(peer, error);
  if (notTaken !== null) return notTaken;
  const where = authorityText(peer);
  const failure = (code: UpstreamCode, sentence: string, hint?: Hint) =>
    new SidekeyError(code, sentence, { hint, cause: error });
  // Under TLS 1.3, an alert about our side follows our handshake (RFC 8446 §4.4.2.4).
  if (codeOf(error).startsWith('ERR_SSL_')) return tlsFault(peer, error, { isOpen: true });
  if (isConnectionLoss(error) && !answering) {
    return failure(
      'upstream_unreachable',
      `${where} closed the connection before it answered.`,
      clientCertificateHint(peer),
    );
  }
  return failure('upstream_protocol', `${where} did not answer in HTTP/1.1 as it should.`);
}

/** Failure: the upstream sent nothing within its time limit. */
export function timedOut(
  authority: Authority,
  how: 'did not answer in time' | 'stopped sending',
): SidekeyError {
  return new SidekeyError('upstream_timeout', `${authorityText(authority)} ${how}.`);
}

/** The upstream ended its side of the connection, in good order but too early. */
export class ConnectionEnded extends Error {
  constructor() {
    super('the upstream ended the connection');
  }
}

type UpstreamCode = 'upstream_unreachable' | 'upstream_protocol';

/** Reports whether an error only means that the connection was lost. */
export function isConnectionLoss(error: Error): boolean {
  return error instanceof ConnectionEnded || ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
