import { fold, withoutTail } from './fold.ts';
import { looseReadings } from './path-glob.ts';

/** A path that every server reads in the same way. */
export interface ReadPath {
  /** Decoded, without the slash before each. */
  readonly segments: readonly string[];
  /** See `looseReadings`. */
  readonly loose: ReturnType<typeof looseReadings>;
}

/** Why a target cannot be judged. */
export interface ReadingProblem {
  /** The end of a sentence that begins with what it is of. */
  readonly problem: string;
  /** Every server reads it alike, but it has more parts than each rule is to look at. */
  readonly isLong?: true;
}

/** More than any API has, and than servers take; each rule looks at all of it. */
const mostCharacters = 8_192;
const mostSegments = 256;
const mostParameters = 256;

/** What needs no second look: letters, digits, and the marks that no server gives a meaning of its own within a segment. */
const plain = /^[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*$/;
/** Visible ASCII: a server may take any other byte for UTF-8, for Latin-1, or for the end of the line. */
const visible = /^[\x21-\x7e]*$/;
/** What ends a segment or a path, or begins its parameters, for at least one server. */
const special = /[/\\;?#]|\p{Cc}/u;
const undecodable: ReadingProblem = { problem: 'has a % that encodes no text in UTF-8' };
/** What a second decoding would read anew, that of IIS included. */
const encodedTwice = /%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})/i;

/**
 * The path of a request target as upstream reads it: without its query, split, each segment decoded once (RFC 3986 §6.2.2.2).
 * A path that two servers would read differently has no reading, and is answered with why: whatever is judged is then what
 * upstream sees, and the bytes need no rewriting.
 */
export function readPath(target: string): ReadPath | ReadingProblem {
  const path = target.split('?', 1)[0] ?? '';
  if (!path.startsWith('/')) return { problem: 'does not begin with /' };
  if (path.length > mostCharacters) return tooMany(mostCharacters, 'characters');
  const written = path.slice(1).split('/');
  if (written.length > mostSegments) return tooMany(mostSegments, 'segments');
  const segments: string[] = [];
  for (const [index, raw] of written.entries()) {
    if (raw === '' && index < written.length - 1) return { problem: 'has an empty segment (//)' };
    const segment = raw === '' || plain.test(raw) ? raw : readSegment(raw);
    if (typeof segment !== 'string') return segment;
    segments.push(segment);
  }
  return { segments, loose: looseReadings(segments) };
}

function readSegment(raw: string): string | ReadingProblem {
  if (!visible.test(raw)) return { problem: 'has a byte that is no part of a URI' };
  let segment: string;
  try {
    segment = decodeURIComponent(raw);
  } catch {
    return undecodable;
  }
  if (encodedTwice.test(segment)) return { problem: 'is encoded twice' };
  // Some servers map full-width and other look-alike characters to the ASCII ones (best fit).
  const folded = fold(segment);
  const found = special.exec(segment)?.[0] ?? special.exec(folded)?.[0];
  if (found !== undefined) return { problem: `has ${nameOf(found)} within a segment` };
  if (encodedTwice.test(folded)) return { problem: 'is encoded twice' };
  if (/^\s*\.{1,2}\s*$/.test(folded)) return { problem: 'has . or .. as a segment' };
  if (withoutTail(folded) === '') return { problem: 'has a segment of dots and blanks alone' };
  return segment;
}

function tooMany(most: number, parts: string): ReadingProblem {
  return { problem: `has more than ${most} ${parts}`, isLong: true };
}

function nameOf(character: string): string {
  return special.test(character) && character >= ' ' && character < '\x7f'
    ? `a ${character}, plain or encoded,`
    : 'a control character';
}

/** A query as forms write it: names, each with its values in order. */
export type ReadQuery = ReadonlyMap<string, readonly string[]>;

/**
 * The query of a request target, as `application/x-www-form-urlencoded` (WHATWG URL §5.1). One that servers would read
 * differently has no reading: broken encodings, and `;`, at which some split too.
 */
export function readQuery(target: string): ReadQuery | ReadingProblem {
  const mark = target.indexOf('?');
  const query = new Map<string, string[]>();
  if (mark < 0) return query;
  const text = target.slice(mark + 1);
  if (!visible.test(text) || text.includes('#')) return { problem: 'has a byte that is no part of a URI' };
  if (text.includes(';')) return { problem: 'has a ; which some servers take for &' };
  const pairs = text.split('&').filter((pair) => pair !== '');
  if (pairs.length > mostParameters) return tooMany(mostParameters, 'parameters');
  try {
    for (const pair of pairs) {
      const [name = '', ...rest] = pair
        .split('=')
        .map((part) => decodeURIComponent(part.replaceAll('+', ' ')));
      const value = rest.join('=');
      if (`${name}${value}`.includes('\0')) return { problem: 'has an encoded NUL' };
      const values = query.get(name);
      if (values === undefined) query.set(name, [value]);
      else values.push(value);
    }
  } catch {
    return undecodable;
  }
  return query;
}

/** Whether a reading failed. */
export function isUnread(reading: ReadPath | ReadQuery | ReadingProblem): reading is ReadingProblem {
  return 'problem' in reading;
}
