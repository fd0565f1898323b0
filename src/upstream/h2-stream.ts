import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, sensitiveHeaders } from 'node:http2';
import { SidekeyError } from '../lib/errors.ts';
import { giveUp } from '../lib/http2-abort.ts';
import { type Clock, Deadline } from '../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';

/** A request as it opens a stream. */
export interface StreamHead {
  /** Names in lower case and values in turn, the pseudo fields first (RFC 9113 §8.3.1). */
  readonly fields: readonly string[];
  /** Names of fields that no table of a compressor may remember (RFC 7541 §7.1.3). */
  readonly neverIndexed: readonly string[];
  /** Whether nothing comes behind the head. */
  readonly isWhole: boolean;
}

/** One request and its response on a session, in the hands of one user. */
export interface UpstreamStream {
  /** False: wait for `drained`. Nothing is to be written that is empty. */
  write(bytes: Buffer): boolean;
  /** Ends the request, behind these trailers. */
  end(trailers: readonly string[]): void;
  /** Reads no more for now; what was read already may still come. The session goes on for its other streams. */
  pause(): void;
  resume(): void;
  /** `expired` is called in so many milliseconds, unless it is set anew before. */
  deadline(ms: number): void;
  /** Tells the upstream that nothing more is wanted. Its user hears no more of it. */
  destroy(): void;
}

/**
 * How a stream ended too early. `unprocessed`: its upstream says that it has done nothing with the request, so it may be
 * sent again whatever it is (RFC 9113 §8.7); `http_1_1_required`: the same, and that it is to come in HTTP/1.1.
 */
export interface StreamLoss {
  readonly how: 'unprocessed' | 'http_1_1_required' | 'lost';
  readonly error: Error;
}

/** Who uses a stream, and waited for it before. */
export interface StreamUser {
  /** What opens it. */
  readonly head: StreamHead;
  /** It is open. */
  opened(stream: UpstreamStream): void;
  /** There is none to be had: a SidekeyError says why; `http/1.1`: that is what the upstream speaks. */
  unopened(why: Error | 'http/1.1'): void;
  /** An interim response (1xx). */
  interim(status: number, fields: readonly string[]): void;
  /** The final head, without its pseudo fields. What stands behind it is told by `received`, if it is not whole by now. */
  answered(status: number, fields: readonly string[]): void;
  /** A piece of the body; it may be kept. */
  received(piece: Buffer): void;
  /** The response is whole. The request may not be: then the stream is to be destroyed. */
  whole(trailers: readonly string[]): void;
  /** What was written has gone, and more may be. */
  drained(): void;
  /** The deadline has passed. */
  expired(): void;
  /** The stream is gone. */
  lost(loss: StreamLoss): void;
}

/** What a stream asks of its session. */
export interface StreamHome {
  readonly authority: Authority;
  readonly clock: Clock;
  /** Bytes that a head, or trailers, may have. */
  readonly headBytes: number;
  /** Whether its upstream has said that it does nothing with this stream. */
  isUnprocessed(id: number | undefined): boolean;
  /** Whether it is gone, and all its streams with it. */
  readonly isGone: boolean;
}

/** A stream of node's, told to its user. */
export class SessionStream implements UpstreamStream {
  readonly #native: ClientHttp2Stream;
  readonly #home: StreamHome;
  readonly #user: StreamUser;
  readonly #deadline: Deadline;
  #trailersToSend: readonly string[] = [];
  #trailers: readonly string[] = [];
  /** Whether the upstream has ended the response by END_STREAM. */
  #hasEnded = false;
  #error: Error | null = null;
  /** Whether its user hears no more of it. */
  #over = false;

