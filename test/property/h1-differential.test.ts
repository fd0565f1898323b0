import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { compare, looser, stricter } from '../unit/proxy/http/h1/compare-with-node.ts';
import { requestBytes, responseBytes } from '../unit/proxy/http/h1/corpus.ts';

const met = (reasons: readonly (string | null)[]) => new Set(reasons.filter((it) => it !== null));

describe('the codec and the strict parser of Node', () => {
  it('agree on requests that both accept, and differ in acceptance only for known reasons', () => {
    fc.assert(
      fc.property(requestBytes, (text) => {
        expect(compare(text, 'request').problem).toBeNull();
      }),
      { numRuns: 8_000 },
    );
  });

  it('agree on responses that both accept, and differ in acceptance only for known reasons', () => {
    fc.assert(
      fc.property(responseBytes, fc.constantFrom('GET', 'HEAD'), (text, method) => {
        expect(compare(text, 'response', method).problem).toBeNull();
      }),
      { numRuns: 8_000 },
    );
  });

  it('are compared on many inputs that both accept, and on every known difference', () => {
    const sample = { numRuns: 16_000, seed: 1 };
    const all = [
      ...fc.sample(requestBytes, sample).map((text) => compare(text, 'request')),
      ...fc.sample(responseBytes, sample).map((text) => compare(text, 'response')),
    ];
    expect(all.filter(({ way }) => way.startsWith(' | ')).length).toBeGreaterThan(3_000);
    expect(met(all.map((it) => it.stricter))).toEqual(new Set(Object.keys(stricter)));
    expect(met(all.map((it) => it.looser))).toEqual(new Set(Object.keys(looser)));
  });
});
