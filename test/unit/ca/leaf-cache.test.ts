import { describe, expect, it } from 'vitest';
import { createLeafCache, createTicketKeys } from '../../../src/ca/leaf-cache.ts';
import { freshAuthority } from './ca-for-test.ts';

const dayMs = 86_400_000;
/** Ticket keys that never change, so that only the lifetime of leaves matters. */
const steady = { ...createTicketKeys(), periodAt: () => 0 };

describe('the leaf cache', () => {
  it('creates one context per host', async () => {
    const authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    const first = cache.secureContextFor('a.test');
    expect(cache.secureContextFor('a.test')).toBe(first);
    expect(cache.secureContextFor('b.test')).not.toBe(first);
    expect(cache.size).toBe(2);
  });

  it('evicts the least recently used host at its capacity', async () => {
    const authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: Date.now, capacity: 2 });
    const used = cache.secureContextFor('used.test');
    for (const host of ['b.test', 'c.test', 'd.test']) {
      cache.secureContextFor(host);
      expect(cache.secureContextFor('used.test')).toBe(used);
    }
    expect(cache.size).toBe(2);
  });

  it('renews a leaf with less than a third of its lifetime left', async () => {
    let now = Date.UTC(2027, 0, 1);
    const authority = await freshAuthority([], () => now);
    now += dayMs;
    const cache = createLeafCache({ authority: () => authority, now: () => now, tickets: steady });
    const first = cache.secureContextFor('a.test');
    now += 29 * dayMs - 2_000; // The leaf has 45 days, of which 44 are left; a third is 15.
    expect(cache.secureContextFor('a.test')).toBe(first);
    now += 4_000;
    const second = cache.secureContextFor('a.test');
    expect(second).not.toBe(first);
    expect(cache.secureContextFor('a.test')).toBe(second);
  });

  it('creates a new leaf when the clock was set back before the start of the old leaf', async () => {
    let now = Date.UTC(2027, 0, 1);
    const authority = await freshAuthority([], () => now);
    const cache = createLeafCache({ authority: () => authority, now: () => now, tickets: steady });
    now += 30 * dayMs;
    const first = cache.secureContextFor('a.test');
    now -= 2 * dayMs;
    expect(cache.secureContextFor('a.test')).not.toBe(first);
  });

  it('keeps a leaf until the CA expires if a new leaf would not last longer', async () => {
    const authority = await freshAuthority();
    let now = authority.notAfter - dayMs;
    const cache = createLeafCache({ authority: () => authority, now: () => now, tickets: steady });
    const first = cache.secureContextFor('a.test');
    now = authority.notAfter - 1_000;
    expect(cache.secureContextFor('a.test')).toBe(first);
    now = authority.notAfter;
    expect(() => cache.secureContextFor('a.test')).toThrowError(
      expect.objectContaining({ code: 'ca_mismatch' }),
    );
  });

  it('creates new leaves after the CA has changed', async () => {
    let authority = await freshAuthority();
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    const first = cache.secureContextFor('a.test');
    authority = await freshAuthority();
    const second = cache.secureContextFor('a.test');
    expect(second).not.toBe(first);
    expect(cache.secureContextFor('a.test')).toBe(second);
  });

  it('keeps nothing for a host that was refused', async () => {
    const authority = await freshAuthority(['acme.test']);
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    expect(() => cache.secureContextFor('other.test')).toThrowError(
      expect.objectContaining({ code: 'domain_not_allowed' }),
    );
    expect(cache.size).toBe(0);
  });
});
