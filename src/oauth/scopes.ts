import type { Dialect, InsufficientScopeDialect } from '../domain/provider.ts';
import { type Challenge, challengesIn } from '../http/fields.ts';

/** Scopes as providers write them (RFC 6749 §3.3, and how the field differs). Pure. */

const offlineAccess = 'offline_access';

/** Returns whether a text is one scope as RFC 6749 §3.3 has it. */
export function isScope(text: string): boolean {
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(text);
}

/** For a request. */
export function joinScopes(
  scopes: readonly string[],
  { scopeSeparator }: Pick<Dialect, 'scopeSeparator'>,
): string {
  return scopes.join(scopeSeparator);
}

/** Parses a `scope` (RFC 6749 §3.3); null: none is named. */
export function scopesIn(scope: string | null): readonly string[] | null {
  return scope?.split(' ').filter(Boolean) ?? null;
}

/**
 * Parses the scopes of a response: a text, or a list of texts. Null: the provider did not say. Each scope is there
 * once.
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
    .filter((scope) => scope !== '');
  return scopes.length === 0 ? null : [...new Set(scopes)];
}

/**
 * The scopes of an answer that came with a refresh token, or to one. `offline_access` (OpenID Connect Core §11) is what
 * was granted then, though many servers never list it; where a refresh names scopes, one without it may be the last.
 */
export function withOfflineAccess(granted: readonly string[], asked: readonly string[]): readonly string[] {
  return asked.includes(offlineAccess) && !granted.includes(offlineAccess)
    ? [...granted, offlineAccess]
    : granted;
}

/**
 * The scopes that were asked for and not granted. Providers answer with other names for the same scope, so one counts
 * as granted also
 * - in another case,
 * - with or without the URL of its resource before it (`Mail.Read`, `https://graph.example/Mail.Read`;
 *   `email`, `https://www.example/auth/userinfo.email`),
 * - where the scope that it is a part of was granted (`user` has `user:email`).
 *
 * `offline_access` asks for a refresh token, which shows by itself.
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

/** Reads from the head of an API's refusal which scopes a token lacks. Pure; all that it returns is cleaned and bounded. */

/** Scope facts of a 401 or 403. */
interface ScopeRefusal {
  /** Null: nothing of scopes that are missing. */
  readonly missing: MissingScopes | null;
  /**
   * The address of the API's metadata (RFC 9728 §5.1): an https URL of plain letters; null: it does not say. No request
   * asked for it.
   */
  readonly resourceMetadata: string | null;
}

/** Scopes that would have helped. */
interface MissingScopes {
  /** At most 20, of RFC 6749 §3.3; none: the API says that there are some, and not which. */
  readonly scopes: readonly string[];
  /** True if any one of them would do. */
  readonly anyOne: boolean;
}

/** The facts that a refusal is read with. */
export interface RefusalReader {
  /** The provider's differences from RFC 6750 §3.1. */
  readonly dialect: InsufficientScopeDialect;
  /** The scopes that the grant has, as far as they are known. */
  readonly held: readonly string[];
  /** The secrets that were sent upstream: a value that contains one is no name. */
  readonly secrets: readonly string[];
}

const maxFields = 8;
const maxScopes = 20;
const maxScopeLength = 256;
/** Characters of all scopes together. */
const maxListLength = 1_024;

/** Reads a head. `values` answers the values of a field, by its name in lower case. */
export function scopeRefusal(
  values: (name: string) => readonly string[],
  { dialect, held, secrets }: RefusalReader,
): ScopeRefusal {
  const isClean = (text: string) => !secrets.some((secret) => text.includes(secret));
  const names = (text: string | undefined) => scopesOf(text ?? '', isClean);
  const challenges = values('www-authenticate')
    .slice(0, maxFields)
    .flatMap(challengesIn)
    // DPoP says it with the same words (RFC 9449 §7.1).
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

/** RFC 6750 §3.1. A challenge without an error code, to a request with a token, may still name the required scopes. */
function inChallenges(
  challenges: readonly Challenge[],
  names: Names,
  { challenge: meaning }: InsufficientScopeDialect,
  held: readonly string[],
): MissingScopes | null {
  const said = challenges.find(({ parameters }) => parameters.get('error') === 'insufficient_scope');
  // Registries of images name a token server and what its tokens are for: no consent gives that.
  const asked = challenges.find(
    ({ parameters }) => parameters.has('scope') && !parameters.has('error') && !parameters.has('service'),
  );
  const scopes = names((said ?? asked)?.parameters.get('scope'));
  const lacking = ungrantedScopes(scopes, held);
  const anyOne = meaning === 'any' && scopes.length > 1;
  // It has precedence over the stored consent.
  if (said !== undefined) return { scopes: lacking.length > 0 ? lacking : scopes, anyOne };
  const isLacking = anyOne ? lacking.length === scopes.length : lacking.length > 0;
  return isLacking ? { scopes: lacking, anyOne } : null;
}

/** Fields of the provider's own: which scopes the token has, and which would each do. */
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

/** Returns the scopes to request: all of them, or the one that permits least, as far as names tell. */
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

/** Scopes have no commas for `connect --scope`, and in some providers' lists. */
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

/** Returns whether a URL has only characters that no shell or terminal interprets, and no query, which may hold secrets. */
function isPlainUrl(url: string): boolean {
  return url.length <= 512 && /^https:\/\/[a-z0-9.-]+(?::[0-9]{1,5})?(?:\/[A-Za-z0-9._~%/-]*)?$/i.test(url);
}
