/**
 * One request to a token endpoint (RFC 6749 §3.2), and what its answer means. The answer is read leniently wherever
 * strictness could only lose tokens: by the time it comes, the provider has used up the code or the refresh token.
 */
import * as oauth from 'oauth4webapi';
import { isFieldValue } from '../policy/field.ts';
import { describe, describeFault, errorCode, findSidekeyError } from './description.ts';

/** Who Sidekey is at the token endpoint, and how it says so (RFC 6749 §2.3.1). */
export interface TokenClient {
  readonly clientId: string;
  /** Null: a public client. */
  readonly clientSecret: string | null;
  readonly auth: 'basic' | 'post' | 'none';
}

/** The part of `fetch` that is used; `redirect` is always `manual`. */
export type TokenFetch = (
  url: string,
  init: {
    readonly method: 'POST';
    readonly headers: Record<string, string>;
    readonly body: URLSearchParams;
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
}

/** One request, as a flow puts it together. */
export interface TokenQuestion {
  /** An https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  /** What must not come back in a description. The client secret is known already. */
  readonly secrets: readonly string[];
  readonly send: (
    as: oauth.AuthorizationServer,
    client: oauth.Client,
    auth: oauth.ClientAuth,
    options: oauth.TokenEndpointRequestOptions,
  ) => Promise<Response>;
  readonly process: (
    as: oauth.AuthorizationServer,
    client: oauth.Client,
    response: Response,
  ) => Promise<oauth.TokenEndpointResponse>;
}

/** RFC 6749 §5.1, in Sidekey's terms. Times are milliseconds since the epoch. */
export interface Tokens {
  readonly kind: 'tokens';
  readonly accessToken: string;
  /** Null: the provider sent none, and the one that was used stays good. */
  readonly refreshToken: string | null;
  /** Null: the provider did not say. */
  readonly expiresAt: number | null;
  /** When the request was sent, so that the lifetime is rather too short than too long. */
  readonly obtainedAt: number;
  /** Null: the provider did not say, so they are those that were asked for. */
  readonly scope: string | null;
}

/** What the answer means. */
export type TokenAnswer =
  | Tokens
  /** The provider said no, or the question cannot be asked: asking again changes nothing. */
  | { readonly kind: 'error'; readonly error: string; readonly description: string }
  /** Asking again may help. */
  | { readonly kind: 'transient'; readonly reason: string; readonly retryAfterMs: number | null };

const maxAnswer = 65_536;
const maxRetryAfterMs = 3_600_000;
const maxLifetimeS = 100 * 365.25 * 86_400;
const passing = new Set(['temporarily_unavailable', 'server_error', 'slow_down']);

/** Asks, and never rejects for what a provider or a network may do. */
export async function askTokenEndpoint(question: TokenQuestion, io: TokenIo): Promise<TokenAnswer> {
  const { client } = question;
  const secrets = [...question.secrets, client.clientSecret ?? ''];
  const url = URL.parse(question.endpoint);
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    return {
      kind: 'error',
      error: 'endpoint_invalid',
      description: 'the token endpoint is not an https URL',
    };
  }
  // Answers are not tied to an issuer here: the endpoint is known beforehand, and `id_token`s are not used.
  const as: oauth.AuthorizationServer = { issuer: url.origin, token_endpoint: url.href };
  const clientMetadata: oauth.Client = { client_id: client.clientId };
  const obtainedAt = io.now();
  const caught: { answer?: RawAnswer } = {};
  try {
    const asked = question.send(as, clientMetadata, clientAuth(client), {
      ...(io.signal === undefined ? {} : { signal: io.signal }),
      [oauth.customFetch]: async (href, init) => {
        caught.answer = await readAnswer(await io.fetch(href, init));
        return new Response();
      },
    });
    await unlessAborted(asked, io.signal);
  } catch (error) {
    return faultAnswer(error, io.signal);
  }
  if (caught.answer === undefined) return transient('the token endpoint was not asked');
  const read = classify(caught.answer, secrets, io.now());
  if (read.kind !== 'body') return read;
  try {
    const tokens = await question.process(as, clientMetadata, Response.json(read.body));
    return {
      kind: 'tokens',
      accessToken: tokens.access_token,
      refreshToken: tokens.refresh_token ?? null,
      expiresAt: tokens.expires_in === undefined ? null : Math.round(obtainedAt + tokens.expires_in * 1000),
      obtainedAt,
      scope: tokens.scope ?? null,
    };
  } catch {
    return transient('the token endpoint sent an answer that is not a token response');
  }
}

/**
 * RFC 6749 §2.3.1 with the encoding of its appendix B, as forms have it: `-`, `.`, `_` and `*` stay as they are, so
 * that servers which forget to decode still recognize a client id that is a UUID.
 */
