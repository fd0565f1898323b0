import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import { clockOf, type TokenClock } from '../../src/domain/credential.ts';
import { oauth2 } from '../unit/grants/processes.ts';

const time = fc.integer({ min: 0, max: 4e12 });
const token = fc.record({ obtainedAt: time, lifetime: fc.integer({ min: -1e9, max: 1e12 }) });
const skew = fc.integer({ min: 0, max: 1e9 });

const order: readonly TokenClock[] = ['fresh', 'due', 'ended'];

test('a token never returns to a fresher state', () => {
  fc.assert(
    fc.property(token, skew, time, time, ({ obtainedAt, lifetime }, skewMs, a, b) => {
      const credential = oauth2({ obtainedAt, expiresAt: obtainedAt + lifetime });
      const [early, late] = [Math.min(a, b), Math.max(a, b)].map((now) =>
        order.indexOf(clockOf(credential, now, skewMs)),
      );
      expect(late).toBeGreaterThanOrEqual(early!);
    }),
  );
});

test('a token can be used until exactly its expiry', () => {
  fc.assert(
    fc.property(token, skew, time, ({ obtainedAt, lifetime }, skewMs, now) => {
      const expiresAt = obtainedAt + lifetime;
      expect(clockOf(oauth2({ obtainedAt, expiresAt }), now, skewMs) === 'ended').toBe(now >= expiresAt);
    }),
  );
});

test('a new token is fresh for at least four fifths of its life, and due for no longer than the skew', () => {
  fc.assert(
    fc.property(
      time,
      fc.integer({ min: 5, max: 1e10 }),
      skew,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (obtainedAt, lifetime, skewMs, part) => {
        const credential = oauth2({ obtainedAt, expiresAt: obtainedAt + lifetime });
        const now = obtainedAt + Math.floor(part * lifetime);
        const clock = clockOf(credential, now, skewMs);
        if (part < 0.8) expect(clock).toBe('fresh');
        if (clock === 'due') expect(obtainedAt + lifetime - now).toBeLessThanOrEqual(skewMs);
      },
    ),
  );
});
