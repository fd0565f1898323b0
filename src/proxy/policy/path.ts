import {
  decoded,
  FieldNames,
  fold,
  type Glob,
  globCovers,
  matchesGlob,
  matchesStem,
  mostRounds,
  parseGlob,
  withoutTail,
} from './text.ts';

/** A path that all servers interpret equally. */
export interface ReadPath {
  /** Decoded, without slashes. */
  readonly segments: readonly string[];
  /** See `looseReadings`. */
  readonly loose: ReturnType<typeof looseReadings>;
}

/** Reason that a target is ambiguous. */
export interface ReadingProblem {
  /** The end of a sentence about the target. */
  readonly problem: string;
  /** True if the target is unambiguous, but has too many parts. */
  readonly isLong?: true;
}

/** Maximum length in characters, above that of real APIs and servers, because each rule scans all of it. */
const mostCharacters = 8_192;
const mostSegments = 256;
const mostParameters = 256;

/** Letters, digits, and marks that no server interprets within a segment. */
const plain = /^[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*$/;
/** Visible ASCII. Servers differ in the encoding of other bytes. */
const visible = /^[\x21-\x7e]*$/;
/** Characters that end a segment or a path, or begin its parameters, for at least one server. */
const special = /[/\\;?#]|\p{Cc}/u;
const undecodable: ReadingProblem = { problem: 'has a % that encodes no text in UTF-8' };
/** Text that a second decoding would change, including that of IIS. */
const encodedTwice = /%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})/i;

/**
 * Parses the path of a request target: without its query, split, each segment decoded once (RFC 3986
 * §6.2.2.2). Returns a problem if servers differ in its interpretation, so that policy and upstream agree
 * without a rewrite.
 */
export function readPath(target: string): ReadPath | ReadingProblem {
  return readPlainPath(target) ?? readEncodedPath(target);
}

const slash = 0x2f;
const question = 0x3f;
const dot = 0x2e;

