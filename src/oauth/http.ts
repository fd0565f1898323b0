import type * as oauth from 'oauth4webapi';
import type { DpopKey } from '../domain/credential.ts';
import { describeFault, findSidekeyError } from './description.ts';
import { readBounded } from '../lib/body.ts';
import { unlessAborted } from '../lib/timers.ts';
import type { Nonces } from '../schemes/dpop-proof.ts';

/** Requests for documents other than tokens: bounded, without redirects, over the guarded dialer. */

/** Parts of a request for a document. */
export interface DocumentIo {
  /** Through the dial guard. */
  readonly fetch: TokenFetch;
  readonly signal?: AbortSignal | undefined;
}

const maxFetchedBytes = 262_144;

/**
 * A `fetch` for oauth4webapi whose answers are read to their end here, so that a metadata document without end is an
 * error and not a memory that grows.
 */
export function boundedFetch({ fetch }: DocumentIo) {
  return async (url: string, init: oauth.CustomFetchOptions<string, unknown>): Promise<Response> => {
    const { headers: sent, body, signal } = init;
    const answer = await fetch(url, {
      method: init.method === 'POST' ? 'POST' : 'GET',
      headers: sent,
      redirect: 'manual',
      ...(typeof body === 'string' || body instanceof URLSearchParams ? { body: body.toString() } : {}),
      ...(signal == null ? {} : { signal }),
    });
    const text = await readBounded(answer.body, maxFetchedBytes);
    if (text === null) throw new RangeError('the answer is larger than 256 KiB');
    const status = answer.status >= 200 && answer.status <= 599 ? answer.status : 502;
    const isEmpty = status === 204 || status === 205 || status === 304;
    const headers: Record<string, string> = {};
    for (const name of ['content-type', 'www-authenticate']) {
      const value = answer.headers.get(name);
      if (value !== null) headers[name] = value;
    }
    return new Response(isEmpty ? null : text, { status, headers });
  };
}

/** Reading JSON that came from a provider. Pure. */

/** An object of JSON, as far as it is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The object that a text is; null: it is none. */
export function jsonObject(text: string): JsonObject | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/**
 * Returns the value at a path such as `authed_user.access_token`; undefined where nothing does. Inherited members are
 * none.
 */
export function memberAt(object: JsonObject, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** Returns whether a value is an object of JSON, and no list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * One request from Sidekey itself to an endpoint of a provider, with no browser between (RFC 9700 §2.6: always over
 * TLS). The size of the answer is bounded, redirects are never followed, and no act of a provider or network makes it
 * reject.
 */

/** The part of `fetch` that is used; `redirect` is always `manual`. */
export type TokenFetch = (
  url: string,
  init: {
    readonly method: EndpointRequest['method'];
    readonly headers: Record<string, string>;
    readonly body?: string | URLSearchParams | AsyncIterable<Uint8Array> | null;
    /** Given with a body that is iterated. */
    readonly duplex?: 'half';
    readonly redirect: 'manual';
    readonly signal?: AbortSignal;
  },
) => Promise<TokenFetchResponse>;

/** The part of a response that is read. */
interface TokenFetchResponse {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}

/** The means to send a request. */
export interface TokenIo {
  readonly fetch: TokenFetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Ends the request: a later answer is ignored. */
  readonly signal?: AbortSignal | undefined;
  /** Awaited on the open connection, before the first byte of a request with a body. A rejection ends the request. */
  readonly beforeSend?: (() => Promise<void>) | undefined;
  /** The key that tokens are to be bound to; absent or null: to none. */
  readonly proofKey?: DpopKey | null | undefined;
  /** The nonces that servers require in proofs; absent: none are known. */
  readonly nonces?: Nonces | undefined;
}

/** A request to an endpoint. */
export interface EndpointRequest {
  /** For people: `the token endpoint`. */
  readonly name: string;
  /** An https URL, without a user name or a password. */
  readonly url: string;
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** Reason why there is no answer. */
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
      ...(body === null || io.beforeSend === undefined ? {} : heldBack(body, headers, io.beforeSend)),
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

/** Returns the members of a request that is not written before `mayGo` resolves. */
function heldBack(body: string, headers: EndpointRequest['headers'], mayGo: () => Promise<void>) {
  const bytes = Buffer.from(body);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    await mayGo();
    yield bytes;
  }
  // Without the length the body would be chunked, which some token endpoints cannot read.
  return {
    headers: { ...headers, 'content-length': String(bytes.length) },
    body: chunks(),
    duplex: 'half' as const,
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