  constructor(native: ClientHttp2Stream, home: StreamHome, user: StreamUser) {
    this.#native = native;
    this.#home = home;
    this.#user = user;
    this.#deadline = new Deadline(home.clock, () => this.#tell(() => user.expired()));
    this.#noticeEnd();
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
    if (!this.#over) this.#deadline.set(ms);
  }

  destroy(): void {
    this.#finish();
    // Never while node reads for the session: a stream with a body to be sent that is closed in there by CANCEL, and ended
    // by its upstream in the same read, ends the process (an assertion in node's `Http2Stream::OnTrailers`).
    setImmediate(() => {
      giveUp(this.#native, constants.NGHTTP2_CANCEL);
      // Node closes no stream before all of it was read: one that was paused would keep its place, and its session, for ever.
      this.#native.resume();
    });
  }

  /**
   * A reset without an error in the middle of a body ends node's stream as END_STREAM does. What tells them apart is
   * that a stream which was reset is closed before its end is put in.
   */
  #noticeEnd(): void {
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
    // In the same turn: a head that is all has to go on as one (gRPC knows such answers by that).
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#whole();
  }

  /** Node asks the upstream to send no more, and takes it if it does. */
  #isTooLong(raw: readonly string[]): boolean {
    const { headBytes, authority } = this.#home;
    const size = raw.reduce((sum, text) => sum + text.length, 0);
    if (size <= headBytes) return false;
    const sentence = `${authorityText(authority)} sent a head of more than ${headBytes} bytes.`;
    const error = new SidekeyError('upstream_protocol', sentence);
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
      this.#user.lost(lossOf(this.#native, this.#error, this.#home));
    });
  }

  #finish(): void {
    this.#over = true;
    this.#deadline.stop();
  }

  /** Whatever a user fails at costs this stream, and not the process. */
  #tell(what: () => void): void {
    if (this.#over) return;
    try {
      what();
    } catch (error) {
      this.destroy();
      this.#user.lost({ how: 'lost', error: error as Error });
    }
  }
}

/** What `request` of a session takes, with what it is not to remember. */
export function requestFieldsOf({ fields, neverIndexed }: StreamHead): readonly string[] {
  return Object.assign([...fields], { [sensitiveHeaders]: neverIndexed });
}

function statusOf(fields: IncomingHttpHeaders): number {
  return Number(fields[':status'] ?? 0);
}

function withoutPseudo(raw: readonly string[]): readonly string[] {
  return raw.filter((_text, index) => !raw[index - (index % 2)]!.startsWith(':'));
}

function trailerObject(trailers: readonly string[]): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  for (let i = 0; i < trailers.length; i += 2)
    (fields[trailers[i]!.toLowerCase()] ??= []).push(trailers[i + 1]!);
  return fields;
}

/**
 * Why a stream has closed that was not whole, and whether its upstream has done anything with the request.
 *
 * @param error what node said of it; null: nothing
 */
function lossOf(
  { rstCode, id }: Pick<ClientHttp2Stream, 'rstCode' | 'id'>,
  error: Error | null,
  home: Pick<StreamHome, 'authority' | 'isGone' | 'isUnprocessed'>,
): StreamLoss {
  if (home.isUnprocessed(id) || neverSent.has(codeOf(error)))
    return { how: 'unprocessed', error: connectionLost() };
  if (isOfSession(error)) return { how: 'lost', error: ofSession(error, home.authority) };
  if (rstCode === constants.NGHTTP2_REFUSED_STREAM)
    return { how: 'unprocessed', error: wasReset(rstCode, home.authority) };
  if (home.isGone) return { how: 'lost', error: connectionLost() };
  const how = rstCode === constants.NGHTTP2_HTTP_1_1_REQUIRED ? 'http_1_1_required' : 'lost';
  return { how, error: wasReset(rstCode, home.authority) };
}

/** Errors of node's for a stream that it did not open. */
const neverSent: ReadonlySet<string> = new Set([
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_INVALID_SESSION',
  'ERR_HTTP2_OUT_OF_STREAMS',
  'ERR_HTTP2_STREAM_CANCEL',
]);

/** Whether an error is of the whole session, and not of this stream alone. */
function isOfSession(error: Error | null): error is Error {
  return error !== null && codeOf(error) !== 'ERR_HTTP2_STREAM_ERROR';
}

function ofSession(error: Error, authority: Authority): Error {
  const code = codeOf(error);
  // It said goodbye, with a reason.
  if (code === 'ERR_HTTP2_SESSION_ERROR') return connectionLost();
  if (!code.startsWith('ERR_HTTP2_')) return error;
  const sentence = `${authorityText(authority)} did not speak HTTP/2 as it should.`;
  return new SidekeyError('upstream_protocol', sentence, { cause: error });
}

/** The names of error codes, in their order (RFC 9113 §7). */
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

function wasReset(code: number | undefined, authority: Authority): SidekeyError {
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
