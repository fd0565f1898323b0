import { constants, sensitiveHeaders, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { SidekeyError } from '../../errors.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import { Deadline, type Clock } from '../deadline.ts';
import { giveUp } from '../../given-up-stream.ts';
import { lossOf } from './stream-loss.ts';
import type { StreamHead, StreamUser, UpstreamStream } from './stream.ts';

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
