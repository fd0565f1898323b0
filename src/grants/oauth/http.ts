import type * as oauth from 'oauth4webapi';
import type { DpopKey } from '../../domain/credential.ts';
import { describeFault, findSidekeyError } from './description.ts';
import { readBounded, readText } from '../../lib/body.ts';
import type { Hint } from '../../lib/hint.ts';
import { readRetryAfter, unlessAborted } from '../../lib/timers.ts';
import { isRedirect, movedFailure, type Redirect, repeatedAt } from './redirect.ts';
import type { Nonces } from '../../proxy/schemes/dpop-proof.ts';

/** Requests for documents other than tokens: bounded, without redirects, over the guarded dialer. */

export interface DocumentIo {
  /** `fetch` through the dial guard. */
  readonly fetch: TokenFetch;
  readonly signal?: AbortSignal | undefined;
}

const maxFetchedBytes = 262_144;

/**
 * Returns a `fetch` for oauth4webapi that limits the size of responses, so that an endless metadata document
 * is an error instead of memory growth.
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

/** JSON from a provider. Pure. */

/** A parsed JSON object. Members are unchecked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Parses a JSON object; null: the text is something else. */
export function jsonObject(text: string): JsonObject | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/** Returns the header (0) or the claims (1) of a JWT, with no check of its signature; null: it is no JWT. */
export function jwtPart(token: string, index: 0 | 1): JsonObject | null {
  const parts = token.split('.');
  const part = parts[index] ?? '';
  if (parts.length !== 3 || !/^[\w-]+=*$/.test(part)) return null;
  return jsonObject(Buffer.from(part, 'base64url').toString('utf8'));
}

