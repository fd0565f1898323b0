import type { Http2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { SidekeyError } from '../lib/errors.ts';
import type { FailureCode } from '../lib/failures.ts';
import type { PeerOwner } from '../lib/os.ts';
import type { Authority } from '../policy/authority.ts';
import type { RawFields } from './fields.ts';
import type { NameSet, RequestHead, ResponseHeadBytes } from './head.ts';

/** Types that the servers in `http/server` and the stages in `proxy` share: a request, its client, and its reply. */

/** One request as it was received. */
export interface InboundRequest {
  readonly head: RequestHead;
  /**
   * The body, which is read at most once. `return` releases it, so that the rest is discarded. Null: the request has no
   * body.
   */
  readonly body: AsyncIterableIterator<Buffer> | null;
  /** Returns the trailers as they were received; none before the body has ended. Absent: the request cannot have any. */
  readonly trailers?: () => RawFields;
  readonly client: Client;
  /** The request is a WebSocket handshake. */
  readonly upgrades?: true;
}

/** The connection of a request. HTTP/2 has several requests on one. */
export interface Client {
  /** Address and port. */
  readonly address: string;
  readonly loopback: boolean;
  /** Returns the owner of a connection of this machine; a promise only at the first call. */
  readonly owner: () => PeerOwner | Promise<PeerOwner>;
  /** Called for each tunnel, and each request outside a tunnel, of an identified caller; absent: nobody counts them. */
  readonly authenticated?: () => void;
  /** Null: the request is outside a CONNECT tunnel. */
  readonly tunnel: InterceptedTunnel | null;
  /** The certificate of the connection to the proxy; absent: the client showed none. */
  readonly certificate?: ShownCertificate | undefined;
}

/** The agent that a client certificate identifies, or a sentence that says why it identifies none. */
export type ShownCertificate =
  | {
      readonly agent: string;
      /** The name in the certificate that identifies it. */
      readonly subject: string;
      /** Milliseconds since the epoch. */
      readonly expiresAt: number;
    }
  | { readonly problem: string };

/** A CONNECT tunnel whose content the proxy reads. */
export interface InterceptedTunnel {
  /** The one authority of all requests inside. */
  readonly authority: Authority;
  /** The host of the client's SNI; null: it sent none, or speaks no TLS. */
  readonly serverName: string | null;
  /** The `Proxy-Authorization` of the CONNECT. It is checked again for each request. */
  readonly presented: Presented;
}

/** A caller's selection among the grants of a domain. It never extends beyond them. */
export interface Selectors {
  /** Id or name of a grant. */
  readonly grant: string | null;
  readonly user: string | null;
}

/**
 * The content of `Proxy-Authorization`. A token of Sidekey is hashed, since this is kept as long as the connection. A JWT is
 * kept: it ends soon, and is verified again when the keys of its issuer or the config change.
 */
export type Presented =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'malformed'; readonly problem: string; readonly hint?: string | undefined }
  | { readonly kind: 'selectors'; readonly selectors: Selectors }
  | {
      readonly kind: 'token';
      /** Null for `Bearer`, which has a token alone. */
      readonly name: string | null;
      readonly tokenHash: Buffer;
      /** The token, where it has the form of a JWT. */
      readonly jwt?: string;
      /** In the place of a token. */
      readonly certificate?: Exclude<ShownCertificate, { readonly problem: string }>;
      readonly selectors: Selectors;
    };

/** A token that the client sent, or that the configuration assumes. */
export type PresentedToken = Presented & {
  readonly kind: 'token';
  /** The client sent no token. */
  readonly assumed?: true;
};

