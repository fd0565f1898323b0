import type { Presented } from '../agents/authentication.ts';
import type { FailureCode, SidekeyError } from '../lib/errors.ts';
import type { Gone } from '../lib/http2-abort.ts';
import type { Authority } from '../policy/authority.ts';
import type { RawFields } from './fields.ts';
import type { NameSet, ResponseHeadBytes } from './h1/head.ts';

/**
 * The values an exchange works on. They are plain: whatever reads requests off a socket fills them in, and whatever
 * writes responses stands behind `Reply`.
 */

/** The head of a request, as it was read. */
export interface RequestHead {
  readonly method: string;
  /** The request target as it stood in the request line; of HTTP/2 `:path`. */
  readonly target: string;
  /** `other` is refused. */
  readonly version: '1.0' | '1.1' | '2' | 'other';
  /** `:authority` of HTTP/2; absent: there was none. */
  readonly authority?: string | undefined;
  readonly fields: RawFields;
}

/** One request as it arrived. */
export interface InboundRequest {
  readonly head: RequestHead;
  /**
   * The body as it streams; read at most once. `return` lets go of it, so that what still comes can be thrown away.
   * Null where the head announces none.
   */
  readonly body: AsyncIterableIterator<Buffer> | null;
  /** The trailers of the body, as they were read; none before it has ended. Absent: it can have none. */
  readonly trailers?: () => RawFields;
  readonly client: Client;
  /** The request asks for another protocol, and its frames are carried. */
  readonly upgrades?: true;
}

/** The connection that a request came on, perhaps with others at once. */
export interface Client {
  /** Address and port. */
  readonly address: string;
  readonly loopback: boolean;
  /** Null outside CONNECT. */
  readonly tunnel: InterceptedTunnel | null;
}

/** What is known of a CONNECT that is being intercepted. */
export interface InterceptedTunnel {
  /** The one authority of everything inside. */
  readonly authority: Authority;
  /** The host of the client's SNI; null: it sent none, or speaks no TLS. */
  readonly serverName: string | null;
  /** What the caller showed at CONNECT; checked again for each request. */
  readonly presented: Presented;
}

/** Where the response goes. */
export interface Reply {
  /** Whether a final head was sent: from then on a failure can only cut the connection. */
  readonly started: boolean;
  readonly gone: Gone;
  /** As `gone`, for a request that waits for long: from now on a client that ends its side has left, too. */
  waiting(): Gone;
  /** Whether the client waits for a 100 before it sends its body (RFC 9110 §10.1.1). */
  readonly waits: boolean;
  /**
   * Tells a client that waits to send its body.
   *
   * @param isSending whether it does so already, and need not be told
   */
  continue(isSending?: boolean): void;
  /** An interim response (1xx) other than 100 and 101. */
  informational(status: number, fields: RawFields): void;
  /** Before the head: that the connection ends with this response, and nothing more is read from it. */
  last(): void;
  head(status: number, reason: string, fields: RawFields): void;
  /**
   * As `head`, with one that was read, which is good until this returns. Absent, or `false`: it is to be given as fields.
   *
   * @param drop fields that do not go on, besides those of one connection
   * @param added fields of our own, behind the others
   */
  pass?(head: ResponseHeadBytes, drop: NameSet, added?: RawFields): boolean;
  /** Whether `write` is done with a chunk when it returns. Absent: a chunk must not change from then on. */
  readonly copies?: true;
  /** False: wait for `onDrain` before the next one. */
  write(chunk: Buffer): boolean;
  onDrain(listener: () => void): void;
  /** `flushed` is called when the client's connection has taken all of it; never where the client left before. */
  end(trailers: RawFields, flushed?: () => void): void;
  /** Cuts the connection, so that a response that is not complete cannot be taken for one that is. */
  abort(): void;
}

/** How carrying a request to its upstream ended. */
export interface ExchangeResult {
  readonly status: number;
  /** Body bytes from the client and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** `broken`: the upstream failed after its head; `gone`: the client left. */
  readonly outcome: 'complete' | 'broken' | 'gone';
  /** Why Sidekey itself cut the connection; absent: it did not. */
  readonly code?: FailureCode;
}

/** Adds bytes to what was used of budgets. Answers why no more may go through; null: it may. */
export type Spend = (bytes: number) => SidekeyError | null;

/** So many bytes of one exchange go through at most before they are settled. */
const stepBytes = 1_048_576;

/**
 * Counts the bytes of both bodies of one exchange as they go through, and settles them with the budgets that they count
 * against: in steps, since a stream may never end, and whatever the end is.
 */
export interface Meter {
  /** From the client, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Times that the credential was found in what came back. */
  readonly echoes: number;
  /** Counts a piece before it goes on. */
  received(bytes: number): void;
  sent(bytes: number): void;
  echoed(times: number): void;
  /** Settles what was counted since the last time. */
  settle(): void;
  /** Who ends the exchange when a settlement overdraws a budget, or echoes are too many. The last one who says so is told, perhaps again. */
  onOverdrawn(stop: (why: SidekeyError) => void): void;
  /** Settles what is left, and stops nobody any more. */
  close(): void;
}

/**
 * @param spend absent: bytes count against nothing
 * @param countEcho absent: echoes do not
 */
export function createMeter(spend?: Spend, countEcho?: () => Promise<SidekeyError | null>): Meter {
  return new CountingMeter(spend, countEcho);
}

class CountingMeter implements Meter {
  bytesIn = 0;
  bytesOut = 0;
  echoes = 0;
  readonly #spend: Spend | undefined;
  readonly #countEcho: (() => Promise<SidekeyError | null>) | undefined;
  #settled = 0;
  #barred: SidekeyError | null = null;
  #stop: (why: SidekeyError) => void = ignore;

  constructor(spend: Spend | undefined, countEcho: (() => Promise<SidekeyError | null>) | undefined) {
    this.#spend = spend;
    this.#countEcho = countEcho;
  }

  received(bytes: number): void {
    this.bytesIn += bytes;
    this.#settleInSteps();
  }

  sent(bytes: number): void {
    this.bytesOut += bytes;
    this.#settleInSteps();
  }

  echoed(times: number): void {
    this.echoes += times;
    if (times === 0) return;
    // What has left was redacted: the exchange need not wait for the count, and ends at the next echo.
    if (this.#barred !== null) this.#stop(this.#barred);
    else
      void this.#countEcho?.().then((refusal) => {
        this.#barred = refusal;
      });
  }

  settle(): void {
    const bytes = this.bytesIn + this.bytesOut - this.#settled;
    if (this.#spend === undefined || bytes === 0) return;
    this.#settled += bytes;
    const refusal = this.#spend(bytes);
    if (refusal !== null) this.#stop(refusal);
  }

  onOverdrawn(stop: (why: SidekeyError) => void): void {
    this.#stop = stop;
  }

  close(): void {
    this.#stop = ignore;
    this.settle();
  }

  #settleInSteps(): void {
    if (this.bytesIn + this.bytesOut - this.#settled >= stepBytes) this.settle();
  }
}

function ignore(): void {}