function clientAuth({ clientSecret, auth }: TokenClient): oauth.ClientAuth {
  if (clientSecret === null || auth === 'none') return oauth.None();
  if (auth === 'post') return oauth.ClientSecretPost(clientSecret);
  return (_as, { client_id: id }, _body, headers) => {
    const pair = [id, clientSecret]
      .map((text) => new URLSearchParams([['', text]]).toString().slice(1))
      .join(':');
    headers.set('authorization', `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`);
  };
}

interface RawAnswer {
  readonly status: number;
  readonly retryAfter: string | null;
  /** Null: larger than 64 KiB. */
  readonly text: string | null;
}

async function readAnswer(response: TokenFetchResponse): Promise<RawAnswer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop early cancels the body.
  for await (const chunk of response.body ?? []) {
    length += chunk.byteLength;
    if (length > maxAnswer) break;
    chunks.push(chunk);
  }
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    text: length > maxAnswer ? null : Buffer.concat(chunks).toString('utf8'),
  };
}

type Classified = Exclude<TokenAnswer, Tokens> | { readonly kind: 'body'; readonly body: object };

function classify(answer: RawAnswer, secrets: readonly string[], now: number): Classified {
  const { status } = answer;
  const retryAfterMs = readRetryAfter(answer.retryAfter, now);
  // Status 0 is how `fetch` shows a redirect that it was told not to follow.
  if (status === 0 || (status >= 300 && status < 400)) {
    return {
      kind: 'error',
      error: 'redirected',
      description: 'the token endpoint answered with a redirect, which is never followed',
    };
  }
  if (status >= 500 || status === 429 || status === 408) {
    return transient(`the token endpoint answered with HTTP ${status}`, retryAfterMs);
  }
  if (answer.text === null) return transient('the answer of the token endpoint was larger than 64 KiB');
  const body = jsonObject(answer.text);
  if (body === null)
    return transient(`the token endpoint answered HTTP ${status} without JSON`, retryAfterMs);
  // Some providers report errors with 200 (GitHub does).
  if (typeof body['error'] === 'string' && body['access_token'] === undefined) {
    const error = errorCode(body['error'], secrets);
    const said =
      typeof body['error_description'] === 'string' ? describe(body['error_description'], secrets) : '';
    return passing.has(error)
      ? transient(`the token endpoint answered ${error}`, retryAfterMs)
      : { kind: 'error', error, description: said };
  }
  if (status < 200 || status >= 300) {
    return transient(`the token endpoint answered HTTP ${status} without an OAuth error`, retryAfterMs);
  }
  return tokenBody(body);
}

/** What of a token response is used, with the deviations that are met in the field made good. */
function tokenBody(body: Record<string, unknown>): Classified {
  const { access_token: accessToken, refresh_token: refreshToken, scope } = body;
  if (!isToken(accessToken) || !(isAbsent(refreshToken) || isToken(refreshToken))) {
    return transient('the token endpoint sent a token that is no line of visible ASCII');
  }
  const type = isAbsent(body['token_type']) ? 'bearer' : body['token_type'];
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') {
    // RFC 6749 §7.1: a token of a type that is not understood must not be used.
    return {
      kind: 'error',
      error: 'unsupported_token_type',
      description: 'the provider sent a token that is not a bearer token',
    };
  }
  // 0, less, and what is no number count as "did not say": an upstream 401 will.
  const lifetime = Number(isAbsent(body['expires_in']) ? 0 : body['expires_in']);
  const scopes = Array.isArray(scope) ? scope.join(' ') : scope;
  return {
    kind: 'body',
    body: {
      access_token: accessToken,
      token_type: 'bearer',
      ...(isAbsent(refreshToken) ? {} : { refresh_token: refreshToken }),
      ...(lifetime > 0 && lifetime < maxLifetimeS ? { expires_in: lifetime } : {}),
      ...(typeof scopes === 'string' && scopes !== '' ? { scope: scopes } : {}),
    },
  };
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === '';
}

/** RFC 6749 appendix A.12: VSCHAR, and none at the ends that a field would lose. */
function isToken(value: unknown): value is string {
  return typeof value === 'string' && isFieldValue(value);
}

function jsonObject(text: string): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** RFC 9110 §10.2.3: seconds or a date, into milliseconds from now; an hour at most. */
function readRetryAfter(text: string | null, now: number): number | null {
  if (text === null) return null;
  const ms = /^[0-9]{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), maxRetryAfterMs);
}

function faultAnswer(error: unknown, signal: AbortSignal | undefined): TokenAnswer {
  if (signal?.aborted === true) return transient('the token endpoint did not answer in time');
  const ours = findSidekeyError(error);
  if (ours?.code === 'address_blocked') {
    return { kind: 'error', error: ours.code, description: ours.message };
  }
  return transient(describeFault(error));
}

function transient(
  reason: string,
  retryAfterMs: number | null = null,
): Extract<TokenAnswer, { kind: 'transient' }> {
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