/** Returns the value at a path such as `authed_user.access_token`, of own members only, or undefined. */
export function memberAt(object: JsonObject, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** Returns whether a value is a JSON object. Arrays are not. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Direct requests of Sidekey to an endpoint of a provider, always over TLS (RFC 9700 §2.6). Response sizes
 * are bounded, and no provider or network failure causes a rejection.
 */

/** Required part of `fetch`. */
export type TokenFetch = (
  url: string,
  init: {
    readonly method: EndpointRequest['method'];
    readonly headers: Record<string, string>;
    readonly body?: string | URLSearchParams | AsyncIterable<Uint8Array> | null;
    /** Set if the body is an iterable. */
    readonly duplex?: 'half';
    readonly redirect: 'manual';
    readonly signal?: AbortSignal;
  },
) => Promise<TokenFetchResponse>;

interface TokenFetchResponse {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}

export interface TokenIo {
  readonly fetch: TokenFetch;
  readonly now: () => number;
  /** Aborts the request: a later response is ignored. */
  readonly signal?: AbortSignal | undefined;
  /** Awaited on the open connection, before the first byte of a body. A rejection aborts the request. */
  readonly beforeSend?: (() => Promise<void>) | undefined;
  /** DPoP key that tokens shall be bound to; absent or null: tokens are not bound. */
  readonly proofKey?: DpopKey | null | undefined;
  /** DPoP nonces that servers require; absent: none are known. */
  readonly nonces?: Nonces | undefined;
}

export interface EndpointRequest {
  /** Name for people: `the token endpoint`. */
  readonly name: string;
  /** An https URL, without a user name or a password. */
  readonly url: string;
  readonly method: 'POST' | 'GET' | 'DELETE' | 'PUT';
  readonly headers: Readonly<Record<string, string>>;
  /** Returns the header fields for another URL; absent: the same. A DPoP proof is valid for one URL. */
  readonly headersAt?: (url: string) => EndpointRequest['headers'];
  readonly body: string | null;
  /** True: an http URL of this machine, such as that of a metadata service. */
  readonly isLocal?: boolean;
}

/** Reason for a missing response. */
export type EndpointFailure = EndpointError | EndpointDelay;

/** A permanent failure: `endpoint_invalid`, `address_blocked`, `answer_too_large`, `endpoint_moved`. */
export interface EndpointError {
  readonly kind: 'error';
  readonly error: string;
  readonly description: string;
  /** Set if the response has tokens that cannot be used. A new refresh token must be stored. */
  readonly unusable?: UnusableTokens;
  /** Address of a redirect that was not followed: an https URL without a query. */
  readonly movedTo?: string;
  /** Next step, if the failure has one of its own. */
  readonly hint?: Hint;
}

/** A temporary failure. `retryAfterMs`: from `Retry-After` (RFC 9110 §10.2.3), at most an hour. */
export interface EndpointDelay {
  readonly kind: 'later';
  readonly reason: string;
  readonly retryAfterMs: number | null;
  /** Next step, if the failure has one of its own. */
  readonly hint?: Hint;
  /** True if the response is not one of an endpoint of OAuth. */
  readonly isForeign?: true;
}

/** Tokens without a usable access token. */
export interface UnusableTokens {
  /** New refresh token, to be stored, because the one that was sent may be used up; null: none. */
  readonly refreshToken: string | null;
  /** `token_type` that the provider definition does not accept; null: another problem. */
  readonly tokenType: string | null;
}

/** A response with status 2xx or 4xx, except 408 and 429. */
export interface EndpointAnswer {
  readonly kind: 'answer';
  readonly status: number;
  /** At most 1 MiB. */
  readonly text: string;
  readonly retryAfterMs: number | null;
  /** Unchecked `DPoP-Nonce` (RFC 9449 §8.1); absent: no such field. */
  readonly nonce?: string;
}

/** Far above any token response: a longer one is lost, and with it the only copy of a new refresh token. */
const maxAnswer = 1_048_576;

/** Milliseconds to open a connection for a check. */
const checkMs = 5_000;

/**
 * Opens a connection to an endpoint, and sends nothing. A consent is used up even if its code cannot be sent.
 *
 * @throws SidekeyError `address_blocked`, `upstream_tls`, `upstream_unreachable`
 */
export async function assertReachable(url: string | null, fetch: TokenFetch): Promise<void> {
  if (URL.parse(url ?? '')?.protocol !== 'https:' || url === null) return;
  const held = heldBack('-', {}, () => Promise.reject(new Error('the connection is open')));
  const signal = AbortSignal.timeout(checkMs);
  try {
    await fetch(url, { method: 'POST', redirect: 'manual', ...held, signal });
  } catch (error) {
    const failure = findSidekeyError(error);
    if (failure !== null && failure.code !== 'upstream_timeout') throw failure;
  }
}

/** Sends a request, and repeats it once for a redirect that keeps it within the origin. Never rejects. */
export async function askEndpoint(
  request: EndpointRequest,
  io: TokenIo,
): Promise<EndpointAnswer | EndpointFailure> {
  const answer = await askOnce(request, io);
  if (answer.kind !== 'redirect') return answer;
  const { name, headers, headersAt } = request;
  const url = repeatedAt(request.url, answer);
  if (url === null) return movedFailure(name, request.url, answer);
  const second = await askOnce({ ...request, url, headers: headersAt?.(url) ?? headers }, io);
  return second.kind === 'redirect' ? movedFailure(name, url, second) : second;
}

async function askOnce(
  request: EndpointRequest,
  io: TokenIo,
): Promise<EndpointAnswer | EndpointFailure | Redirect> {
  const { name, method, headers, body } = request;
  const url = URL.parse(request.url);
  if (
    url?.protocol !== (request.isLocal === true ? 'http:' : 'https:') ||
    url.username !== '' ||
    url.password !== ''
  )
    return { kind: 'error', error: 'endpoint_invalid', description: `${name} is not an https URL` };
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
    if (io.signal?.aborted === true) return later(`${name} did not answer in time`);
    const ours = findSidekeyError(error);
    return ours?.code === 'address_blocked'
      ? { kind: 'error', error: ours.code, description: ours.message, hint: ours.hint }
      : { ...later(describeFault(error)), ...(ours === null ? {} : { hint: ours.hint }) };
  }
  const { status, text } = answer;
  const retryAfterMs = readRetryAfter(answer.retryAfter, io.now());
  if (isRedirect(status)) return { kind: 'redirect', status, location: answer.location };
  if (status >= 500 || (status >= 300 && status < 400) || status === 429 || status === 408)
    return later(`${name} answered with HTTP ${status}`, retryAfterMs);
  if (text === null) {
    // Another attempt would receive the same answer, or use up a refresh token again.
    const description = `the answer of ${name} was larger than 1 MiB`;
    return { kind: 'error', error: 'answer_too_large', description };
  }
  return {
    kind: 'answer',
    status,
    text,
    retryAfterMs,
    ...(answer.nonce === null ? {} : { nonce: answer.nonce }),
  };
}

/** Returns the members of a request whose body is not written before `mayGo` resolves. */
function heldBack(body: string, headers: EndpointRequest['headers'], mayGo: () => Promise<void>) {
  const bytes = Buffer.from(body);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    await mayGo();
    yield bytes;
  }
  // Without a length, the body would be chunked, which some token endpoints reject.
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
  readonly location: string | null;
  /** Body of the response; null if larger than 1 MiB. */
  readonly text: string | null;
}

async function readAnswer(response: TokenFetchResponse): Promise<RawAnswer> {
  const contentType = response.headers.get('content-type');
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    nonce: response.headers.get('dpop-nonce'),
    location: response.headers.get('location'),
    text: await readText(response.body, { maxBytes: maxAnswer, contentType }),
  };
}

/** Returns a temporary failure. */
export function later(reason: string, retryAfterMs: number | null = null): EndpointDelay {
  return { kind: 'later', reason, retryAfterMs };
}
