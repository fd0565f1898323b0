import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, sensitiveHeaders } from 'node:http2';
import { withoutFields } from '../http/fields.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { resetStream } from '../http/message.ts';
import { type Clock, Deadline } from '../../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';

/** The head of a request that opens a stream. */
export interface StreamHead {
  /** Lower-case names and values in turn, pseudo-header fields first (RFC 9113 §8.3). */
  readonly fields: readonly string[];
  /** Names of fields that must not enter a dynamic table (RFC 7541 §7.1.3). */
  readonly neverIndexed: readonly string[];
  /** True if neither body nor trailers follow the head. */
  readonly isWhole: boolean;
}

/** A request and its response on a session, for their user. */
export interface UpstreamStream {
  /** True if its session had another stream before. */
  readonly isReused: boolean;
  /** Returns false if the user must wait for `drained`. `bytes` must not be empty. */
  write(bytes: Buffer): boolean;
  /** Ends the request with these trailers. */
  end(trailers: readonly string[]): void;
  /** Stops reading only this stream. Bytes that were already read may still be delivered. */
  pause(): void;
  resume(): void;
  /** Sets the deadline: milliseconds from this call until `expired`. */
  deadline(ms: number): void;
  /** Cancels the stream. Its user receives no further calls. */
  destroy(): void;
}

/**
 * Reason that a stream ended early. `unprocessed`: the upstream has not processed the request, so any request
 * may be repeated (RFC 9113 §8.7). `http_1_1_required`: the same, but only over HTTP/1.1.
 */
export interface StreamLoss {
  readonly how: 'unprocessed' | 'http_1_1_required' | 'lost';
  readonly error: Error;
}

/** The user of a stream, who first waits for one. */
export interface StreamUser {
  /** The head of the request. */
  readonly head: StreamHead;
  /** The stream is open. */
  opened(stream: UpstreamStream): void;
  /** The user gets no stream: `why` is a SidekeyError, or the upstream speaks HTTP/1.1. */
  unopened(why: Error | 'http/1.1'): void;
  /** An interim response (1xx). */
  interim(status: number, fields: readonly string[]): void;
  /** The final head, without pseudo-header fields. `received` or `whole` follow. */
  answered(status: number, fields: readonly string[]): void;
  /** A chunk of the body. The user may keep it. */
  received(piece: Buffer): void;
  /** The response is complete. If the request is not, the user must destroy the stream. */
  whole(trailers: readonly string[]): void;
  /** The buffered bytes are written. The user may write more. */
  drained(): void;
  /** The deadline has passed. */
  expired(): void;
  /** The stream ended early. */
  lost(loss: StreamLoss): void;
}

/** The session of a stream. */
export interface StreamContext {
  readonly authority: Authority;
  readonly clock: Clock;
  /** Maximum size of a head or of trailers, in bytes. */
  readonly headBytes: number;
  /** Reports whether the upstream declared that it did not process this stream. */
  isUnprocessed(id: number | undefined): boolean;
  /** True if the session and all its streams are closed. */
  readonly isGone: boolean;
}

/** A stream of node. Calls the methods of its user. */
export class SessionStream implements UpstreamStream {
  readonly #native: ClientHttp2Stream;
  readonly #context: StreamContext;
  readonly #user: StreamUser;
  readonly #deadline: Deadline;
  #trailersToSend: readonly string[] = [];
  #trailers: readonly string[] = [];
  /** True if the upstream ended the response with END_STREAM. */
  #hasEnded = false;
  #error: Error | null = null;
  /** True if its user receives no further calls. */
  #isOver = false;

