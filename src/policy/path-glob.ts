import { fold } from './fold.ts';
import { globCovers, matchesGlob, matchesStem, parseGlob, type Glob } from './glob.ts';

/** A path in which `*` stands for one segment or a part of one, and a segment `**` for any number of segments, also none. */
export interface PathGlob {
  readonly text: string;
  readonly segments: readonly (Glob | typeof anyDepth)[];
  /** The same folded and without a slash at its end: for what only some servers take for the same path. */
  readonly loose: readonly (Glob | typeof anyDepth)[];
}

/** A segment `**`. */
export const anyDepth = '**';

/** Reads a path glob. What is wrong with it comes as the end of a sentence. */
export function parsePathGlob(text: string): PathGlob | { readonly problem: string } {
  if (!text.startsWith('/')) return { problem: 'must begin with /' };
  if (/[?#]/.test(text)) return { problem: 'is a path; what follows ? is for query' };
  if (text.includes('%')) return { problem: 'has a %; write the character itself, the path is decoded' };
  // No request that is let as far as this has any of them in its path.
  if (/[;\\]|\p{Cc}/u.test(text)) return { problem: 'has a character that no path with one reading has' };
  const written = text.slice(1).split('/');
  if (written.some((segment, index) => segment === '' && index < written.length - 1)) {
    return { problem: 'has an empty segment (//)' };
  }
  if (written.some((segment) => segment === '.' || segment === '..')) {
    return { problem: 'has . or .. as a segment' };
  }
  if (written.some((segment) => segment !== anyDepth && segment.includes(anyDepth))) {
    return { problem: 'has ** beside other characters; ** is a segment of its own' };
  }
  if (written.filter((segment) => segment === anyDepth).length > mostDepths) {
    return { problem: `has more than ${mostDepths} times **` };
  }
  return {
    text,
    segments: written.map(segmentGlob),
    loose: withoutLastSlash(written).map((segment) => segmentGlob(fold(segment))),
  };
}

/** More would say nothing new, and comparing such globs takes long. */
const mostDepths = 4;

/** Names of programs that servers run with what follows as an argument: `/index.php/admin` is `/admin` for some. */
const script = /\.(?:php[0-9]?|phtml|cgi|fcgi|pl|py|rb|aspx?|ashx|cfm|jspx?|exe|dll)$/;
/** Files that servers answer a folder with. */
const indexFile = /^(?:index|default)(?:\.|$)/;
/** A key as OData writes it: `users('x')` is `users/x` for some. */
const keyed = /^([^()]+)\((['"]?)([^()]*)\2\)(?:[.:].*)?$/;

/**
 * Segments as the most forgiving servers compare them: folded, without a slash at the end, and in each further reading of
 * the path. Suffixes of a segment are for `matchesLoosely`.
 */
export function looseReadings(segments: readonly string[]): readonly (readonly string[])[] {
  let readings: readonly (readonly string[])[] = [withoutLastSlash(segments).map(fold)];
  for (const further of [behindProgram, withKeys, withoutIndex]) {
    const found = readings.flatMap(further);
    if (found.length > 0) readings = [...readings, ...found];
  }
  return readings;
}

/** The program alone, and what it is given. */
function behindProgram(segments: readonly string[]): readonly (readonly string[])[] {
  const at = segments.findIndex((segment) => segment.includes('.') && script.test(segment));
  return at < 0 ? [] : [segments.slice(0, at + 1), orRoot(segments.slice(at + 1))];
}

function withKeys(segments: readonly string[]): readonly (readonly string[])[] {
  if (!segments.some((segment) => segment.includes('('))) return [];
  const written = segments.flatMap((segment) => {
    const [, name, , key] = keyed.exec(segment) ?? [];
    return name === undefined || key === undefined || key === '' ? [segment] : [name, key];
  });
  return [written];
}

function withoutIndex(segments: readonly string[]): readonly (readonly string[])[] {
  return indexFile.test(segments.at(-1) ?? '') ? [orRoot(segments.slice(0, -1))] : [];
}

function orRoot(segments: readonly string[]): readonly string[] {
  return segments.length === 0 ? [''] : segments;
}

function withoutLastSlash(segments: readonly string[]): readonly string[] {
  return segments.length > 1 && segments.at(-1) === '' ? segments.slice(0, -1) : segments;
}

function segmentGlob(text: string): Glob | typeof anyDepth {
  return text === anyDepth ? anyDepth : parseGlob(text);
}

/** Whether a path, as its decoded segments, is one that the glob covers. */
export function matchesPath(globs: PathGlob['segments'], segments: readonly string[]): boolean {
  return matchesAll(globs, segments, matchesSegment);
}

/** Whether the glob covers one of the readings, with each segment as it is or without a suffix. */
export function matchesLoosely(
  globs: PathGlob['loose'],
  readings: ReturnType<typeof looseReadings>,
): boolean {
  return readings.some((segments) => matchesAll(globs, segments, matchesSegmentStem));
}

function matchesAll<S>(
  globs: PathGlob['segments'],
  segments: readonly S[],
  fits: (glob: Glob, segment: S) => boolean,
): boolean {
  let glob = 0;
  let segment = 0;
  // Where to go on when what follows the last ** does not fit: it takes one segment more. Earlier ones need no retry.
  let retry: { readonly glob: number; segment: number } | null = null;
  while (segment < segments.length) {
    const current = globs[glob];
    if (current === anyDepth) {
      retry = { glob: glob + 1, segment };
      glob += 1;
    } else if (current !== undefined && fits(current, segments[segment]!)) {
      glob += 1;
      segment += 1;
    } else if (retry !== null) {
      retry.segment += 1;
      ({ glob, segment } = retry);
    } else {
      return false;
    }
  }
  while (globs[glob] === anyDepth) glob += 1;
  return glob === globs.length;
}

/** A `*` that is a whole segment stands for a segment that is there. */
function matchesSegment(glob: Glob, segment: string): boolean {
  return glob.text === '*' ? segment !== '' : matchesGlob(glob, segment);
}

function matchesSegmentStem(glob: Glob, segment: string): boolean {
  return glob.text === '*' ? segment !== '' : matchesStem(glob, segment);
}

/** Whether every path that `inner` covers is covered by `outer`. May say no where it is so; never yes where it is not. */
export function pathCovers(outer: PathGlob, inner: PathGlob): boolean {
  return coversFrom(outer.segments, inner.segments);
}

function coversFrom([outer, ...outerRest]: PathGlob['segments'], inner: PathGlob['segments']): boolean {
  const [first, ...innerRest] = inner;
  if (outer === undefined) return first === undefined;
  if (outer === anyDepth) {
    if (outerRest.length === 0) return true;
    return (
      coversFrom(outerRest, inner) || (first !== undefined && coversFrom([outer, ...outerRest], innerRest))
    );
  }
  if (first === undefined || first === anyDepth) return false;
  return segmentCovers(outer, first) && coversFrom(outerRest, innerRest);
}

function segmentCovers(outer: Glob, inner: Glob): boolean {
  if (outer.text === '*') return inner.text !== '';
  if (inner.text === '*') return false;
  return globCovers(outer, inner);
}