/** The writer of one response. */
export interface Reply {
  /** True if a final head was sent. From then on a failure can only cut the connection. */
  readonly started: boolean;
  readonly gone: Gone;
  /** Returns `gone` for a request that is held: from now on a client that ends its side counts as gone. */
  hold(): Gone;
  /** True if the client waits for a 100 before it sends its body (RFC 9110 §10.1.1). */
  readonly expectsContinue: boolean;
  /**
   * Sends a 100 to a client that waits for it.
   *
   * @param isSending the client sends its body already, and needs no 100
   */
  continue(isSending?: boolean): void;
  /** Sends an interim response (1xx) other than 100 and 101. */
  informational(status: number, fields: RawFields): void;
  /** Closes the connection behind this response: nothing more is read from it. To be called before the head. */
  closeAfter(): void;
  head(status: number, reason: string, fields: RawFields): void;
  /**
   * Sends a head as it was read. The head is valid until this returns. Absent, or `false`: use `head` instead.
   *
   * @param drop fields to remove besides the hop-by-hop ones
   * @param added fields to append
   */
  forwardHead?(head: ResponseHeadBytes, drop: NameSet, added?: RawFields): boolean;
  /** `write` copies a chunk before it returns. Absent: a chunk must not change after `write`. */
  readonly copies?: true;
  /** False: wait for `onDrain` before the next chunk. */
  write(chunk: Buffer): boolean;
  /** Like `write`, with a part of a buffer, which it copies. Absent: use `write` instead. */
  writePart?(bytes: Buffer, start: number, end: number): boolean;
  onDrain(listener: () => void): void;
  /** `flushed` is called when the socket has taken all of it; never where the client left before. */
  end(trailers: RawFields, flushed?: () => void): void;
  /** Cuts the connection, so that no client takes an incomplete response for a complete one. */
  abort(): void;
}

/** The end of an exchange with an upstream. */
export interface ExchangeResult {
  readonly status: number;
  /** Body bytes from the client and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** `broken`: the upstream failed after its head; `gone`: the client left. */
  readonly outcome: 'complete' | 'broken' | 'gone';
  /** Reason why Sidekey itself cut the connection; absent: it did not. */
  readonly code?: FailureCode;
}

/** The client's side of a WebSocket, over HTTP/1.1 or HTTP/2. */
export interface UpgradeSide {
  /** The stream of frames. */
  readonly client: Duplex;
  readonly frames: EarlyFrames;
  /** Fields to add to the client's own in the handshake. */
  readonly asks: RawFields;
  /** Tells the client that frames follow. @throws where the upstream's answer does not match the handshake */
  switched(fields: RawFields): void;
  /** Cuts the connection. */
  cut(): void;
}

/** Frames that a client sends before its handshake is answered. */
export interface EarlyFrames {
  /** The bytes that came with the handshake. */
  readonly early: Buffer;
  /** Puts back what came since, and ends the reading. */
  readonly heard: () => void;
}

/** The limits that an exchange counts against. */
export interface Account {
  /** Adds bytes to the use of budgets. Returns why no more may pass; null: more may. */
  spend(bytes: number): SidekeyError | null;
  /** Counts a leak. Returns why no more requests may be sent; null: they may. */
  countLeak(): Promise<SidekeyError | null>;
}

/** Bytes of one exchange after which they are settled. */
const settlementBytes = 1_048_576;

/**
 * Counts the bytes of both bodies of an exchange, and settles them with the budgets. It settles at each step, since a stream
 * may never end, and once at the end.
 */
export class Meter {
  /** Body bytes from the client, and to it. */
  bytesIn = 0;
  bytesOut = 0;
  /** Number of times that the credential was found in a response. */
  leaks = 0;
  readonly #account: Account | null;
  #settled = 0;
  #refusal: SidekeyError | null = null;
  #stopped: Stoppable | null = null;
  #onBytes: ((bytesIn: number, bytesOut: number) => void) | null = null;

  /** @param account null: bytes and leaks count against no limit */
  constructor(account: Account | null = null) {
    this.#account = account;
  }

  /** Counts a piece from the client. To be called before the piece is forwarded. */
  received(bytes: number): void {
    this.bytesIn += bytes;
    this.#onBytes?.(bytes, 0);
    this.#settleInSteps();
  }

  /** Counts a piece to the client. To be called before the piece is forwarded. */
  sent(bytes: number): void {
    this.bytesOut += bytes;
    this.#onBytes?.(0, bytes);
    this.#settleInSteps();
  }