  constructor(native: ClientHttp2Stream, context: StreamContext, user: StreamUser) {
    this.#native = native;
    this.#context = context;
    this.#user = user;
    this.#deadline = new Deadline(context.clock, () => this.#tell(() => user.expired()));
    this.#detectEndStream();
    native.on('headers', (fields, _flags, raw) => this.#interim(fields, raw));
    native.on('response', (fields, flags, raw) => this.#answered(fields, flags, raw));
    native.on('trailers', (_fields, _flags, raw) => {
      if (!this.#isTooLong(raw)) this.#trailers = withoutPseudo(raw);
    });
    native.on('data', (piece: Buffer) => this.#tell(() => user.received(piece)));
    native.on('end', () => {
      if (this.#hasEnded) this.#whole();
    });
    native.on('drain', () => this.#tell(() => user.drained()));
    native.on('wantTrailers', () => native.sendTrailers(trailerObject(this.#trailersToSend)));
    native.on('error', (error) => void (this.#error = error));
    native.on('close', () => this.#closed());
  }

  get isReused(): boolean {
    return (this.#native.id ?? 1) > 1;
  }

  write(bytes: Buffer): boolean {
    return this.#native.write(bytes);
  }

  end(trailers: readonly string[]): void {
    this.#trailersToSend = trailers;
    this.#native.end();
  }

  pause(): void {
    this.#native.pause();
  }

  resume(): void {
    this.#native.resume();
  }

  deadline(ms: number): void {
    if (!this.#isOver) this.#deadline.set(ms);
  }

  destroy(): void {
    this.#finish();
    // Not while node reads for the session. If the upstream ends an unfinished body in the read in which it
    // is closed by CANCEL, an assertion in node's `Http2Stream::OnTrailers` ends the process.
    setImmediate(() => {
      resetStream(this.#native, constants.NGHTTP2_CANCEL);
      // Node closes a stream only after reading all of it: a paused one would block its session forever.
      this.#native.resume();
    });
  }

  /**
   * A reset without an error in the middle of a body ends node's stream like END_STREAM. The difference: node
   * closes a stream that was reset before it pushes its end.
   */
  #detectEndStream(): void {
    const native = this.#native;
    const push = native.push.bind(native);
    native.push = (piece: unknown, encoding?: BufferEncoding) => {
      if (piece === null && !native.closed && !native.destroyed) this.#hasEnded = true;
      return push(piece, encoding);
    };
  }

  #interim(fields: IncomingHttpHeaders, raw: readonly string[]): void {
    const status = statusOf(fields);
    if (this.#isTooLong(raw)) return;
    if (status >= 100 && status < 200) this.#tell(() => this.#user.interim(status, withoutPseudo(raw)));
  }

  #answered(fields: IncomingHttpHeaders, flags: number, raw: readonly string[]): void {
    if (this.#isTooLong(raw)) return;
    this.#tell(() => this.#user.answered(statusOf(fields), withoutPseudo(raw)));
    // In the same turn: a response of only a head must be forwarded as such (gRPC "Trailers-Only").
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#whole();
  }

  /** Node advertises the limit, but does not enforce it. */
  #isTooLong(raw: readonly string[]): boolean {
    const { headBytes, authority } = this.#context;
    const size = raw.reduce((sum, text) => sum + text.length, 0);
    if (size <= headBytes) return false;
    const sentence = `${authorityText(authority)} sent a head of more than ${headBytes} bytes.`;
    const error = new SidekeyError('upstream_protocol', sentence, { hint: 'raise limits.head_bytes' });
    this.#tell(() => {
      this.destroy();
      this.#user.lost({ how: 'lost', error });
    });
    return true;
  }

  #whole(): void {
    const trailers = this.#trailers;
    this.#tell(() => {
      this.#finish();
      this.#user.whole(trailers);
    });
  }

  #closed(): void {
    this.#tell(() => {
      this.#finish();
      this.#user.lost(lossOf(this.#native, this.#error, this.#context));
    });
  }

  #finish(): void {
    this.#isOver = true;
    this.#deadline.stop();
  }

  /** Closes this stream after an exception of its user, which must not end the process. */
  #tell(what: () => void): void {
    if (this.#isOver) return;
    try {
      what();
    } catch (error) {
      this.destroy();
      this.#user.lost({ how: 'lost', error: error as Error });
    }
  }
}

/** Returns the argument for node's `request`, with the fields that must not enter a dynamic table. */
export function requestFieldsOf({ fields, neverIndexed }: StreamHead): readonly string[] {
  return Object.assign([...fields], { [sensitiveHeaders]: neverIndexed });
}

function statusOf(fields: IncomingHttpHeaders): number {
  return Number(fields[':status'] ?? 0);
}

function withoutPseudo(raw: readonly string[]): readonly string[] {
  return withoutFields(raw, (name) => name.startsWith(':'));
}

function trailerObject(trailers: readonly string[]): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  for (let i = 0; i < trailers.length; i += 2)
    (fields[trailers[i]!.toLowerCase()] ??= []).push(trailers[i + 1]!);
  return fields;
}

/**
 * Returns the reason for which an incomplete stream closed, and whether its upstream processed the request.
 *
 * @param error the error that node emitted, if any
 */
function lossOf(
  { rstCode, id }: Pick<ClientHttp2Stream, 'rstCode' | 'id'>,
  error: Error | null,
  context: Pick<StreamContext, 'authority' | 'isGone' | 'isUnprocessed'>,
): StreamLoss {
  if (context.isUnprocessed(id) || neverSentCodes.has(codeOf(error)))
    return { how: 'unprocessed', error: connectionLost() };
  if (isSessionError(error)) return { how: 'lost', error: sessionError(error, context.authority) };
  if (rstCode === constants.NGHTTP2_REFUSED_STREAM)
    return { how: 'unprocessed', error: streamReset(rstCode, context.authority) };
  if (context.isGone) return { how: 'lost', error: connectionLost() };
  const how = rstCode === constants.NGHTTP2_HTTP_1_1_REQUIRED ? 'http_1_1_required' : 'lost';
  return { how, error: streamReset(rstCode, context.authority) };
}

/** Node's errors for a stream that was never sent. */
const neverSentCodes: ReadonlySet<string> = new Set([
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_INVALID_SESSION',
  'ERR_HTTP2_OUT_OF_STREAMS',
  'ERR_HTTP2_STREAM_CANCEL',
]);

/** Reports whether an error concerns the whole session. */
function isSessionError(error: Error | null): error is Error {
  return error !== null && codeOf(error) !== 'ERR_HTTP2_STREAM_ERROR';
}

function sessionError(error: Error, authority: Authority): Error {
  const code = codeOf(error);
  // GOAWAY with an error code.
  if (code === 'ERR_HTTP2_SESSION_ERROR') return connectionLost();
  if (!code.startsWith('ERR_HTTP2_')) return error;
  const sentence = `${authorityText(authority)} violated HTTP/2.`;
  return new SidekeyError('upstream_protocol', sentence, { cause: error });
}

/** Names of error codes, by their numbers (RFC 9113 §7). */
const codeNames = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

function streamReset(code: number | undefined, authority: Authority): SidekeyError {
  const why = codeNames[code ?? 0] ?? `code ${code}`;
  const sentence = `${authorityText(authority)} reset the stream of the request (${why}).`;
  return new SidekeyError('upstream_protocol', sentence);
}

function connectionLost(): Error {
  return Object.assign(new Error('the session is gone'), { code: 'ECONNRESET' });
}

function codeOf(error: Error | null): string {
  return error !== null && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
