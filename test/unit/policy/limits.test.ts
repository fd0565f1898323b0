import { describe, expect, it } from 'vitest';
import { failures } from '../../../src/lib/failures.ts';
import { defaultLimits, limitTable } from '../../../src/policy/limits.ts';

const limits = Object.entries(limitTable);

describe('the table of limits', () => {
  it('gives each limit a default that may itself be set', () => {
    for (const [name, { default: value, least }] of limits) {
      expect(Number.isSafeInteger(value), name).toBe(true);
      expect(value, name).toBeGreaterThanOrEqual(least);
    }
  });

  it('has a code from the table of failures wherever a client meets one', () => {
    for (const [name, { code }] of limits) if (code !== null) expect(failures, name).toHaveProperty(code);
  });

  it('makes the defaults, which nobody can change', () => {
    expect(defaultLimits).toEqual(Object.fromEntries(limits.map(([name, limit]) => [name, limit.default])));
    expect(Object.isFrozen(defaultLimits)).toBe(true);
  });
});
