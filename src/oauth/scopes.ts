/** Scopes as providers write them (RFC 6749 §3.3, and how the field differs). Pure. */
import type { Dialect } from '../grants/dialect.ts';

const offlineAccess = 'offline_access';

/** Whether a text is one scope as RFC 6749 §3.3 has it. */
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

/** Those of a `scope` as RFC 6749 §3.3 writes it, and Sidekey keeps it; null: none is named. */
export function scopesIn(scope: string | null): readonly string[] | null {
  return scope?.split(' ').filter(Boolean) ?? null;
}

/** Of an answer: a text, or a list of texts. Null: the provider did not say. Each scope is there once. */
export function splitScopes(
  value: unknown,
  { scopeSeparator, answer }: Pick<Dialect, 'scopeSeparator' | 'answer'>,
): readonly string[] | null {
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  const scopes = texts
    .filter((text) => typeof text === 'string')
    .flatMap((text) =>
      text.split(answer.scopeSeparator ?? scopeSeparator).flatMap((part) => part.split(/\s+/)),
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
