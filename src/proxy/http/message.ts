import type { Http2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import type { FailureCode } from '../../lib/failures.ts';
import type { PeerOwner } from '../../lib/os.ts';
import type { Authority } from '../policy/authority.ts';
import type { RawFields } from './fields.ts';
import type { NameSet, RequestHead, ResponseHeadBytes } from './head.ts';

/** Types that `proxy/http/server` and `proxy` share: a request, its client, and its reply. */

/** A request as received. */
export interface InboundRequest {
  readonly head: RequestHead;
  /** The body, readable once; null if the request has none. `return` releases it: the rest is discarded. */
  readonly body: AsyncIterableIterator<Buffer> | null;
  /** Returns the received trailers; empty before the end of the body. Absent: none are possible. */
  readonly trailers?: () => RawFields;
  readonly client: Client;
  /** True for a handshake with `Upgrade`. */
  readonly upgrades?: true;
  /** Protocols besides WebSocket that it asks for. Absent: none. */
  readonly protocols?: readonly string[];
}

/** The connection of a request. An HTTP/2 connection carries several requests. */
export interface Client {
  /** Address and port. */
  readonly address: string;
  readonly loopback: boolean;
  /** Returns the owner of a connection of this machine. Only the first call returns a promise. */
  readonly owner: () => PeerOwner | Promise<PeerOwner>;
  /** Called for each tunnel, and for each request outside a tunnel, of an identified caller. */
  readonly authenticated?: () => void;
  /** The CONNECT tunnel of the request; null outside of a tunnel. */
  readonly tunnel: InterceptedTunnel | null;
  /** The client certificate of the connection to the proxy, if the client showed one. */
  readonly certificate?: ShownCertificate | undefined;
}

/** The agent that a client certificate identifies, or a sentence with the reason that it identifies none. */
export type ShownCertificate =
  | {
      readonly agent: string;
      /** The name in the certificate that identifies the agent. */
      readonly subject: string;
      /** Milliseconds since the epoch. */
      readonly expiresAt: number;
    }
  | { readonly problem: string };

/** A CONNECT tunnel whose content the proxy reads. */
export interface InterceptedTunnel {
  /** The authority of all requests inside. */
  readonly authority: Authority;
  /** The host of the client's SNI; null without SNI or without TLS. */
  readonly serverName: string | null;
  /** The `Proxy-Authorization` of the CONNECT. Checked again for each request. */
  readonly presented: Presented;
}

/** A caller's selection among the grants of a domain. Cannot select any other grant. */
export interface Selectors {
  /** ID or name of a grant. */
  readonly grant: string | null;
  readonly user: string | null;
}

/**
 * The content of `Proxy-Authorization`, stored as long as the connection. A Sidekey token is hashed. A JWT is
 * not: it expires soon, and is verified again when its issuer's keys or the config change.
 */
export type Presented =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'malformed'; readonly problem: string; readonly hint?: Hint | undefined }
  | { readonly kind: 'selectors'; readonly selectors: Selectors }
  | {
      readonly kind: 'token';
      /** Null for `Bearer`, which has only a token. */
      readonly name: string | null;
      readonly tokenHash: Buffer;
      /** The token, if it has the form of a JWT. */
      readonly jwt?: string;
      /** Client certificate, if the caller authenticates with mTLS instead of a token. */
      readonly certificate?: Exclude<ShownCertificate, { readonly problem: string }>;
      readonly selectors: Selectors;
    };

/** A token that the client sent, or that the configuration assumes. */
export type PresentedToken = Presented & {
  readonly kind: 'token';
  /** True if the client sent no token. */
  readonly assumed?: true;
};

/** The writer of a response. */
export interface Reply {
  /** True if a final head was sent. A later failure can only cut the connection. */
  readonly started: boolean;
  readonly gone: Gone;
  /** Returns `gone` for a held request. From now on, a client that ends its side counts as gone. */
  hold(): Gone;
  /** True if the client waits for a 100 before it sends its body (RFC 9110 §10.1.1). */
  readonly expectsContinue: boolean;
  /**
   * Sends a 100 if the client waits for it.
   *
   * @param isSending true if the client already sends its body, and needs no 100
   */
  continue(isSending?: boolean): void;
  /** Sends an interim response (1xx) other than 100 and 101. */
  informational(status: number, fields: RawFields): void;
  /** Closes the connection after this response. Nothing more is read from it. Call it before the head. */
  closeAfter(): void;
  head(status: number, reason: string, fields: RawFields): void;
  /**
   * Sends a received head, valid until this returns. If absent, or if this returns false, use `head`.
   *
   * @param drop fields to remove besides the hop-by-hop ones
   * @param added fields to append
   */
  forwardHead?(head: ResponseHeadBytes, drop: NameSet, added?: RawFields): boolean;
  /** True if `write` copies each chunk before it returns. Otherwise a chunk must not change afterwards. */
  readonly copies?: true;
  /** Returns false if the caller must wait for `onDrain` before the next chunk. */
  write(chunk: Buffer): boolean;
  /** Like `write`, but copies a part of a buffer. If absent, use `write`. */
  writePart?(bytes: Buffer, start: number, end: number): boolean;
  onDrain(listener: () => void): void;
  /** Calls `flushed` when the socket has taken the whole response; never if the client left before. */
  end(trailers: RawFields, flushed?: () => void): void;
  /** Cuts the connection, so that no client accepts an incomplete response as complete. */
  abort(): void;
}

