import { describe, expect, it } from 'vitest';
import {
  createLeafCache,
  createLeafPrefetch,
  createTicketKeys,
  type LeafCache,
} from '../../../src/ca/leaf-cache.ts';
import { freshAuthority } from './ca-for-test.ts';

const dayMs = 86_400_000;
const steady = { ...createTicketKeys(), periodAt: () => 0 };

/** Slices and timers that the test runs. */
function setup(leaves: Pick<LeafCache, 'prepare' | 'capacity'>) {
  let slice: (() => void) | null = null;
  let timer: { readonly ms: number; readonly run: () => void } | null = null;
  const ahead = createLeafPrefetch({
    leaves,
    soon(run) {
      slice = run;
      return () => (slice = null);
    },
    later(ms, run) {
      timer = { ms, run };
      return () => (timer = null);
    },
  });
  return {
    ahead,
    /** Runs one slice; returns whether there was one. */
    idle: (): boolean => {
      const run = slice;
      slice = null;
      run?.();
      return run !== null;
    },
    /** Runs the next check; returns its delay. */
    wait: (): number | null => {
      const due = timer;
      timer = null;
      due?.run();
      return due?.ms ?? null;
    },
  };
}

describe('prefetched leaves', () => {
  it('are created one per slice, and ready when they are requested', async () => {
    const authority = await freshAuthority();
    const leaves = createLeafCache({ authority: () => authority, now: Date.now });
    const { ahead, idle } = setup(leaves);
    ahead.prepare(['a.test', 'b.test', 'a.test']);
    expect(leaves.size).toBe(0);
    idle();
    expect(leaves.size).toBe(1);
    while (idle());
    expect(leaves.size).toBe(2);
    expect(leaves.prepare('a.test', 0)).toBe(false);
  });

  it('use at most half of the cache', async () => {
    const authority = await freshAuthority();
    const leaves = createLeafCache({ authority: () => authority, now: Date.now, capacity: 4 });
    const { ahead, idle } = setup(leaves);
    ahead.prepare(['a.test', 'b.test', 'c.test', 'd.test']);
    while (idle());
    expect(leaves.size).toBe(2);
  });

  it('skip a host that the CA may not sign for', async () => {
    const authority = await freshAuthority(['acme.test']);
    const leaves = createLeafCache({ authority: () => authority, now: Date.now });
    const { ahead, idle } = setup(leaves);
    ahead.prepare(['other.test', 'acme.test']);
    while (idle());
    expect(leaves.size).toBe(1);
    expect(leaves.prepare('acme.test', 0)).toBe(false);
  });

  it('are renewed before a client would get a leaf that is due', async () => {
    let now = Date.UTC(2027, 0, 1);
    const authority = await freshAuthority([], () => now);
    now += dayMs;
    const leaves = createLeafCache({ authority: () => authority, now: () => now, tickets: steady });
    const { ahead, idle, wait } = setup(leaves);
    ahead.prepare(['a.test']);
    while (idle());
    let renewals = 0;
    const end = now + 40 * dayMs;
    while (now < end) {
      const before = leaves.secureContextFor('a.test');
      now += wait()!;
      // The old leaf serves until the next check.
      expect(leaves.secureContextFor('a.test')).toBe(before);
      while (idle());
      if (leaves.secureContextFor('a.test') !== before) renewals += 1;
    }
    expect(renewals).toBe(1);
  });

  it('follow the latest list of hosts, and stop when the proxy stops', async () => {
    const authority = await freshAuthority();
    const leaves = createLeafCache({ authority: () => authority, now: Date.now });
    const { ahead, idle, wait } = setup(leaves);
    ahead.prepare(['a.test', 'b.test']);
    ahead.prepare(['c.test']);
    while (idle());
    expect(leaves.size).toBe(1);
    ahead.close();
    expect(wait()).toBeNull();
    ahead.prepare(['d.test']);
    expect(idle()).toBe(false);
    expect(leaves.size).toBe(1);
  });
});
