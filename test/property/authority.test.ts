import { describe, expect, it } from 'vitest';
import {
  type Authority,
  authorityText,
  canonicalHost,
  defaultPort,
  parseAbsoluteTarget,
  parseAuthority,
  parseConnectTarget,
  parsePort,
} from '../../src/proxy/policy/authority.ts';
import { isPattern, parsePattern } from '../../src/proxy/policy/domain-map.ts';
import * as fc from '../support/fast-check.ts';

const host = fc
  .oneof(
    fc.domain(),
    fc.ipV4(),
    fc.ipV6().map((text) => `[${text}]`),
  )
  .map(canonicalHost)
  .filter((text) => text !== null);
const scheme = fc.constantFrom('https' as const, 'http' as const);
const authority: fc.Arbitrary<Authority> = fc.record({
  scheme,
  host,
  port: fc.oneof(fc.constantFrom(80, 443), fc.integer({ min: 1, max: 65_535 })),
});
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({
    unit: fc.constantFrom(
      'a',
      '.',
      ':',
      '[',
      ']',
      '@',
      '/',
      '//',
      'https',
      '?',
      '#',
      '1',
      '%',
      '\0',
      '\\',
      '*',
    ),
  }),
);

describe('an authority', () => {
  it('is unchanged after serialization and parsing', () => {
    fc.assert(
      fc.property(authority, (value) => {
        expect(parseAuthority(authorityText(value), value.scheme)).toEqual(value);
        expect(parseAuthority(`${value.host}:${value.port}`, value.scheme)).toEqual(value);
        expect(parseAbsoluteTarget(`${value.scheme}://${authorityText(value)}`)).toEqual({
          authority: value,
          path: '/',
        });
      }),
    );
  });

  it('is parsed from a CONNECT target, which always has a port', () => {
    fc.assert(
      fc.property(authority, (value) => {
        expect(parseConnectTarget(`${value.host}:${value.port}`)).toEqual({ ...value, scheme: 'https' });
        expect(parseConnectTarget(value.host)).toBeNull();
      }),
    );
  });

  it('is not parsed from two authorities that are joined by a separator', () => {
    fc.assert(
      fc.property(
        authority,
        authority,
        fc.constantFrom('@', ':x@', '\0', '\0.', '\\', '\\@', '/', '?', '#', ' ', '%00', '%40', '\r\n', ','),
        (a, b, join) => {
          const text = `${a.host}:${a.port}${join}${b.host}:${b.port}`;
          expect(parseAuthority(text, a.scheme)).toBeNull();
          expect(parseConnectTarget(text)).toBeNull();
          expect(isPattern(parsePattern(text))).toBe(false);
        },
      ),
    );
  });

  it('of an absolute target ends before the first slash or question mark, and the rest stays unchanged', () => {
    const rest = fc.string({ unit: 'binary' }).filter((text) => !text.includes('#'));
    fc.assert(
      fc.property(authority, fc.constantFrom('/', '?'), rest, (value, mark, tail) => {
        const target = parseAbsoluteTarget(`${value.scheme}://${authorityText(value)}${mark}${tail}`);
        expect(target).toEqual({ authority: value, path: `${mark === '/' ? '' : '/'}${mark}${tail}` });
      }),
    );
  });

  it('is parsed from any text without an exception, and is canonical', () => {
    fc.assert(
      fc.property(anyText, scheme, (text, as) => {
        for (const value of [
          parseAuthority(text, as),
          parseConnectTarget(text),
          parseAbsoluteTarget(text)?.authority ?? null,
        ]) {
          if (value === null) continue;
          expect(canonicalHost(value.host)).toBe(value.host);
          expect(value.port).toBeGreaterThanOrEqual(1);
          expect(value.port).toBeLessThanOrEqual(65_535);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('has the default port of its scheme only if the text has no colon', () => {
    fc.assert(
      fc.property(host, scheme, (text, as) => {
        expect(parseAuthority(text, as)?.port).toBe(defaultPort[as]);
        expect(parseAuthority(`${text}:`, as)).toBeNull();
      }),
    );
  });
});

describe('a port', () => {
  it('is parsed only from its plain decimal text', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -10, max: 70_000 }),
        fc.constantFrom('', '0', '+', ' '),
        (value, before) => {
          const expected = before === '' && value >= 1 && value <= 65_535 ? value : null;
          expect(parsePort(`${before}${value}`)).toBe(expected);
        },
      ),
    );
  });
});
