import { hopByHop, type RawFields, trailerFields, withoutFields } from './http/fields.ts';
import { announcesInVain, type BodyFraming } from './http/framing.ts';
import { chunkEnd, chunkStart, isOneLine, lastChunk, fieldSection } from './http/h1/write.ts';
import type { ResponseHeadBytes } from './http/head.ts';
import type { ExchangeResult, Meter, Reply } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import { clientCertificateHint, clientCertificateRefused, type Peer } from './policy/peer.ts';
import { FieldNames, isFieldName } from './policy/text.ts';
import type { UpstreamConnection } from './upstream/h1-connection.ts';
import type { StreamHead } from './upstream/h2-stream.ts';
import type { CredentialRenewal } from './credential.ts';
import type { UpstreamRequest } from './request.ts';
import type { ConfigSnapshot } from './services.ts';

/** Reports whether a status says that the credential was not enough (RFC 6750 §3.1). */
export function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

/** Parts of a request from which its head is built. */
type SentRequest = Pick<
  UpstreamRequest,
  'authority' | 'method' | 'path' | 'fields' | 'planned' | 'framing' | 'protocol' | 'carriedIn' | 'conceal'
>;

/**
 * Returns the field section of a request for HTTP/1.1, and checks its method and path.
 *
 * @param isExpecting whether the upstream is asked for a 100 before the body (RFC 9110 §10.1.1)
 * @throws SidekeyError `bad_request` where it would not be one head of one request
 */
export function requestSection(
  { method, path, fields, planned, protocol }: SentRequest,
  isExpecting = false,
): Buffer {
  checkTarget(path);
  if (!isOneLine(method)) throw cannotBeForwarded();
  // `TE` applies to one connection of HTTP/1.1. Clients of HTTP/2 get trailers in any case.
  const accepted = protocol === 'h2' ? withoutFields(fields, (name) => name === 'te') : fields;
  const sent = isExpecting ? [...accepted, 'Expect', '100-continue'] : accepted;
  try {
    return (sent === fields ? planned?.section(fields) : null) ?? fieldSection(sent);
  } catch (cause) {
    throw cannotBeForwarded(cause);
  }
}

/** Fields that header compression must not index, because others could guess the values by the size. */
const secrets = ['authorization', 'cookie'];

/**
 * The head of a request as it opens a stream of HTTP/2 (RFC 9113 §8.3.1).
 *
 * @throws SidekeyError `bad_request` as `requestSection`
 */
export function streamHead(
  { authority, method, path, fields, framing, carriedIn, conceal }: SentRequest,
  isExpecting = false,
): StreamHead {
  checkTarget(path);
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

function checkTarget(path: string): void {
  // A space would end the target.
  if (!path.startsWith('/') || path.includes(' ') || !isOneLine(path)) throw cannotBeForwarded();
}

function cannotBeForwarded(cause?: unknown): SidekeyError {
  return new SidekeyError('bad_request', 'The request has a field or a target that cannot be forwarded.', {
    cause,
  });
}

/** The fields of a final head. Removes the length that a 204 must not have. */
export function endToEndFields(head: ResponseHeadBytes): RawFields {
  const fields = head.raw();
  if (head.status !== 204 || !announcesInVain(head)) return fields;
  return withoutFields(fields, (name) => name === 'content-length');
}

/** `timeout` of a response's `Keep-Alive`, in milliseconds; null if absent. */
export function keptFor(head: ResponseHeadBytes): number | null {
  const value = head.first('keep-alive');
  if (value === null) return null;
  const seconds = /(?:^|[\s,;])timeout\s*=\s*"?([0-9]{1,9})/i.exec(value)?.[1];
  return seconds === undefined ? null : Number(seconds) * 1_000;
}

/** Calls of a forwarder back into the credential stages, with the request that its upstream refused. */
export type Credentials = Pick<CredentialRenewal, 'renew' | 'prove' | 'readProof' | 'consentHint'>;

/** Receives the result of forwarding a request, once. */
export interface Ending {
  done(result: ExchangeResult): void;
  /** The upstream has failed before its head. `error` is a SidekeyError, or a fault of Sidekey itself. */
  failed(error: unknown): void;
}

/** A request that is ready for its upstream, and the parts that forward it. */
export interface Sending<Config = ConfigSnapshot> {
  readonly request: UpstreamRequest;
  /** Receives the response. */
  readonly reply: Reply;
  readonly config: Config;
  readonly meter: Meter;
  readonly credentials: Credentials;
  readonly ending: Ending;
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
  /** True if a 401 may have the token renewed and the request sent again. */
  readonly mayRenew: boolean;
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
  /** A 401 came, and the request has a newer token. */
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

/** Reports whether the upstream should send a 100, because the client still waits for one. */
export function expects(it: AttemptContext): boolean {
  return it.reply.expectsContinue && it.request.framing.kind !== 'none';
}

/** Reports whether a request may be repeated without consent of its upstream (RFC 9110 §9.2.1). */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
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
export function framedFor({ kind }: BodyFraming, connection: UpstreamConnection): UploadTarget {
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
  if (codeOf(error).startsWith('ERR_SSL_')) {
    const sentence = `The TLS connection to ${where} failed (${codeOf(error)}).`;
    // Under TLS 1.3 a server says so when the handshake is over for us (RFC 8446 §4.4.2.4).
    const hint = codeOf(error).includes('CERTIFICATE_REQUIRED')
      ? 'it asks for a client certificate: see upstream.client_certificates'
      : undefined;
    return new SidekeyError('upstream_tls', sentence, { hint, cause: error });
  }
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

type UpstreamCode = 'upstream_tls' | 'upstream_unreachable' | 'upstream_protocol';

/** Reports whether an error only means that the connection was lost. */
export function isConnectionLoss(error: Error): boolean {
  return error instanceof ConnectionEnded || ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
