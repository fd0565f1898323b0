import type { InjectPlace, Placement } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type DomainPattern, isPattern, matchesAnyPattern, parsePattern } from '../policy/domain-map.ts';
import { isUnread, matchesPath, parsePathGlob, type PathGlob, readPath } from '../policy/path.ts';
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
      hosts: hosts?.map(parsePattern).filter(isPattern) ?? null,
      paths: paths?.map(parsePathGlob).filter((glob) => 'segments' in glob) ?? null,
      as,
    }));
    parsed.set(places, known);
  }
  return known;
}
