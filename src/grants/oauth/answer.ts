import { boundBy, type DpopKey, type OAuth2Credential } from '../../domain/credential.ts';
import type { Dialect, Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { isFieldValue } from '../../proxy/policy/text.ts';
import { describe, errorCode } from './description.ts';
import {
  type EndpointAnswer,
  type EndpointError,
  type EndpointFailure,
  isObject,
  jsonObject,
  type JsonObject,
  later,
  memberAt,
  type UnusableTokens,
} from './http.ts';
import { type Identity, identityIn, readDetails } from './identity.ts';
import { splitScopes, withOfflineAccess } from './scopes.ts';

/**
 * Parses the response of a token endpoint (RFC 6749 §5) in the provider's dialect. Pure. Lenient, because
 * strictness could only lose tokens: the provider has already used up the code or the refresh token.
 */

/** Tokens of a response (RFC 6749 §5.1). Times are milliseconds since the epoch. */
export interface Tokens {
  readonly kind: 'tokens';
  readonly accessToken: string;
  /** Null: the provider sent none, and the refresh token that was used stays valid. */
  readonly refreshToken: string | null;
  /** Null: not stated by the provider. */
  readonly expiresAt: number | null;
  /** Time at which the request was sent, so that the lifetime is rather too short than too long. */
  readonly obtainedAt: number;
  /** Null: not stated by the provider, so the requested scopes were granted. */
  readonly scopes: readonly string[] | null;
  /** `scopes`, joined by spaces. */
  readonly scope: string | null;
  /** Members of the response that the dialect names, by path. */
  readonly details: Readonly<Record<string, string>>;
  /** Claims of the ID token; absent: no ID token. */
  readonly identity?: Identity;
  /** The ID token itself; absent: none. */
  readonly idToken?: string;
  /** RFC 8693 §2.2.1; null: not stated by the provider. */
  readonly issuedTokenType: string | null;
  /** True if the access token is bound to the DPoP key (RFC 9449 §5). */
  readonly isBound?: true;
}

/**
 * A parsed response. `error`: the provider refused, or the request cannot be sent. A retry does not help,
 * except for `authorization_pending` and `slow_down` (RFC 8628 §3.5).
 */
export type TokenAnswer = Tokens | EndpointFailure;

interface TokenReading {
  readonly dialect: Dialect;
  /** Time of the request, in milliseconds since the epoch. */
  readonly obtainedAt: number;
  /** True if the request had a DPoP proof. A token can only be bound in this case. */
  readonly isProven?: boolean;
  /** Texts that no description or detail may contain. */
  readonly secrets: readonly string[];
}

const maxLifetimeS = 100 * 365.25 * 86_400;
// A second nonce may be outdated too: servers disagree, or it just changed (RFC 9449 §8).
const passing = new Set(['temporarily_unavailable', 'server_error', 'use_dpop_nonce']);

const noOAuthError = (status: number) => `the token endpoint answered HTTP ${status} without an OAuth error`;

export function readTokenAnswer(answer: EndpointAnswer, reading: TokenReading): TokenAnswer {
  const { status, retryAfterMs } = answer;
  const { dialect, secrets } = reading;
  const body = answerObject(answer.text, dialect) ?? formObject(answer.text, dialect);
  if (body === null) return foreign(`the token endpoint answered HTTP ${status} without JSON`, retryAfterMs);
  const place = tokenPlace(body, dialect);
  const said = [dialect.tokenResponse.error, 'error'].map((path) => memberAt(body, path)).find(isNamed);
  const refused =
    dialect.tokenResponse.okField !== null && memberAt(body, dialect.tokenResponse.okField) === false;
  // Some providers report errors with 200 (GitHub does); others send `error: ""` along with tokens.
  if (refused || (said !== undefined && isAbsent(memberAt(place, dialect.tokenResponse.accessToken)))) {
    const error = errorCode(String(said ?? ''), secrets);
    // The router of a server, at a path that is no token endpoint: { "error": "Not Found" }.
    if (status === 404 && error === 'unnamed_error') return foreign(noOAuthError(status), retryAfterMs);
    return passing.has(error)
      ? later(`the token endpoint answered ${error}`, retryAfterMs)
      : { kind: 'error', error, description: descriptionIn(body, reading) };
  }
  if (status < 200 || status >= 300) {
    const description = descriptionIn(body, reading);
    const reason = noOAuthError(status);
    if (description === '') return foreign(reason, retryAfterMs);
    const hint = 'see what the provider says';
    return { ...later(`${reason}: ${description}`, retryAfterMs), hint };
  }
  return readTokens(body, place, reading);
}

/** Another answer may come later, or the address is not that of a token endpoint. */
function foreign(reason: string, retryAfterMs: number | null): TokenAnswer {
  return { ...later(reason, retryAfterMs), isForeign: true };
}

function readTokens(body: JsonObject, place: JsonObject, reading: TokenReading): TokenAnswer {
  const { dialect, obtainedAt, secrets } = reading;
  const names = dialect.tokenResponse;
  // A field would lose the spaces, and a line break does not belong to a token.
  const accessToken = tokenText(memberAt(place, names.accessToken))?.trim() ?? '';
  const refreshToken = tokenText(memberAt(place, names.refreshToken));
  if (accessToken === '' && refreshToken === null)
    return foreign('the token endpoint sent no access token', null);
  if (!isFieldValue(accessToken)) {
    const description =
      accessToken === ''
        ? 'the token endpoint sent no access token'
        : 'the token endpoint sent a token that is not a line of visible ASCII';
    const failure = unusable('invalid_access_token', description, { refreshToken, tokenType: null });
    return accessToken === '' ? failure : { ...failure, hint: 'tell the operator of the provider' };
  }
  const type = typeText(memberAt(place, 'token_type'));
  const isBound = reading.isProven === true && type.toLowerCase() === 'dpop';
  if (!isBound && !isBearer(type, names.tokenTypes)) {
    // RFC 6749 §7.1: a token of a type that is not understood must not be used.
    const tokenType = describe(type, [...secrets, accessToken, refreshToken ?? '']);
    const description = `the provider sent a token of the type ${tokenType}, which is not a bearer token`;
    return unusable('unsupported_token_type', description, { refreshToken, tokenType });
  }
  const lifetime = readLifetime(memberAt(place, names.expiresIn));
  const end = names.expiresAt === null ? null : readEnd(memberAt(place, names.expiresAt), obtainedAt);
  const scopes = splitScopes(memberAt(place, names.scope), dialect);
  const issued = memberAt(place, 'issued_token_type');
  return {
    kind: 'tokens',
    accessToken,
    refreshToken,
    expiresAt: lifetime === null ? end : Math.round(obtainedAt + lifetime * 1000),
    obtainedAt,
    scopes,
    scope: scopes?.join(' ') ?? null,
    details: readDetails(body, dialect.accountFields, [...secrets, accessToken, refreshToken ?? '']),
    issuedTokenType: typeof issued === 'string' && issued !== '' ? describe(issued, secrets) : null,
    ...identityIn(memberAt(body, 'id_token'), [...secrets, accessToken, refreshToken ?? '']),
    ...(isBound ? { isBound } : {}),
  };
}

function unusable(error: string, description: string, tokens: UnusableTokens): EndpointError {
  return { kind: 'error', error, description, unusable: tokens };
}

/** Returns the object at the dialect's path if it has an access token, else the top level. */
function tokenPlace(body: JsonObject, { tokenResponse }: Dialect): JsonObject {
  const place = tokenResponse.root === null ? undefined : memberAt(body, tokenResponse.root);
  return isObject(place) && !isAbsent(memberAt(place, tokenResponse.accessToken)) ? place : body;
}

/**
 * Parses the JSON object of a response, also with tokens in a list of one, in a string, or between other
 * text: a callback, a prefix against script inclusion, a warning of PHP. Null: there is none.
 */
export function answerObject(text: string, dialect: Dialect): JsonObject | null {
  const whole = jsonObject(text);
  if (whole !== null) return whole;
  const quoted = text.trim().startsWith('"') ? jsonObject(`{"text":${text}}`)?.['text'] : null;
  const inner = typeof quoted === 'string' ? quoted : text;
  const object = jsonObject(inner.slice(inner.indexOf('{'), inner.lastIndexOf('}') + 1));
  // Only with a token: a page for people may quote an error of something else.
  const hasToken =
    object !== null &&
    tokenText(memberAt(tokenPlace(object, dialect), dialect.tokenResponse.accessToken)) !== null;
  return hasToken ? object : null;
}

/**
 * Parses a form, which GitHub sends without `Accept: application/json`; null: not a form. An HTML page may
 * have links with `&error=`, but also spaces and brackets, which a form never has.
 */
function formObject(text: string, { tokenResponse }: Dialect): JsonObject | null {
  const line = text.trim();
  if (!/^[^\s<>"{}]+$/.test(line)) return null;
  const form = new URLSearchParams(line);
  return [tokenResponse.accessToken, tokenResponse.error, 'error'].some((name) => form.has(name))
    ? Object.fromEntries(form)
    : null;
}

/** Returns the description (RFC 6749 §5.2): beside the code, in the object `error`, or at the top. */
function descriptionIn(body: JsonObject, { dialect, secrets }: TokenReading): string {
  const beside = dialect.tokenResponse.error.split('.').slice(0, -1).join('.');
  for (const place of [memberAt(body, beside), memberAt(body, 'error'), body]) {
    for (const name of ['error_description', 'message']) {
      const text = isObject(place) ? memberAt(place, name) : undefined;
      if (typeof text === 'string' && text !== '') return describe(text, secrets);
    }
  }
  return '';
}

/** Accepts numbers: some providers have numeric error codes. 0 is not an error. */
function isNamed(error: unknown): error is string | number {
  return (typeof error === 'string' && error !== '') || (typeof error === 'number' && error !== 0);
}

/** Returns a token, which some servers send as a number; null: none. The rest of a token is opaque. */
function tokenText(value: unknown): string | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value > 0 ? String(value) : null;
  return typeof value === 'string' && value.trim() !== '' ? value : null;
}

/**
 * Accepts spellings of bearer (Apigee: `BearerToken`, Azure DevOps: `jwt-bearer`), and values that name no
 * way to send the token (`access_token`). `others`: further values of the provider.
 */
function isBearer(type: string, others: readonly string[]): boolean {
  const lower = type.toLowerCase();
  const letters = lower.replace(/[^a-z]/g, '');
  const isSpelling = letters.includes('bearer') && !letters.includes('pop');
  const namesNone = /^(urnietfparamsoauthtokentype)?accesstoken$/.test(letters);
  return lower === '' || isSpelling || namesNone || others.some((other) => other.toLowerCase() === lower);
}

/** Returns a `token_type` as text: the texts of a list, separated by spaces; of another value, its type. */
function typeText(value: unknown): string {
  if (isAbsent(value)) return '';
  const texts = (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
  return texts.length === 0 ? typeof value : texts.join(' ').trim();
}

/** Parses seconds. Returns null for less than 1, and non-numbers: an upstream 401 will show the end. */
function readLifetime(value: unknown): number | null {
  const isNumber =
    typeof value === 'number' || (typeof value === 'string' && /^\s*[0-9.]{1,20}\s*$/.test(value));
  const seconds = isNumber ? Number(value) : 0;
  return seconds >= 1 && seconds < maxLifetimeS ? seconds : null;
}

/** Parses a time, in ISO 8601 or seconds since the epoch. Returns null for a time in the past. */
function readEnd(value: unknown, obtainedAt: number): number | null {
  const seconds = readLifetime(value);
  const end = seconds === null ? (typeof value === 'string' ? Date.parse(value) : NaN) : seconds * 1000;
  return end > obtainedAt && end < obtainedAt + maxLifetimeS * 1000 ? end : null;
}

function isAbsent(value: unknown): value is undefined | null | '' {
  return value === undefined || value === null || value === '';
}

/** The result of a person's consent. */
export interface Consented {
  /** Client and endpoint are null: those of the provider definition apply. */
  readonly credential: OAuth2Credential;
  /** Granted scopes. May be fewer than the requested ones; see `ungrantedScopes`. */
  readonly scopes: readonly string[];
  /** Details of the account that the provider's dialect names. */
  readonly details: Readonly<Record<string, string>>;
  /** Claims of the ID token; absent: no ID token. */
  readonly identity?: Identity;
}

interface Proved {
  readonly provider: Pick<Provider, 'title'>;
  /** DPoP key of the request; absent or null: no proof was sent. */
  readonly proofKey?: DpopKey | null | undefined;
}

/**
 * @param asked requested scopes, granted unless the provider states others (RFC 6749 §5.1)
 * @throws SidekeyError `provider_refused`: the request had a DPoP proof, but the token is not bound
 */
export function consented(tokens: Tokens, asked: readonly string[], proved: Proved | null = null): Consented {
  const {
    accessToken,
    refreshToken,
    expiresAt,
    obtainedAt,
    scope,
    details,
    identity,
    isBound = false,
  } = tokens;
  const granted = tokens.scopes ?? asked;
  const key = proved?.proofKey ?? null;
  if (proved !== null && key !== null && !isBound) throw unbound(proved.provider);
  const credential: OAuth2Credential = {
    type: 'oauth2',
    accessToken,
    refreshToken,
    expiresAt,
    obtainedAt,
    scope,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
  };
  return {
    credential: boundBy(credential, key, isBound),
    scopes: refreshToken === null ? granted : withOfflineAccess(granted, asked),
    details,
    ...(identity === undefined ? {} : { identity }),
  };
}

/** Returns the error for a provider that accepted a proof without binding the token: no DPoP support. */
export function unbound({ title }: Pick<Provider, 'title'>): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `${title} gave a token that is bound to no key (token_type is not DPoP); nothing was stored.`,
    {
      hint: 'let the provider bind the tokens of the client (DPoP, RFC 9449), or take dpop out of its definition',
    },
  );
}
