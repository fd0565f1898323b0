import { isUnread, readPath } from '../policy/path-reading.ts';

/** More paths than these are told by what they have in common. */
const mostPathsTold = 8;

/**
 * Globs of a rule that cover the paths: the paths themselves, where they are few; else with `*` for what looks like an
 * id; else what they have in common, down to its last whole segment. A path that no rule with `paths` lets through is
 * covered by none.
 */
export function pathGlobs(paths: readonly string[]): string[] {
  const plain = [...new Set(paths.flatMap((path) => literal(path) ?? []))].toSorted();
  if (plain.length <= mostPathsTold) return plain;
  const shapes = [...new Set(plain.map((path) => path.split('/').map(idToStar).join('/')))].toSorted();
  if (shapes.length <= mostPathsTold) return shapes;
  const byFirst = Map.groupBy(shapes, (shape) => shape.split('/')[1] ?? '');
  const prefixes = Array.from(byFirst.values(), (group) =>
    group.length === 1 ? (group[0] ?? '/') : commonPrefix(group),
  );
  return prefixes.length <= mostPathsTold ? prefixes.toSorted() : ['/**'];
}

/** A path as a glob that covers it: decoded as rules read it; what no glob can say becomes a star. */
function literal(path: string): string | null {
  const read = readPath(path);
  if (isUnread(read)) return null;
  return `/${read.segments.map((segment) => (/[%*]/.test(segment) ? '*' : segment)).join('/')}`;
}

/** Numbers, UUIDs, hashes, and long words with digits in them. */
function idToStar(segment: string): string {
  const isId = /^(?:\d+|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=.*\d)[\w-]{16,})$/i.test(
    segment,
  );
  return isId ? '*' : segment;
}

function commonPrefix(paths: readonly string[]): string {
  const [first = [], ...rest] = paths.map((path) => path.split('/').slice(1));
  let same = 0;
  while (same < first.length && rest.every((segments) => segments[same] === first[same])) same += 1;
  return `/${[...first.slice(0, same), '**'].join('/')}`;
}
