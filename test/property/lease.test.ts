import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { grantedTtl, leaseStanding, type Lease, type LeaseTtlLevel } from '../../src/domain/lease.ts';
import { leaseRecord } from '../support/rights.ts';

const span = fc.integer({ min: 1, max: 1_000_000 });
const at = fc.integer({ min: 0, max: 10_000_000 });
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: null });

const leases: fc.Arbitrary<Lease> = fc
  .record({
    createdAt: at,
    ttl: span,
    idleMs: maybe(span),
    renewedAt: maybe(at),
    usedAt: maybe(at),
    maxUses: maybe(fc.integer({ min: 1, max: 5 })),
    uses: fc.integer({ min: 0, max: 6 }),
    revokedAt: maybe(at),
  })
  .map(({ ttl, ...fields }) => leaseRecord({ ...fields, expiresAt: fields.createdAt + ttl }));

describe('the clock of a lease', () => {
  it('allows nothing after its end, its idle end, its last use or its revocation', () => {
    fc.assert(
      fc.property(leases, at, (lease, now) => {
        if (leaseStanding(lease, now).state !== 'active') return;
        expect(now).toBeLessThan(lease.expiresAt);
        expect(lease.revokedAt).toBeNull();
        if (lease.maxUses !== null) expect(lease.uses).toBeLessThan(lease.maxUses);
        const last = Math.max(lease.createdAt, lease.renewedAt ?? 0, lease.usedAt ?? 0);
        if (lease.idleMs !== null) expect(now - last).toBeLessThan(lease.idleMs);
      }),
    );
  });

  it('ends in exactly the reported millisecond, and is never active again', () => {
    fc.assert(
      fc.property(leases, at, span, (lease, now, later) => {
        const standing = leaseStanding(lease, now);
        if (standing.state === 'active') {
          expect(leaseStanding(lease, standing.endsAt - 1).state).toBe('active');
          expect(leaseStanding(lease, standing.endsAt)).toMatchObject({
            state: 'expired',
            at: standing.endsAt,
          });
        } else {
          expect(leaseStanding(lease, now + later).state).not.toBe('active');
        }
      }),
    );
  });

  it('is active before all of its ends', () => {
    fc.assert(
      fc.property(leases, fc.integer({ min: 0, max: 999_999 }), (lease, since) => {
        const now = lease.createdAt + since;
        const isFree = lease.revokedAt === null && lease.maxUses === null && lease.idleMs === null;
        if (isFree && now < lease.expiresAt) {
          expect(leaseStanding(lease, now)).toEqual({ state: 'active', endsAt: lease.expiresAt });
        }
      }),
    );
  });

  it('reports idle only if the idle end came first', () => {
    fc.assert(
      fc.property(leases, at, (lease, now) => {
        const standing = leaseStanding(lease, now);
        if (standing.state !== 'expired') return;
        expect(standing.why === 'idle').toBe(standing.at < lease.expiresAt);
        expect(standing.at).toBeLessThanOrEqual(now);
      }),
    );
  });
});

const levels = fc.array(
  fc
    .array(fc.record({ defaultMs: maybe(span), maxMs: maybe(span) }), { minLength: 0, maxLength: 3 })
    .chain((above) =>
      fc
        .record({ defaultMs: span, maxMs: span })
        .map((config): LeaseTtlLevel[] =>
          [...above, config].map((level, index) => ({ of: `level ${index}`, ...level })),
        ),
    ),
  { minLength: 1, maxLength: 4 },
);

const level = (of: string, defaultMs: number | null, maxMs: number | null) => ({ of, defaultMs, maxMs });

describe('the duration of a lease', () => {
  it('is the requested duration, limited by every maximum and not shortened otherwise', () => {
    fc.assert(
      fc.property(maybe(span), levels, (asked, grants) => {
        const { ttlMs, cappedBy } = grantedTtl(asked, grants);
        const maxima = grants.flat().flatMap(({ maxMs }) => maxMs ?? []);
        for (const max of maxima) expect(ttlMs).toBeLessThanOrEqual(max);
        if (asked !== null) {
          expect(ttlMs).toBe(Math.min(asked, ...maxima));
          expect(cappedBy === null).toBe(ttlMs === asked);
        }
        const capping = grants.flat().filter(({ of, maxMs }) => of === cappedBy && maxMs === ttlMs);
        expect(capping.length > 0).toBe(cappedBy !== null);
      }),
    );
  });

  it('is the nearest default if none is requested, and the shortest default of several grants', () => {
    const config = level('config', 900, 10_000);
    expect(grantedTtl(null, [[level('grant', null, null), level('provider', null, null), config]])).toEqual({
      ttlMs: 900,
      cappedBy: null,
    });
    expect(grantedTtl(null, [[level('grant', 5_000, null), level('provider', 60, null), config]])).toEqual({
      ttlMs: 5_000,
      cappedBy: null,
    });
    expect(
      grantedTtl(null, [
        [level('one', 5_000, null), config],
        [level('two', 70, null), config],
      ]),
    ).toEqual({ ttlMs: 70, cappedBy: null });
    expect(grantedTtl(8_000, [[level('grant', null, 7_000), level('provider', null, 600), config]])).toEqual({
      ttlMs: 600,
      cappedBy: 'provider',
    });
  });
});
