import { describe, expect, it } from 'vitest';
import {
  anyDepth,
  isUnread,
  matchesPath,
  parsePathGlob,
  pathCovers,
  type PathGlob,
  readPath,
  readQuery,
} from '../../src/proxy/policy/path.ts';
import { matchesGlob, parseGlob } from '../../src/proxy/policy/text.ts';
import * as fc from '../support/fast-check.ts';

/** Everything that some server gives a meaning of its own, and what it is made of. */
const strange = fc.constantFrom(
  '\0',
  ' ',
  '\xfc',
  ...String.raw`B admin / // . .. ... ; ;x=1 % %2f %2F %5c \ %2e %2E %3b %25 %252e %32 %65 %00 %0a %7f`.split(
    ' ',
  ),
  ...'%20 + %c3%bc %c0%ae %ff %ef%bc%8f %e2%80%a4 %u002e %3f %23 ? # : @ * ~ %61 %zz %2 " | %cc%81'.split(
    ' ',
  ),
);
const plain = fc.constantFrom(
  'a',
  'B',
  '/a',
  '/b/',
  '/',
  '.a',
  '-',
  'a.b',
  '...',
  '%61',
  '%20',
  '%c3%bc',
  '+',
  ':',
);
const piece = fc.oneof({ arbitrary: plain, weight: 6 }, { arbitrary: strange, weight: 1 });
const path = fc.array(piece, { maxLength: 10 }).map((pieces) => `/${pieces.join('')}`);

/** Ways in which servers are known to read a path, each as decoded segments. */
const servers: Readonly<Record<string, (path: string) => readonly string[]>> = {
  'a URL parser (WHATWG)': (path) => split(new URL(`https://host${path}`).pathname).map(decodeURIComponent),
  'one that decodes before it splits': (path) => resolved(split(decodeURIComponent(cut(path)))),
  'one that splits before it decodes': (path) => resolved(split(cut(path)).map(decodeURIComponent)),
  'one that decodes twice': (path) => resolved(split(decodeTwice(cut(path)))),
  'one that takes parameters away': (path) =>
    resolved(split(cut(path)).map((segment) => decodeURIComponent(segment).split(';')[0] ?? '')),
  'one that knows backslashes': (path) =>
    resolved(split(decodeURIComponent(cut(path)).replaceAll('\\', '/'))),
  'one that joins slashes': (path) => resolved(split(decodeURIComponent(cut(path)).replaceAll(/\/+/g, '/'))),
  'one that ends at a NUL': (path) => resolved(split(decodeURIComponent(cut(path)).split('\0')[0] ?? '')),
  'one that cuts off a query after decoding': (path) =>
    resolved(split(decodeURIComponent(cut(path)).split(/[?#]/)[0] ?? '')),
};

const cut = (path: string) => path.split('?', 1)[0] ?? '';
const split = (path: string) => path.slice(1).split('/');

function decodeTwice(path: string): string {
  const once = decodeURIComponent(path);
  return once.replaceAll(/(?:%[0-9a-f]{2})+/gi, (found) => decodeURIComponent(found));
}

/** RFC 3986 §5.2.4, on segments. */
function resolved(segments: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (isLast) kept.push('');
  }
  return kept;
}

describe('the reading of a path', () => {
  it('succeeds for at least a fifth of the generated paths', () => {
    const read = fc.sample(path, 1_000).filter((text) => !isUnread(readPath(text)));
    expect(read.length).toBeGreaterThan(200);
  });

  for (const [name, read] of Object.entries(servers)) {
    it(`has the same segments as the reading by ${name}`, () => {
      fc.assert(
        fc.property(path, (text) => {
          const reading = readPath(text);
          if (isUnread(reading)) return;
          expect(read(text)).toEqual(reading.segments);
        }),
        { numRuns: 5_000 },
      );
    });
  }

  it('is the same after its segments are serialized again', () => {
    fc.assert(
      fc.property(path, (text) => {
        const reading = readPath(text);
        if (isUnread(reading)) return;
        const written = `/${reading.segments.map(encodeURIComponent).join('/')}`;
        expect(readPath(written)).toEqual(reading);
        // No other segment hides in it, and none has a separator.
        expect(reading.segments.join('/').split(/[/\\;]/)).toHaveLength(reading.segments.length);
      }),
      { numRuns: 5_000 },
    );
  });

  it('has a reason if it fails, for any text', () => {
    const any = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string(),
      path,
      path.map((text) => text.slice(1)),
    );
    fc.assert(
      fc.property(any, (text) => {
        for (const reading of [readPath(text), readQuery(text)]) {
          if (isUnread(reading)) expect(reading.problem).toMatch(/^(has|is|does) /);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it('succeeds for every ordinary path', () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9_~-][A-Za-z0-9._~:@-]{0,8}$/);
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1 }), (segments) => {
        expect(readPath(`/${segments.join('/')}?a=/../;b`)).toMatchObject({ segments });
      }),
    );
  });
});

describe('a glob', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 });

  it('matches the same texts as its regular expression', () => {
    fc.assert(
      fc.property(text, text, (glob, value) => {
        const definition = new RegExp(`^${glob.replaceAll('.', '[.]').replaceAll('*', '[^]*')}$`);
        expect(matchesGlob(parseGlob(glob), value)).toBe(definition.test(value));
      }),
      { numRuns: 5_000 },
    );
  });

  it('matches in bounded time even if it is built to be slow', () => {
    const glob = parseGlob('*a'.repeat(2_000));
    // Of the processor, whatever else the machine does; in microseconds.
    const begin = process.cpuUsage();
    expect(matchesGlob(glob, `${'a'.repeat(60_000)}b`)).toBe(false);
    const { user, system } = process.cpuUsage(begin);
    expect(user + system).toBeLessThan(500_000);
  });
});

const globSegment = fc.constantFrom('**', '*', 'a', 'b', 'a*', '*b');
const globs: fc.Arbitrary<PathGlob> = fc
  .array(globSegment, { minLength: 1, maxLength: 5 })
  .map((segments) => parsePathGlob(`/${segments.join('/')}`))
  .filter((parsed): parsed is PathGlob => !('problem' in parsed));
const segments = fc.array(fc.constantFrom('a', 'b', 'ab', 'c', ''), { minLength: 1, maxLength: 6 });

/** The definition of a path glob, slow and plain. */
function covers(glob: PathGlob['segments'], path: readonly string[]): boolean {
  const [first, ...rest] = glob;
  if (first === undefined) return path.length === 0;
  if (first === anyDepth) return covers(rest, path) || (path.length > 0 && covers(glob, path.slice(1)));
  const [segment, ...after] = path;
  if (segment === undefined) return false;
  const fits = first.text === '*' ? segment !== '' : matchesGlob(first, segment);
  return fits && covers(rest, after);
}

describe('a path glob', () => {
  it('matches the same paths as its definition', () => {
    fc.assert(
      fc.property(globs, segments, (glob, path) => {
        expect(matchesPath(glob.segments, path)).toBe(covers(glob.segments, path));
      }),
      { numRuns: 10_000 },
    );
  });

  it('covers another glob only if it matches every path of that glob', () => {
    fc.assert(
      fc.property(globs, globs, segments, (outer, inner, path) => {
        if (!pathCovers(outer, inner) || !matchesPath(inner.segments, path)) return;
        expect(matchesPath(outer.segments, path)).toBe(true);
      }),
      { numRuns: 50_000 },
    );
  });
});
