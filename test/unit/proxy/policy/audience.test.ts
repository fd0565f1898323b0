import { describe, expect, it } from 'vitest';
import {
  type DomainPattern,
  isPattern,
  isWithin,
  parsePattern,
} from '../../../../src/proxy/policy/domain-map.ts';

function pattern(text: string): DomainPattern {
  const parsed = parsePattern(text);
  if (!isPattern(parsed)) throw new Error(parsed.problem);
  return parsed;
}

describe('the match of a domain against an audience', () => {
  it.each([
    [['a.example.com'], 'a.example.com', true],
    [['a.example.com'], 'a.example.com:443', true],
    [['a.example.com:443'], 'a.example.com', true],
    [['a.example.com'], 'a.example.com:8443', false],
    [['*.example.com'], 'a.b.example.com', true],
    [['*.example.com'], 'example.com', false],
    [['*.example.com'], 'nomoreexample.com', false],
    [['*.example.com'], '*.example.com', true],
    [['*.example.com'], '*.a.example.com', true],
    [['*.a.example.com'], '*.example.com', false],
    [['a.example.com'], '*.a.example.com', false],
    [['*.example.com'], '*.moreexample.com', false],
    [['*.example.com:8443'], '*.a.example.com', false],
    [['*.example.com:8443'], '*.a.example.com:8443', true],
    [['x.example.org', 'a.example.com'], 'a.example.com', true],
    [[], 'a.example.com', false],
    [['not a host'], 'a.example.com', false],
  ])('%j covers %s: %s', (audience, text, expected) => {
    expect(isWithin(audience, pattern(text))).toBe(expected);
  });
});
