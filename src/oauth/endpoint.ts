/**
 * One request from Sidekey itself to an endpoint of a provider, with no browser between (RFC 9700 §2.6: always over
 * TLS). What comes back is bounded, redirects are never followed, and nothing that a provider or a network may do
 * makes it reject.
 */
import type { Nonces } from '../dpop/nonces.ts';
import type { DpopKey } from '../grants/credential.ts';
import { describeFault, findSidekeyError } from './description.ts';
import { readBounded } from './read-bounded.ts';

/** The part of `fetch` that is used; `redirect` is always `manual`. */
export type TokenFetch = (
  url: string,
  init: {
    readonly method: EndpointRequest['method'];
    readonly headers: Record<string, string>;
    readonly body?: string | URLSearchParams | null;
    readonly redirect: 'manual';
    readonly signal?: AbortSignal;
  },
) => Promise<TokenFetchResponse>;

/** The part of a response that is read. */
export interface TokenFetchResponse {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}

/** How the request goes out. */
export interface TokenIo {
  readonly fetch: TokenFetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Ends the request: an answer that comes later is not seen any more. */
  readonly signal?: AbortSignal | undefined;
  /** The key that tokens are to be bound to; absent or null: to none. */
  readonly proofKey?: DpopKey | null | undefined;
  /** What servers wanted to see in proofs; absent: nothing is known of them. */
  readonly nonces?: Nonces | undefined;
}

/** What is asked. */
export interface EndpointRequest {
  /** For people: `the token endpoint`. */
  readonly name: string;
  /** An https URL, without a user name or a password. */
  readonly url: string;
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** Why there is no answer. */
export type EndpointFailure =
  /** Asking again changes nothing: `endpoint_invalid`, `address_blocked`. */
  | { readonly kind: 'error'; readonly error: string; readonly description: string }
  /** Asking again may help; `retryAfterMs` is what the provider asked for (RFC 9110 §10.2.3), an hour at most. */
  | { readonly kind: 'transient'; readonly reason: string; readonly retryAfterMs: number | null };

/** An answer of status 2xx or 4xx, but for 408 and 429. */
export interface EndpointAnswer {
  readonly kind: 'answer';
  readonly status: number;
  /** 64 KiB at most. */
  readonly text: string;
  readonly retryAfterMs: number | null;
  /** `DPoP-Nonce` as it came (RFC 9449 §8.1); absent: there is none. */
  readonly nonce?: string;
}

const maxAnswer = 65_536;
const maxRetryAfterMs = 3_600_000;

/** Asks, and never rejects. */
export async function askEndpoint(
  request: EndpointRequest,
  io: TokenIo,
): Promise<EndpointAnswer | EndpointFailure> {
  const { name, method, headers, body } = request;
  const url = URL.parse(request.url);
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    return { kind: 'error', error: 'endpoint_invalid', description: `${name} is not an https URL` };
  }
  let answer: RawAnswer;
  try {
    const asked = io.fetch(url.href, {
      method,
      headers: { ...headers },
      body,
      redirect: 'manual',
      ...(io.signal === undefined ? {} : { signal: io.signal }),
    });
    answer = await unlessAborted(asked.then(readAnswer), io.signal);
  } catch (error) {
    if (io.signal?.aborted === true) return transient(`${name} did not answer in time`);
    const ours = findSidekeyError(error);
    return ours?.code === 'address_blocked'
      ? { kind: 'error', error: ours.code, description: ours.message }
      : transient(describeFault(error));
  }
  const { status, text } = answer;
  const retryAfterMs = readRetryAfter(answer.retryAfter, io.now());
  // Status 0 is how `fetch` shows a redirect that it was told not to follow.
  // Servers under maintenance redirect to a page for people, and so do portals of networks.
  if (status === 0 || (status >= 300 && status < 400)) {
    return transient(`${name} answered with a redirect, which is never followed`, retryAfterMs);
  }
  if (status >= 500 || status === 429 || status === 408) {
    return transient(`${name} answered with HTTP ${status}`, retryAfterMs);
  }
  if (text === null) return transient(`the answer of ${name} was larger than 64 KiB`);
  return {
    kind: 'answer',
    status,
    text,
    retryAfterMs,
    ...(answer.nonce === null ? {} : { nonce: answer.nonce }),
  };
}

interface RawAnswer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly nonce: string | null;
  /** Null: larger than 64 KiB. */
  readonly text: string | null;
}

async function readAnswer(response: TokenFetchResponse): Promise<RawAnswer> {
  const body = await readBounded(response.body, maxAnswer);
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    nonce: response.headers.get('dpop-nonce'),
    text: body === null ? null : body.toString('utf8'),
  };
}

/** Seconds or a date, into milliseconds from now. */
function readRetryAfter(text: string | null, now: number): number | null {
  if (text === null) return null;
  const ms = /^[0-9]{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), maxRetryAfterMs);
}

function transient(reason: string, retryAfterMs: number | null = null): EndpointFailure {
  return { kind: 'transient', reason, retryAfterMs };
}

/** Settles when the signal is aborted, also where what is waited for does not heed it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
    });
  });
}
