/** Shapes of the methods of the client. */

export interface CallOptions {
  readonly signal?: AbortSignal | null | undefined;
  /** Milliseconds until the head of the response, retries included; default: that of the client. */
  readonly timeoutMs?: number | undefined;
  /** `Idempotency-Key` of a POST; default: a random one, so that a retry does not do the work twice. */
  readonly idempotencyKey?: string | undefined;
  /** ETag that the resource must still have. */
  readonly ifMatch?: string | undefined;
  /** Receives the header fields of the response, such as `ETag`. */
  readonly onHeaders?: ((headers: Headers) => void) | undefined;
}

/** Optional if each member of the input is. */
type Parts<Input> = object extends Input
  ? [input?: Input, options?: CallOptions]
  : [input: Input, options?: CallOptions];

/** A method of the client. */
export type Call<Input, Result> = (...parts: Parts<Input>) => Promise<Result>;

/** A method whose entries may be on several pages, or have no end. */
export type Entries<Input, Entry> = (...parts: Parts<Input>) => AsyncGenerator<Entry, void, undefined>;