  addLeaks(times: number): void {
    this.leaks += times;
    if (times === 0) return;
    // The response is redacted already: the exchange does not wait for the count, and ends at the next leak.
    if (this.#refusal !== null) this.#stopped?.stop(this.#refusal);
    else
      void this.#account?.countLeak().then((refusal) => {
        this.#refusal = refusal;
      });
  }

  /** Settles the bytes since the last settlement. */
  settle(): void {
    const bytes = this.bytesIn + this.bytesOut - this.#settled;
    if (this.#account === null || bytes === 0) return;
    this.#settled += bytes;
    const refusal = this.#account.spend(bytes);
    if (refusal !== null) this.#stopped?.stop(refusal);
  }

  /** Sets the work that is stopped at an overdrawn budget, or too many leaks. It may be stopped repeatedly. */
  stops(work: Stoppable): void {
    this.#stopped = work;
  }

  /** Sets the listener that is told of each piece. */
  onBytes(listener: (bytesIn: number, bytesOut: number) => void): void {
    this.#onBytes = listener;
  }

  /** Settles the rest, and stops nobody from then on. */
  close(): void {
    this.#stopped = null;
    this.settle();
  }

  #settleInSteps(): void {
    if (this.bytesIn + this.bytesOut - this.#settled >= settlementBytes) this.settle();
  }
}

/** Work that a limit may end. */
interface Stoppable {
  stop(why: SidekeyError): void;
}

/** The first bytes of a body, and the whole body. */
interface BodyStart {
  readonly bytes: Buffer;
  /** True if `bytes` is the whole body. */
  readonly isWhole: boolean;
  /** The whole body, which is read at most once; null: there is none. */
  readonly body: AsyncIterableIterator<Buffer> | null;
}

/**
 * Reads up to `max` bytes of a body, or one chunk more; the rest still streams. The caller ends the given body (`return`),
 * whether or not the rest is read.
 *
 * @throws SidekeyError `bad_request`: the client disconnected within the body
 */
export async function readAhead(body: AsyncIterableIterator<Buffer> | null, max: number): Promise<BodyStart> {
  if (body === null) return { bytes: Buffer.alloc(0), isWhole: true, body };
  const chunks = body[Symbol.asyncIterator]();
  const read: Buffer[] = [];
  let length = 0;
  let isWhole = false;
  try {
    while (length <= max) {
      const next = await chunks.next();
      if (next.done === true) {
        isWhole = true;
        break;
      }
      read.push(next.value);
      length += next.value.length;
    }
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('bad_request', 'The request body ended before it was complete.', { cause });
  }
  async function* again(): AsyncGenerator<Buffer> {
    yield* read;
    if (isWhole) return;
    for (;;) {
      const next = await chunks.next();
      if (next.done === true) return;
      yield next.value;
    }
  }
  return { bytes: Buffer.concat(read), isWhole, body: again() };
}

/**
 * Resets a stream whose message is incomplete. By itself Node ends the body when it closes a stream. An incomplete body would
 * look complete, and an assertion in `Http2Stream::OnTrailers` could end the process.
 */
export function resetStream(stream: Http2Stream, code: number): void {
  // oxlint-disable-next-line no-underscore-dangle -- the name that Node gives it
  stream._final = (done) => done();
  stream.close(code);
}

/** A signal that the client left before its response was complete. */
export interface Gone {
  readonly already: boolean;
  /** Adds a listener, which is called once. */
  listen(listener: () => void): void;
  forget(listener: () => void): void;
}

/** Creates a signal. It costs a tenth of an AbortController, which took 10 of 120 µs of CPU of each exchange. */
export function createGone(): Gone & { tell(): void } {
  return new GoneSignal();
}

class GoneSignal implements Gone {
  already = false;
  /** The first listener: there are seldom more. */
  #first: (() => void) | null = null;
  #others: readonly (() => void)[] = nobody;

  listen(listener: () => void): void {
    if (this.#first === null) this.#first = listener;
    else this.#others = [...this.#others, listener];
  }

  forget(listener: () => void): void {
    if (this.#first === listener) this.#first = null;
    else if (this.#others.length > 0)
      this.#others = this.#others.filter((candidate) => candidate !== listener);
  }

  tell(): void {
    if (this.already) return;
    this.already = true;
    const others = this.#others;
    this.#first?.();
    for (const listener of others) listener();
  }
}

const nobody: readonly (() => void)[] = [];
