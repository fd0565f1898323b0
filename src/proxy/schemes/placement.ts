import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { InjectPlace, Placement, Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type DomainPattern, matchesAnyPattern, matchesPattern, patternsOf } from '../policy/domain-map.ts';
import { isUnread, matchesPath, parsePathGlob, type PathGlob, readPath } from '../policy/path.ts';
import { decoded, fold, inUtf8, mostRounds, percentDecoded } from '../policy/text.ts';
import { schemes } from './list.ts';
import { type AuthScheme, refused } from './scheme.ts';

const byKind = new Map(schemes.map((scheme) => [scheme.kind, scheme]));

/** Returns the scheme of a placement. */
export function schemeOf({ kind }: Placement): AuthScheme {
  const scheme = byKind.get(kind);
  if (scheme === undefined) throw new SidekeyError('internal', `There is no scheme ${kind}.`);
  return scheme;
}

/** Returns the place of a credential in a request, for people, with `…` for the credential. */
export function carriedAs(placement: Placement): string {
  return schemeOf(placement).describe(placement);
}

/** Returns the beginnings of paths behind which a placement has the credential. */
export function pathPrefixesOf(placement: Placement): readonly string[] {
  return schemeOf(placement).pathPrefixes?.(placement) ?? noPrefixes;
}

const noPrefixes: readonly string[] = [];

/** Authority and path that a request is sent to. */
export interface Destination {
  readonly authority: Authority;
  /** Origin-form, with its query. */
  readonly path: string;
}

/**
 * Returns the placement of the first place that contains a destination. A path that two servers read
 * differently is in no place with paths, because one of them may find another resource. If such a place would
 * get no credential, the request is refused.
 *
 * @returns SidekeyError `policy_violation` if no place contains it
 */
export function placementAt(
  places: readonly InjectPlace[],
  { authority, path }: Destination,
): Placement | SidekeyError {
  let read: ReturnType<typeof readPath> | null = null;
  const all = parsedPlaces(places);
  for (let i = 0; i < all.length; i += 1) {
    const { hosts, paths, as } = all[i]!;
    if (hosts !== null && !matchesAnyPattern(hosts, authority)) continue;
    if (paths === null) return as;
    read ??= readPath(path);
    if (isUnread(read)) {
      if (as.kind !== 'own') continue;
      const sentence = `The path ${read.problem}, and some paths of ${authorityText(authority)} are to get no credential.`;
      return refused(sentence, 'write the path in its plain form');
    }
    const { segments } = read;
    if (paths.some((glob) => matchesPath(glob.segments, segments))) return as;
  }
  return refused(
    `The provider of this grant does not say how its credential is carried to this path of ${authorityText(authority)}.`,
    hintOf`see "${remedy('provider.get', { provider: null })}" for where it goes`,
  );
}

interface ParsedPlace {
  readonly hosts: readonly DomainPattern[] | null;
  readonly paths: readonly PathGlob[] | null;
  readonly as: Placement;
}

const parsed = new WeakMap<readonly InjectPlace[], readonly ParsedPlace[]>();

function parsedPlaces(places: readonly InjectPlace[]): readonly ParsedPlace[] {
  let known = parsed.get(places);
  if (known === undefined) {
    // An invalid host or path matches nothing, rather than everything.
    known = places.map(({ hosts, paths, as }) => ({
      hosts: hosts ? patternsOf(hosts) : null,
      paths: paths?.map(parsePathGlob).filter((glob) => 'segments' in glob) ?? null,
      as,
    }));
    parsed.set(places, known);
  }
  return known;
}

/**
 * Returns the path of a request for the record, without the place of a credential. The client may have
 * written its own credential there, even if the request is refused. A promise if every provider has to be
 * read.
 *
 * @param offer what the map offers there; null: nothing
 */
export type PathRedactor = (
  target: Destination,
  offer: {
    readonly reference: string;
    readonly candidates: readonly { readonly provider: string }[];
  } | null,
) => string | Promise<string>;

/** Providers. `get` throws for an invalid definition. */
interface Providers {
  readonly names: readonly string[];
  get(name: string): Pick<Provider, 'audience' | 'inject'> | undefined;
}

/**
 * Returns the redactor of credentials in paths. If the map offers a grant, its provider says where they are;
 * otherwise the providers with the host in their audience do. Any other host may be a provider's by another
 * name, so the places of all providers are concealed there.
 */
export function createPathRedactor(providers: Providers): PathRedactor {
  let everywhere: Promise<(authority: Authority) => readonly InjectPlace[]> | undefined;
  return ({ authority, path }, offer) => {
    let shown = path;
    let isOffered = false;
    const candidates = offer?.candidates ?? [];
    for (let i = 0; i < candidates.length; i += 1) {
      const places = providers.get(candidates[i]!.provider)?.inject;
      if (places === undefined) continue;
      isOffered = true;
      for (let n = 0; n < places.length; n += 1) shown = without(shown, places[n]!);
    }
    if (isOffered) return shown;
    everywhere ??= readAll(providers);
    return everywhere.then((plansAt) => {
      // Without a grant, the reference may be the name of a provider.
      const named = offer === null ? undefined : providers.get(offer.reference)?.inject;
      return plansAt(authority).reduce(without, named === undefined ? path : named.reduce(without, path));
    });
  };
}