/** Characters of `plain`. */
const isPlain = 1;
/** The first character of an index file. */
const beginsIndex = 2;
/** A character that adds readings to a path, or that is compared in lower case. */
const isNotable = 4;
const pathKinds = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (!/[A-Za-z0-9._~!$&'()*+,=:@-]/.test(character)) return 0;
  return isPlain | (/[id]/.test(character) ? beginsIndex : 0) | (/[A-Z.(]/.test(character) ? isNotable : 0);
});

/** Reads a path of `plain` segments in one pass, like `readEncodedPath`. Returns null for others. */
function readPlainPath(target: string): ReadPath | null {
  if (target.charCodeAt(0) !== slash) return null;
  let start = 1;
  let before = 1;
  let count = 1;
  let kinds = 0;
  let at = 1;
  for (; at < target.length; at += 1) {
    const code = target.charCodeAt(at);
    if (code === question) break;
    if (code === slash) {
      if (at === start) return null;
      before = start;
      start = at + 1;
      count += 1;
      continue;
    }
    const kind = code < 128 ? pathKinds[code]! : 0;
    if (kind === 0 || (code === dot && at === start)) return null;
    kinds |= kind;
  }
  if (at > mostCharacters || count > mostSegments) return null;
  const written = target.slice(1, at);
  const segments = count === 1 ? [written] : written.split('/');
  // The last segment without the slash at the end.
  const last = start < at ? start : before;
  const mayBeIndex = last < at && (pathKinds[target.charCodeAt(last)]! & beginsIndex) !== 0;
  const isSimple = (kinds & isNotable) === 0 && !mayBeIndex;
  return { segments, loose: isSimple ? [withoutLastSlash(segments)] : looseReadings(segments) };
}

function readEncodedPath(target: string): ReadPath | ReadingProblem {
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

/**
 * Returns the segments of a path as the most lenient server reads them: decoded as often as possible, without
 * parameters and empty segments, dots followed, in lower case.
 */
export function forgivenPath(target: string): readonly string[] {
  let read = target.split('?', 1)[0] ?? '';
  for (let round = 0; round < mostRounds; round += 1) read = decoded(read);
  const segments: string[] = [];
  for (const written of read
    .replaceAll(/\p{Cc}/gu, '')
    .split(/[?#]/, 1)[0]!
    .split(/[/\\]+/)) {
    const segment = written.split(';', 1)[0]!;
    if (segment.trim() === '..') segments.pop();
    else if (withoutTail(segment) !== '') segments.push(segment);
  }
  return segments;
}

/** A form-encoded query: names, each with its values in order. */
export type ReadQuery = ReadonlyMap<string, readonly string[]>;

/**
 * Parses the query of a request target as `application/x-www-form-urlencoded` (WHATWG URL §5.1). Returns a
 * problem if servers differ in its interpretation: invalid encodings, and `;`, a separator for some.
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
      if (/\p{Cc}/u.test(name)) return { problem: 'has a control character in a name' };
      if (value.includes('\0')) return { problem: 'has an encoded NUL' };
      const values = query.get(name);
      if (values === undefined) query.set(name, [value]);
      else values.push(value);
    }
  } catch {
    return undecodable;
  }
  return query;
}

/** Reports whether a reading failed. */
export function isUnread(reading: ReadPath | ReadQuery | ReadingProblem): reading is ReadingProblem {
  return 'problem' in reading;
}

/**
 * Header fields that some servers treat as the path, instead of the request line: IIS with URL Rewrite or
 * ISAPI Rewrite, Symfony before CVE-2018-14773 and Zend (ZF2018-01); Spring (`X-Forwarded-Prefix`); gunicorn
 * (`SCRIPT_NAME`, `PATH_INFO`); services behind nginx, Traefik, Envoy and Azure, which send the client's path
 * in them.
 */
const fieldNames = new FieldNames([
  'x-original-url',
  'x-rewrite-url',
  'x-override-url',
  'x-original-uri',
  'x-rewrite-uri',
  'x-request-uri',
  'request-uri',
  'x-original-path',
  'x-envoy-original-path',
  'x-forwarded-path',
  'x-forwarded-prefix',
  'x-forwarded-uri',
  'x-forwarded-url',
  'x-replaced-path',
  'x-script-name',
  'script-name',
  'path-info',
  'x-waws-unencoded-url',
]);

/** Reports whether some servers treat the header field as the path. */
export function overridesPath(fieldName: string): boolean {
  return fieldNames.has(fieldName);
}

/** A path glob: `*` matches one segment or a part of one, and a segment `**` any number of segments. */
export interface PathGlob {
  readonly text: string;
  readonly segments: readonly (Glob | typeof anyDepth)[];
  /** Folded segments without a trailing slash, for paths that only some servers treat as equal. */
  readonly loose: readonly (Glob | typeof anyDepth)[];
}

/** A segment `**`. */
export const anyDepth = '**';

/** Parses a path glob. Returns a problem as the end of a sentence. */
export function parsePathGlob(text: string): PathGlob | { readonly problem: string } {
  if (!text.startsWith('/')) return { problem: 'must begin with /' };
  if (/[?#]/.test(text)) return { problem: 'is a path; what follows ? is for query' };
  if (text.includes('%')) return { problem: 'has a %; write the character itself, the path is decoded' };
  // Requests with these characters in their path are refused earlier.
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

/**
 * Parses a path as the documentation of an API writes it (RFC 6570): `{name}` is `*`, and `{+name}` is `**`.
 * Returns a problem as the end of a sentence.
 */
export function parsePathTemplate(text: string): ReturnType<typeof parsePathGlob> {
  return parsePathGlob(text.replaceAll(/\{\+[^{}/]+\}/g, anyDepth).replaceAll(/\{[^{}/]+\}/g, '*'));
}

/** Maximum number of `**`. More are useless, and slow to compare. */
const mostDepths = 4;

/** Programs that servers run with the rest as an argument: some read `/index.php/admin` as `/admin`. */
const script = /\.(?:php[0-9]?|phtml|cgi|fcgi|pl|py|rb|aspx?|ashx|cfm|jspx?|exe|dll)$/;
/** Index files of folders. */
const indexFile = /^(?:index|default)(?:\.|$)/;
/** A key of OData: some servers read `users('x')` as `users/x`. */
const keyed = /^([^()]+)\((['"]?)([^()]*)\2\)(?:[.:].*)?$/;

/**
 * Returns the segments as the most lenient servers compare them: folded, without a trailing slash, and in all
 * alternative readings. `matchesLoosely` handles suffixes.
 */
function looseReadings(segments: readonly string[]): readonly (readonly string[])[] {
  let readings: readonly (readonly string[])[] = [withoutLastSlash(segments).map(fold)];
  for (const further of [behindProgram, withKeys, withoutIndex]) {
    const found = readings.flatMap(further);
    if (found.length > 0) readings = [...readings, ...found];
  }
  return readings;
}

/** Returns the program, and its path argument. */
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

/** Reports whether the glob matches the decoded segments of a path. */
export function matchesPath(globs: PathGlob['segments'], segments: readonly string[]): boolean {
  return matchesAll(globs, segments, false);
}

/** Reports whether the glob matches one of the readings, each segment with or without a suffix. */
export function matchesLoosely(
  globs: PathGlob['loose'],
  readings: ReturnType<typeof looseReadings>,
): boolean {
  for (let i = 0; i < readings.length; i += 1) if (matchesAll(globs, readings[i]!, true)) return true;
  return false;
}

/** @param isLoose matches segments with or without a suffix */
function matchesAll(globs: PathGlob['segments'], segments: readonly string[], isLoose: boolean): boolean {
  let glob = 0;
  let segment = 0;
  // Position for backtracking, or -1: only the last `**` takes one segment more. Earlier ones need no retry.
  let retryGlob = -1;
  let retrySegment = 0;
  while (segment < segments.length) {
    const current = globs[glob];
    if (current === anyDepth) {
      glob += 1;
      retryGlob = glob;
      retrySegment = segment;
    } else if (current !== undefined && matchesSegment(current, segments[segment]!, isLoose)) {
      glob += 1;
      segment += 1;
    } else if (retryGlob >= 0) {
      retrySegment += 1;
      glob = retryGlob;
      segment = retrySegment;
    } else {
      return false;
    }
  }
  while (globs[glob] === anyDepth) glob += 1;
  return glob === globs.length;
}

/** A segment glob `*` requires a non-empty segment. */
function matchesSegment(glob: Glob, segment: string, isLoose: boolean): boolean {
  if (glob.text === '*') return segment !== '';
  return isLoose ? matchesStem(glob, segment) : matchesGlob(glob, segment);
}

/** Reports whether `outer` matches all paths of `inner`. May be falsely negative, never falsely positive. */
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
