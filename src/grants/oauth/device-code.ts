/** The device authorization grant (RFC 8628): a person gives consent on another device, with a short code. */
import type { Dialect } from '../../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import { askEndpoint, type EndpointFailure, jsonObject, type JsonObject, type TokenIo } from './http.ts';
import { describe, errorCode } from './description.ts';
import { joinScopes } from './scopes.ts';
import { askTokenEndpoint, authenticate, type TokenClient } from './token-endpoint.ts';

export interface DeviceRequest {
  /** `device_authorization_endpoint`, an https URL. */
  readonly deviceEndpoint: string;
  /** `token_endpoint`, an https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** Empty: omitted, and the provider chooses. */
  readonly scopes: readonly string[];
}

/** RFC 8628 §3.2. */
export interface DeviceAuthorization {
  readonly kind: 'authorization';
  /** Secret: the tokens are obtained with it. */
  readonly deviceCode: string;
  /** Code that the person types or compares. */
  readonly userCode: string;
  /** An https URL. */
  readonly verificationUri: string;
  /** URL that includes the code; null: not sent by the provider. */
  readonly verificationUriComplete: string | null;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Milliseconds between two polls. */
  readonly intervalMs: number;
}

export interface PollIo extends TokenIo {
  /** Resolves after `ms` milliseconds, or once the signal is aborted. */
  readonly pause: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/**
 * Outcome of the wait. Codes of `error`: `access_denied`: the person refused; `expired_token`: no response in
 * time; others as at the token endpoint. `aborted`: the signal was aborted.
 */
export type DeviceOutcome = Exclude<TokenAnswer, { readonly kind: 'later' }> | { readonly kind: 'aborted' };

/** RFC 8628 §3.4. */
const deviceCodeGrantType = 'urn:ietf:params:oauth:grant-type:device_code';

/** RFC 8628 §3.2: default interval. */
const defaultIntervalMs = 5_000;
/** RFC 8628 §3.5: increase per `slow_down`. */
const slowerByMs = 5_000;
/** Longest interval of polls to an endpoint that does not respond. */
const slowestMs = 60_000;
/** Bounds in milliseconds. No person waits longer, and no provider sets more than an hour. */
const bounds = { intervalMs: 120_000, lifeMs: 3_600_000 };
const defaultLifeMs = 900_000;

/** Requests the codes (RFC 8628 §3.1). Never rejects because of a provider or the network. */
export async function requestDeviceAuthorization(
  request: DeviceRequest,
  io: TokenIo,
): Promise<DeviceAuthorization | EndpointFailure> {
  const { client, dialect, scopes, deviceEndpoint } = request;
  const form = new URLSearchParams();
  const headers = new Headers({ ...dialect.tokenHeaders, accept: 'application/json' });
  if (scopes.length > 0) form.set(dialect.scopeParameter, joinScopes(scopes, dialect));
  // RFC 8628 §3.1: a client with a secret authenticates as at the token endpoint.
  const add = authenticate(client, { audience: deviceEndpoint, now: io.now });
  await add({ issuer: deviceEndpoint }, { client_id: client.clientId }, form, headers);
  form.delete('client_id');
  form.set(dialect.clientIdParameter, client.clientId);
  headers.set('content-type', 'application/x-www-form-urlencoded;charset=UTF-8');
  const begun = io.now();
  const answer = await askEndpoint(
    {
      name: 'the device authorization endpoint',
      url: deviceEndpoint,
      method: 'POST',
      headers: Object.fromEntries(headers),
      body: form.toString(),
    },
    io,
  );
  if (answer.kind !== 'answer') return answer;
  // GitHub sends a form without `Accept: application/json`; some servers send one anyway.
  const body = jsonObject(answer.text) ?? Object.fromEntries(new URLSearchParams(answer.text));
  const said = body['error'];
  if (typeof said === 'string' && said !== '') {
    const secrets = [client.clientSecret ?? ''];
    const description = body['error_description'];
    return {
      kind: 'error',
      error: errorCode(said, secrets),
      description: typeof description === 'string' ? describe(description, secrets) : '',
    };
  }
  return (
    readAuthorization(body, begun) ?? {
      kind: 'error',
      error: 'invalid_response',
      description: `the device authorization endpoint answered HTTP ${answer.status} without a code for a person`,
    }
  );
}

/**
 * Polls, slower on request of the provider and despite network failures, until there are tokens, a refusal,
 * or the codes expire. Never rejects because of a provider or the network.
 */
export async function pollForTokens(
  { deviceCode, expiresAt, intervalMs: first }: DeviceAuthorization,
  { endpoint, client, dialect }: DeviceRequest,
  io: PollIo,
): Promise<DeviceOutcome> {
  let intervalMs = first;
  let failures = 0;
  for (let askedMs = 0; ;) {
    const left = expiresAt - io.now();
    if (left <= 0) return expired;
    // RFC 8628 §3.5: exponential backoff while the endpoint does not respond.
    const slowed = Math.min(intervalMs * 2 ** failures, Math.max(intervalMs, slowestMs));
    await io.pause(Math.min(Math.max(slowed, askedMs), left), io.signal);
    if (io.signal?.aborted === true) return { kind: 'aborted' };
    const answer = await askTokenEndpoint(
      {
        endpoint,
        client,
        dialect,
        grantType: deviceCodeGrantType,
        parameters: { device_code: deviceCode },
        secrets: [deviceCode],
      },
      io,
    );
    switch (answer.kind) {
      case 'tokens':
        return answer;
      case 'later':
        failures += 1;
        askedMs = answer.retryAfterMs ?? 0;
        break;
      case 'error':
        [failures, askedMs] = [0, 0];
        if (answer.error === 'slow_down') intervalMs += slowerByMs;
        else if (answer.error !== 'authorization_pending') return answer;
        break;
    }
  }
}

const expired: DeviceOutcome = {
  kind: 'error',
  error: 'expired_token',
  description: 'no one gave consent in time',
};

function readAuthorization(body: JsonObject, begun: number): DeviceAuthorization | null {
  const { device_code: deviceCode, user_code: userCode } = body;
  // Google's `verification_url` predates the RFC and is still sent.
  const verificationUri = webPage(body['verification_uri']) ?? webPage(body['verification_url']);
  if (!isCode(deviceCode, 4_096) || !isCode(userCode, 64) || verificationUri === null) return null;
  return {
    kind: 'authorization',
    deviceCode,
    userCode,
    verificationUri,
    verificationUriComplete:
      webPage(body['verification_uri_complete']) ?? webPage(body['verification_url_complete']),
    expiresAt: begun + Math.min(seconds(body['expires_in']) ?? defaultLifeMs, bounds.lifeMs),
    intervalMs: Math.min(seconds(body['interval']) ?? defaultIntervalMs, bounds.intervalMs),
  };
}

/** Reports whether a value is one printable line, free of terminal control characters. */
function isCode(value: unknown, maxLength: number): value is string {
  return (
    typeof value === 'string' &&
    value.length <= maxLength &&
    /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)
  );
}

/** Returns a URL as a browser formats it. A person sees and opens it. */
function webPage(value: unknown): string | null {
  const url = typeof value === 'string' ? URL.parse(value) : null;
  return url?.protocol === 'https:' && url.username === '' && url.password === '' ? url.href : null;
}

function seconds(value: unknown): number | null {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && number > 0 ? number * 1000 : null;
}