/** Maximum number of authorities whose providers are cached. */
const authoritiesKept = 1_000;

/** Reads every definition, with a pause after each: there are many, and other requests are under way. */
async function readAll(providers: Providers): Promise<(authority: Authority) => readonly InjectPlace[]> {
  const audiences: {
    readonly inject: readonly InjectPlace[];
    readonly patterns: ReturnType<typeof patternsOf>;
  }[] = [];
  for (const name of providers.names) {
    const provider = readable(providers, name);
    if (provider !== undefined)
      audiences.push({ inject: provider.inject, patterns: patternsOf(provider.audience) });
    await setImmediate();
  }
  const placesAt = new LRUCache<string, readonly InjectPlace[]>({ max: authoritiesKept });
  return (authority) => {
    const key = `${authority.scheme}://${authority.host}:${authority.port}`;
    let plans = placesAt.get(key);
    if (plans === undefined) {
      const here = audiences.filter(({ patterns }) =>
        patterns.some((each) => matchesPattern(each, authority)),
      );
      plans = (here.length > 0 ? here : audiences)
        .flatMap(({ inject }) => inject)
        .filter(({ as }) => pathPrefixesOf(as).length > 0);
      placesAt.set(key, plans);
    }
    return plans;
  };
}

/** Returns a definition; undefined if it is invalid, because no grant uses an invalid definition. */
function readable(providers: Providers, name: string): ReturnType<Providers['get']> {
  try {
    return providers.get(name);
  } catch {
    return undefined;
  }
}

function without(path: string, { as }: InjectPlace): string {
  const prefixes = pathPrefixesOf(as);
  if (prefixes.length === 0) return path;
  const shown = prefixes.reduce((rest, prefix) => rest.replace(placeOf(prefix), () => prefix), path);
  return ambiguousPathPrefix(shown, prefixes) ?? shown;
}

const places = new Map<string, RegExp>();

/**
 * Finds the credential: the rest of the segment that starts with the prefix, in any spelling. Some servers
 * read `//bot…` and `/%62ot…` as `/bot…`.
 */
function placeOf(prefix: string): RegExp {
  const cached = places.get(prefix);
  if (cached !== undefined) return cached;
  const letters = Array.from(prefix, (letter) => {
    const hex = letter.charCodeAt(0).toString(16).padStart(2, '0');
    return `(?:\\x${hex}|%${hex})${letter === '/' ? '+' : ''}`;
  });
  const place = new RegExp(`^${letters.join('')}[^/?]*`, 'i');
  places.set(prefix, place);
  return place;
}

/** Characters at which some servers split segments: dots, backslashes, parameters, control characters. */
const moving = /[\\;\uFFFD]|\p{Cc}|\/\s*\.+\s*(?:\/|$)/u;

/**
 * Returns the part of an ambiguous path (`/x/../bot…`, `/%2562ot…`, `/;x/bot…`) before the first segment
 * that may end a prefix. The rest may hold a credential. Null: the path has one reading, or no segment
 * matches.
 *
 * @param target origin-form, with its query
 */
function ambiguousPathPrefix(target: string, prefixes: readonly string[]): string | null {
  const path = target.split('?', 1)[0] ?? '';
  if (!isOdd(path)) return null;
  const ends = prefixes.map((prefix) => prefix.split('/').findLast((segment) => segment !== '') ?? '');
  const segments: string[] = [];
  for (const segment of path.slice(1).split('/')) {
    const end = ends.find((name) => couldBe(segment, name));
    if (end !== undefined) return `/${[...segments, end].join('/')}`;
    segments.push(segment);
  }
  return null;
}

/** Paths of plain letters, without a segment that consists of dots. Most paths match. */
const plain = /^(?:\/(?!\.*(?:\/|$))[\w.~-]+)*\/?$/;

/** An encoding of IIS only: for every other server it is text. */
const wide = /%u[0-9a-f]{4}/i;

function isOdd(path: string): boolean {
  if (plain.test(path)) return false;
  if (wide.test(path)) return true;
  const bytes = inUtf8(percentDecoded(path));
  const read = fold(bytes);
  return read !== bytes.toLowerCase() || read !== decoded(read) || moving.test(read);
}

/** Reports whether a segment or a part of it may start with a name, in the reading with the most matches. */
function couldBe(segment: string, name: string): boolean {
  let read = fold(segment);
  for (let round = 0; round < mostRounds; round += 1) {
    const next = decoded(read);
    if (next === read) return read.split(/[/\\;]/).some((part) => part.trimStart().startsWith(fold(name)));
    read = next;
  }
  return true;
}
