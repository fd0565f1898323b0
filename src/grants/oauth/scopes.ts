import type { Dialect, InsufficientScopeDialect } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Challenge, challengesIn } from '../../proxy/http/fields.ts';

/** Scopes in the formats of providers (RFC 6749 §3.3, and deviations). Pure. */

const offlineAccess = 'offline_access';

/** Returns whether a text is one scope (RFC 6749 §3.3). */
export function isScope(text: string): boolean {
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(text);
}

/**
 * Parses scopes that a person named, separated by commas or spaces, without duplicates.
 *
 * @throws SidekeyError `input_invalid` if there is none, or one is not valid (RFC 6749 §3.3)
 */
export function readScopes(written: readonly string[]): readonly string[] {
  const named = written.flatMap((text) => text.split(/[\s,]+/)).filter((scope) => scope !== '');
  if (named.length > 0 && named.every(isScope)) return [...new Set(named)];
  throw new SidekeyError('input_invalid', '--scope contains an invalid scope.', {
    hint: 'such as --scope repo --scope read:org, or --scope "repo read:org"',
  });
}

/** Formats scopes for a request. */
export function joinScopes(
  scopes: readonly string[],
  { scopeSeparator }: Pick<Dialect, 'scopeSeparator'>,
): string {
  return scopes.join(scopeSeparator);
}

/** Parses a `scope` (RFC 6749 §3.3); null: not present. */
export function scopesIn(scope: string | null): readonly string[] | null {
  return scope?.split(' ').filter(Boolean) ?? null;
}

/**
 * Parses the scopes of a response, a text or a list, without duplicates and without those that have control
 * or invisible characters, because hints quote scopes. Null: not stated.
 */
export function splitScopes(
  value: unknown,
  { scopeSeparator, tokenResponse }: Pick<Dialect, 'scopeSeparator' | 'tokenResponse'>,
): readonly string[] | null {
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  const scopes = texts
    .filter((text) => typeof text === 'string')
    .flatMap((text) =>
      text.split(tokenResponse.scopeSeparator ?? scopeSeparator).flatMap((part) => part.split(/\s+/)),
    )
    .filter((scope) => scope !== '' && !/\p{C}/u.test(scope));
  return scopes.length === 0 ? null : [...new Set(scopes)];
}

/**
 * Returns the granted scopes of a response with a refresh token, or of a refresh, with `offline_access`
 * (OpenID Connect Core §11): many servers grant it unlisted, and a refresh that omits it may be the last.
 */
export function withOfflineAccess(granted: readonly string[], asked: readonly string[]): readonly string[] {
  return asked.includes(offlineAccess) && !granted.includes(offlineAccess)
    ? [...granted, offlineAccess]
    : granted;
}

/**
 * Returns the requested scopes that were not granted. Providers may respond with other names, so a scope also
 * counts as granted
 * - in another case,
 * - with or without the URL of its resource (`Mail.Read`, `https://graph.example/Mail.Read`; `email`,
 *   `https://www.example/auth/userinfo.email`),
 * - if a wider scope was granted (`user` includes `user:email`).
 *
 * `offline_access` is ignored: the refresh token itself shows it.
 */
export function ungrantedScopes(asked: readonly string[], granted: readonly string[]): readonly string[] {
  const have = granted.map((scope) => scope.toLowerCase());
  return asked.filter((scope) => {
    const wanted = scope.toLowerCase();
    return wanted !== offlineAccess && !have.some((one) => isSameScope(one, wanted));
  });
}

function isSameScope(granted: string, asked: string): boolean {
  return (
    granted === asked ||
    asked.startsWith(`${granted}:`) ||
    isAtEndOfUrl(granted, asked) ||
    isAtEndOfUrl(asked, granted)
  );
}

function isAtEndOfUrl(url: string, name: string): boolean {
  return url.startsWith('https://') && (url.endsWith(`/${name}`) || url.endsWith(`.${name}`));
}

/** Parses the missing scopes from the head of an API's refusal. Results are cleaned and bounded. Pure. */

/** Scope information of a 401 or 403. */
interface ScopeRefusal {
  /** Null: no scopes are reported as missing. */
  readonly missing: MissingScopes | null;
  /** Plain https URL of the API's metadata (RFC 9728 §5.1), never fetched; null: not stated. */
  readonly resourceMetadata: string | null;
}

interface MissingScopes {
  /** At most 20 scopes (RFC 6749 §3.3); empty: the API reports missing scopes without names. */
  readonly scopes: readonly string[];
  /** True if any one of them is enough. */
  readonly anyOne: boolean;
}

/** Context to parse a refusal with. */
export interface RefusalReader {
  /** The provider's deviations from RFC 6750 §3.1. */
  readonly dialect: InsufficientScopeDialect;
  /** Scopes of the grant, as far as known. */
  readonly held: readonly string[];
  /** Secrets that were sent upstream. Values that contain one are dropped. */
  readonly secrets: readonly string[];
}

