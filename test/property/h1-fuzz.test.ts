import { describe, expect, it } from 'vitest';
import { fuzz } from '../unit/proxy/http/h1/fuzz.ts';

/** The longer run: `node test/unit/proxy/http/h1/run-fuzz.ts --seconds 600`. */
describe('the codec with mutated bytes', () => {
  it.each(['request', 'response'] as const)('agrees with Node and with itself: %s', (whose) => {
    const report = fuzz(whose, { seed: 20_261_122, goesOn: (runs) => runs < 6_000 });
    expect(report.problems).toEqual(new Map());
    // Each input yields another sequence of faults, framings and messages.
    expect(report.ways).toBeGreaterThan(100);
  });
});
