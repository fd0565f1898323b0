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