const maxFields = 8;
const maxScopes = 20;
const maxScopeLength = 256;
/** Maximum characters of all scopes together. */
const maxListLength = 1_024;

/** Parses a head. `values` returns the values of a field by its lower-case name. */
export function scopeRefusal(
  values: (name: string) => readonly string[],
  { dialect, held, secrets }: RefusalReader,
): ScopeRefusal {
  const isClean = (text: string) => !secrets.some((secret) => text.includes(secret));
  const names = (text: string | undefined) => scopesOf(text ?? '', isClean);
  const challenges = values('www-authenticate')
    .slice(0, maxFields)
    .flatMap(challengesIn)
    // DPoP has the same parameters (RFC 9449 §7.1).
    .filter(({ scheme }) => scheme === 'bearer' || scheme === 'dpop');
  return {
    missing: inChallenges(challenges, names, dialect, held) ?? inFields(values, names, dialect),
    resourceMetadata:
      challenges
        .map(({ parameters }) => parameters.get('resource_metadata') ?? '')
        .find((url) => isPlainUrl(url) && isClean(url)) ?? null,
  };
}

type Names = (text: string | undefined) => readonly string[];

/** Reads challenges (RFC 6750 §3.1). Even without an error code, one may name the required scopes. */
function inChallenges(
  challenges: readonly Challenge[],
  names: Names,
  { challenge: meaning }: InsufficientScopeDialect,
  held: readonly string[],
): MissingScopes | null {
  const insufficient = challenges.find(({ parameters }) => parameters.get('error') === 'insufficient_scope');
  // Image registries name a token server and the scopes of its tokens: no consent grants those.
  const asked = challenges.find(
    ({ parameters }) => parameters.has('scope') && !parameters.has('error') && !parameters.has('service'),
  );
  const scopes = names((insufficient ?? asked)?.parameters.get('scope'));
  const lacking = ungrantedScopes(scopes, held);
  const anyOne = meaning === 'any' && scopes.length > 1;
  // `insufficient_scope` takes precedence over the stored consent.
  if (insufficient !== undefined) return { scopes: lacking.length > 0 ? lacking : scopes, anyOne };
  const isLacking = anyOne ? lacking.length === scopes.length : lacking.length > 0;
  return isLacking ? { scopes: lacking, anyOne } : null;
}

/** Reads the provider's fields: the scopes of the token, and those of which one is enough. */
function inFields(
  values: (name: string) => readonly string[],
  names: Names,
  { grantedScopesHeader, acceptedScopesHeader, unlessHeaders }: InsufficientScopeDialect,
): MissingScopes | null {
  if (grantedScopesHeader === null || acceptedScopesHeader === null) return null;
  const of = (name: string) => values(name.toLowerCase()).slice(0, maxFields);
  const isOfOtherCause = Object.entries(unlessHeaders).some(([name, value]) => of(name).includes(value));
  const held = of(grantedScopesHeader);
  const accepted = names(of(acceptedScopesHeader).join(' '));
  if (isOfOtherCause || held.length === 0 || accepted.length === 0) return null;
  const lacking = ungrantedScopes(accepted, names(held.join(' ')));
  return lacking.length === accepted.length ? { scopes: accepted, anyOne: accepted.length > 1 } : null;
}

/** Returns the scopes to request: all, or the one with the least permissions, judged by its name. */
export function scopesToAskFor(
  { scopes, anyOne }: MissingScopes,
  known: readonly { readonly name: string }[],
): readonly string[] {
  if (!anyOne) return scopes;
  const rank = (scope: string) =>
    (/(?:^|[^a-z])(?:read|readonly)(?![a-z])/i.test(scope) ? 0 : /admin|manage/i.test(scope) ? 4 : 2) +
    (known.some(({ name }) => name === scope) ? 0 : 1);
  return scopes.toSorted((a, b) => rank(a) - rank(b)).slice(0, 1);
}

/** Splits a list at commas too: some providers have them, and `connect --scope`. */
function scopesOf(text: string, isClean: (scope: string) => boolean): readonly string[] {
  const scopes: string[] = [];
  let length = 0;
  for (const scope of new Set(text.slice(0, 8_192).split(/[\s,]+/))) {
    if (!isScope(scope) || scope.length > maxScopeLength || !isClean(scope)) continue;
    length += scope.length + 1;
    if (scopes.length === maxScopes || length > maxListLength) break;
    scopes.push(scope);
  }
  return scopes;
}

/** Reports whether a URL is safe for shells and terminals, and has no query, which may be secret. */
function isPlainUrl(url: string): boolean {
  return url.length <= 512 && /^https:\/\/[a-z0-9.-]+(?::[0-9]{1,5})?(?:\/[A-Za-z0-9._~%/-]*)?$/i.test(url);
}
