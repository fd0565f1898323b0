import { describe, expect, it } from 'vitest';
import { parseAuthority, type Scheme } from '../../../../src/proxy/policy/authority.ts';
import { createDomainMap, matchesPattern } from '../../../../src/proxy/policy/domain-map.ts';
import { authorityOf, domainOf, patternOf } from './policy-for-test.ts';

describe('a pattern', () => {
  it.each([
    ['api.example.com', 'api.example.com', true],
    ['api.example.com', 'API.EXAMPLE.COM.', true],
    ['api.example.com', 'x.api.example.com', false],
    ['api.example.com', 'example.com', false],
    ['api.example.com', 'api.example.com:8443', false],
    ['api.example.com:8443', 'api.example.com:8443', true],
    ['api.example.com:8443', 'api.example.com', false],
    ['*.example.com', 'api.example.com', true],
    ['*.example.com', 'a.b.c.example.com', true],
    ['*.example.com', 'example.com', false],
    ['*.example.com', 'notexample.com', false],
    ['*.example.com', 'api.example.com.attacker.example', false],
    ['*.example.com', 'api.example.com:8443', false],
    ['*.example.com:8443', 'api.example.com:8443', true],
  ])('%s against %s: %s', (pattern, authority, matches) => {
    expect(matchesPattern(patternOf(pattern), authorityOf(authority))).toBe(matches);
  });

  it('without a port matches the default port of the requested scheme', () => {
    const pattern = patternOf('example.com');
    const asked = (text: string, scheme: Scheme) => matchesPattern(pattern, parseAuthority(text, scheme)!);
    expect(asked('example.com:443', 'https')).toBe(true);
    expect(asked('example.com:80', 'http')).toBe(true);
    expect(asked('example.com:80', 'https')).toBe(false);
    expect(asked('example.com:443', 'http')).toBe(false);
  });
});

describe('the domain map', () => {
  const map = createDomainMap(
    [
      'a.b.example.com:443',
      'a.b.example.com',
      '*.b.example.com',
      '*.example.com:443',
      '*.example.com',
      '[::1]',
    ].map((text) => domainOf(text)),
  );
  const matched = (text: string) => map.match(authorityOf(text))?.pattern.text ?? null;

  it('prefers the exact host with port, then the exact host, then the longest suffix', () => {
    expect(matched('a.b.example.com')).toBe('a.b.example.com:443');
    expect(matched('x.b.example.com')).toBe('*.b.example.com');
    expect(matched('x.a.b.example.com')).toBe('*.b.example.com');
    expect(matched('b.example.com')).toBe('*.example.com:443');
    expect(matched('[::1]')).toBe('[::1]');
  });

  it('has no match for an unlisted host', () => {
    expect(matched('example.com')).toBeNull();
    expect(matched('a.b.example.com:444')).toBeNull();
    expect(matched('example.org')).toBeNull();
    expect(matched('127.0.0.1')).toBeNull();
  });

  it('has no match if it is empty', () => {
    expect(createDomainMap([]).match(authorityOf('example.com'))).toBeNull();
  });
});
