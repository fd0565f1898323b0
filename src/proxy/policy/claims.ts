import { isJsonObject, type Json, type JsonObject } from '../../lib/json.ts';

/** A claim that a token must have, and the pattern of its value. */
export interface ClaimPattern {
  /** Names of the claim and of the members inside it: `kubernetes.io`, `namespace`. */
  readonly path: readonly string[];
  /** At most one `*` between two characters `/` or `:`. It matches one or more other characters. */
  readonly pattern: string;
}

const separator = /([/:])/;

/** Reports whether a pattern matches a whole text, in time linear to the length of the text. */
export function matchesText(pattern: string, text: string): boolean {
  const wanted = pattern.split(separator);
  const parts = text.split(separator);
  return wanted.length === parts.length && wanted.every((part, index) => matchesPart(part, parts[index]!));
}

function matchesPart(pattern: string, part: string): boolean {
  const [before, after] = splitPart(pattern);
  if (after === null) return pattern === part;
  return part.length > before.length + after.length && part.startsWith(before) && part.endsWith(after);
}

/** Texts before and after the `*`. Without a `*`, the second is null. */
function splitPart(pattern: string): readonly [before: string, after: string | null] {
  const star = pattern.indexOf('*');
  return star < 0 ? [pattern, null] : [pattern.slice(0, star), pattern.slice(star + 1)];
}

/** Reports whether some text matches both patterns. */
export function patternsMeet(one: string, other: string): boolean {
  const parts = one.split(separator);
  const others = other.split(separator);
  return parts.length === others.length && parts.every((part, index) => partsMeet(part, others[index]!));
}

function partsMeet(one: string, other: string): boolean {
  const [before, after] = splitPart(one);
  const [otherBefore, otherAfter] = splitPart(other);
  if (after === null) return matchesPart(other, one);
  if (otherAfter === null) return matchesPart(one, other);
  const begin = before.startsWith(otherBefore) || otherBefore.startsWith(before);
  return begin && (after.endsWith(otherAfter) || otherAfter.endsWith(after));
}

/** Returns the first pattern that the claims do not match, or null. */
export function mismatch(patterns: readonly ClaimPattern[], claims: JsonObject): ClaimPattern | null {
  return (
    patterns.find(({ path, pattern }) => !textsAt(claims, path).some((it) => matchesText(pattern, it))) ??
    null
  );
}

/** Returns the text of a claim, or those of a list. Skips objects and inexact numbers. */
function textsAt(claims: JsonObject, path: readonly string[]): readonly string[] {
  let value: Json | undefined = claims;
  for (const name of path) value = isJsonObject(value) ? value.get(name) : undefined;
  const values = Array.isArray(value) ? (value as readonly Json[]) : [value];
  return values.flatMap((it) => {
    if (typeof it === 'number') return Number.isSafeInteger(it) ? [String(it)] : [];
    return typeof it === 'string' || typeof it === 'boolean' ? [String(it)] : [];
  });
}

/**
 * Reports whether some token certainly matches both lists of patterns: one list limits only claims that the
 * other limits too, and the patterns for each of them meet.
 */
export function certainlyMeet(one: readonly ClaimPattern[], other: readonly ClaimPattern[]): boolean {
  const [fewer, more] = one.length <= other.length ? [one, other] : [other, one];
  const patterns = new Map(more.map(({ path, pattern }) => [JSON.stringify(path), pattern]));
  return fewer.every(({ path, pattern }) => {
    const another = patterns.get(JSON.stringify(path));
    return another !== undefined && patternsMeet(pattern, another);
  });
}
