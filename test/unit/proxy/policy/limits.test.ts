import { describe, expect, it } from 'vitest';
import { failures } from '../../../../src/lib/failures.ts';
import { defaultLimits, limitTable } from '../../../../src/proxy/policy/limits.ts';

const limits = Object.entries(limitTable);

describe('the table of limits', () => {
  it('has for each limit a default within its range', () => {
    for (const [name, { default: value, least }] of limits) {
      expect(Number.isSafeInteger(value), name).toBe(true);
      expect(value, name).toBeGreaterThanOrEqual(least);
    }
  });

  it('has an error code for each limit that clients can exceed', () => {
    for (const [name, { code }] of limits) if (code !== null) expect(failures, name).toHaveProperty(code);
  });

  it('produces immutable defaults', () => {
    expect(defaultLimits).toEqual(Object.fromEntries(limits.map(([name, limit]) => [name, limit.default])));
    expect(Object.isFrozen(defaultLimits)).toBe(true);
  });
});
