import { describe, expect, it } from 'vitest';
import { chooseAudience, isWithin } from '../../../../src/cli/grant/audience.ts';
import type { Provider } from '../../../../src/grants/provider.ts';
import { isPattern, parsePattern, type DomainPattern } from '../../../../src/policy/pattern.ts';

const provider = (audience: readonly string[]): Provider => ({
  name: 'desk',
  title: 'Desk',
  authorizationEndpoint: null,
  tokenEndpoint: null,
  revocationEndpoint: null,
  issuer: null,
  clientId: null,
  clientSecret: null,
  clientAuth: 'none',
  scopes: [],
  audience,
  inject: { kind: 'bearer' },
});

function pattern(text: string): DomainPattern {
  const parsed = parsePattern(text);
  if (!isPattern(parsed)) throw new Error(parsed.problem);
  return parsed;
}

describe('the audience of a new grant', () => {
  it("is the provider's, unless hosts are named", () => {
    expect(chooseAudience(undefined, provider(['a.example.com']))).toEqual(['a.example.com']);
    expect(
      chooseAudience(
        ['B.example.com.', 'b.example.com', '*.c.example.com:8443'],
        provider(['a.example.com']),
      ),
    ).toEqual(['b.example.com', '*.c.example.com:8443']);
  });

  it('has to come from somewhere', () => {
    expect(() => chooseAudience(undefined, provider([]))).toThrow(
      expect.objectContaining({ code: 'input_invalid', hint: expect.stringContaining('--audience HOST') }),
    );
    for (const text of ['https://a/', '*.com', '', 'a b']) {
      expect(() => chooseAudience([text], provider([]))).toThrow(
        expect.objectContaining({ code: 'input_invalid' }),
      );
    }
  });
});

describe('whether a domain is within an audience', () => {
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
