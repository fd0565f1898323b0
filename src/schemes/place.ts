import type { InjectPlace } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type DomainPattern, isPattern, matchesPattern, parsePattern } from '../policy/domain-map.ts';
import { isUnread, matchesPath, parsePathGlob, type PathGlob, readPath } from '../policy/path.ts';

/** Where a request goes. */
export interface Destination {
  readonly authority: Authority;
  /** Origin-form, with its query. */
  readonly path: string;
}

/**
 * How a credential is carried to where a request goes: the first place that has it says. A path that two servers read
 * differently is in no place that names paths: what is git to us could be the website to the other. Where such a place
 * would keep the credential back, the request is refused.
 *
 * @returns SidekeyError `policy_violation`: the credential is not for there
 */
export function placementAt(
  places: readonly InjectPlace[],
  { authority, path }: Destination,
): InjectPlace['as'] | SidekeyError {
  for (const { hosts, paths, as } of readPlaces(places)) {
    if (hosts !== null && !hosts.some((pattern) => matchesPattern(pattern, authority))) continue;
    if (paths === null) return as;
    const read = readPath(path);
    if (isUnread(read)) {
      if (as.kind === 'own') return unread(read.problem, authority);
      continue;
    }
    if (paths.some((glob) => matchesPath(glob.segments, read.segments))) return as;
  }
  return new SidekeyError(
    'policy_violation',
    `The provider of this grant does not say how its credential is carried to this path of ${authorityText(authority)}.`,
    { hint: 'see "sidekey provider show NAME" for where it goes' },
  );
}

function unread(problem: string, authority: Authority): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    `The path ${problem}, and some paths of ${authorityText(authority)} are to get no credential.`,
    { hint: 'write the path in its plain form' },
  );
}

interface ReadPlace extends Pick<InjectPlace, 'as'> {
  readonly hosts: readonly DomainPattern[] | null;
  readonly paths: readonly PathGlob[] | null;
}

const known = new WeakMap<readonly InjectPlace[], readonly ReadPlace[]>();

function readPlaces(places: readonly InjectPlace[]): readonly ReadPlace[] {
  let read = known.get(places);
  if (read === undefined) {
    // What cannot be read is no host and no path: it would be wrong to take it for all of them.
    read = places.map(({ hosts, paths, as }) => ({
      hosts: hosts?.map(parsePattern).filter(isPattern) ?? null,
      paths: paths?.map(parsePathGlob).filter((glob) => 'segments' in glob) ?? null,
      as,
    }));
    known.set(places, read);
  }
  return read;
}