/** The end of an exchange with an upstream. */
export interface ExchangeResult {
  readonly status: number;
  /** Body bytes from the client, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** `broken`: the upstream failed after its head. `gone`: the client disconnected. */
  readonly outcome: 'complete' | 'broken' | 'gone';
  /** Reason, if Sidekey itself cut the connection. */
  readonly code?: FailureCode;
  /** Sentence for the log about a malformed response that was cut. */
  readonly problem?: string;
  /** The protocol besides WebSocket that the connection switched to. */
  readonly protocol?: string | undefined;
}

/** The client's side of an upgrade: of a WebSocket over HTTP/1.1 or HTTP/2, or of another protocol. */
export interface UpgradeSide {
  /** The stream of frames. */
  readonly client: Duplex;
  readonly frames: EarlyFrames;
  /** Fields to add to those of the client in the handshake. */
  readonly asks: RawFields;
  /** Protocols besides WebSocket that the request asks for. Absent: it asks for a WebSocket. */
  readonly protocols?: readonly string[] | undefined;
  /** Completes the handshake with the client. @throws if the upstream's answer does not match it */
  switched(fields: RawFields, protocol: string): void;
  /** Cuts the connection. */
  cut(): void;
}

/** Bytes that a client sends after the head of its handshake, before the answer. */
export interface EarlyFrames {
  /** Takes the first bytes. Rejects with SidekeyError `bad_request` if the client leaves before. */
  readonly take: (bytes: number) => Promise<Buffer>;
  /** Puts the others back, and stops reading. */
  readonly heard: () => void;
}

/** The limits of an exchange. */
export interface Account {
  /** Adds bytes to the budgets. Returns an error if no more bytes may pass. */
  spend(bytes: number): SidekeyError | null;
  /** Counts a leak. Resolves with an error if no more requests may be sent. */
  countLeak(): Promise<SidekeyError | null>;
}

/** Number of bytes of an exchange between two settlements. */
const settlementBytes = 1_048_576;

/**
 * Counts the bytes of both bodies of an exchange, and settles them with the budgets: at each step, because a
 * stream may never end, and once at the end.
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

  /** @param account null: no limit on bytes and leaks */
  constructor(account: Account | null = null) {
    this.#account = account;
  }

  /** Counts a piece from the client. Call it before forwarding the piece. */
  received(bytes: number): void {
    this.bytesIn += bytes;
    this.#onBytes?.(bytes, 0);
    this.#settleInSteps();
  }

  /** Counts a piece to the client. Call it before forwarding the piece. */
  sent(bytes: number): void {
    this.bytesOut += bytes;
    this.#onBytes?.(0, bytes);
    this.#settleInSteps();
  }

  addLeaks(times: number): void {
    this.leaks += times;
    if (times === 0) return;
    // The response is already redacted, so this does not wait. The exchange ends at the next leak.
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

  /** Sets the work to stop at an overdrawn budget or too many leaks. `stop` may be called repeatedly. */
  stops(work: Stoppable): void {
    this.#stopped = work;
  }

  /** Sets the listener for each piece. */
  onBytes(listener: (bytesIn: number, bytesOut: number) => void): void {
    this.#onBytes = listener;
  }

  /** Settles the remaining bytes. Does not stop the exchange afterwards. */
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

interface BodyStart {
  readonly bytes: Buffer;
  /** True if `bytes` is the whole body. */
  readonly isWhole: boolean;
  /** The whole body, readable once; null if there is none. */
  readonly body: AsyncIterableIterator<Buffer> | null;
}

/**
 * Reads up to `max` bytes of a body, or one chunk more. The rest still streams. The caller must end the given
 * body (`return`), even if nothing reads the rest.
 *
 * @throws SidekeyError `bad_request` if the client disconnects within the body
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
    throw new SidekeyError('bad_request', 'The request body ended before it was complete.', {
      hint: 'send the whole request again',
      cause,
    });
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
 * Resets a stream whose message is incomplete. Without this, Node ends the body when it closes a stream: an
 * incomplete body would look complete, and an assertion in `Http2Stream::OnTrailers` could end the process.
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

/** Creates a signal. Costs a tenth of an AbortController, which took 10 of 120 µs of CPU per exchange. */
export function createGone(): Gone & { tell(): void } {
  return new GoneSignal();
}

class GoneSignal implements Gone {
  already = false;
  /** The first listener. More than one is rare. */
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
