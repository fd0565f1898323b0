import { describe, expect, it, vi } from 'vitest';
import { AllFailed, interleave, race } from '../../../../src/proxy/upstream/dialer.ts';
import type { CheckedAddress } from '../../../../src/proxy/upstream/resolve.ts';
import { manualClock } from '../../lib/manual-clock.ts';

const four = (address: string): CheckedAddress => ({ address, family: 4 });
const six = (address: string): CheckedAddress => ({ address, family: 6 });
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Attempts that come and fail when the test says so. */
function runners(names: readonly string[], isFinal?: (error: unknown) => boolean) {
  const clock = manualClock();
  const stop = new AbortController();
  const begun: string[] = [];
  const givenUp: string[] = [];
  const settle = new Map<string, PromiseWithResolvers<{ name: string; destroy: () => void }>>();
  const destroyed: string[] = [];
  const result = race(names, {
    attempt(name, signal) {
      begun.push(name);
      const it = Promise.withResolvers<{ name: string; destroy: () => void }>();
      settle.set(name, it);
      signal.addEventListener('abort', () => givenUp.push(name));
      return it.promise;
    },
    delayMs: 250,
    clock,
    signal: stop.signal,
    ...(isFinal === undefined ? {} : { isFinal }),
  });
  result.catch(() => {});
  return {
    begun,
    givenUp,
    destroyed,
    clock,
    result,
    abort: () => stop.abort(new Error('too late')),
    come: (name: string) => settle.get(name)!.resolve({ name, destroy: () => void destroyed.push(name) }),
    fail: (name: string) => settle.get(name)!.reject(new Error(`${name} failed`)),
  };
}

describe('the order of addresses', () => {
  it('alternates families, starting with the family of the first address', () => {
    const addresses = [six('::1'), six('::2'), six('::3'), four('1.1.1.1'), four('1.1.1.2')];
    expect(interleave(addresses).map(({ address }) => address)).toEqual([
      '::1',
      '1.1.1.1',
      '::2',
      '1.1.1.2',
      '::3',
    ]);
    expect(interleave([four('1.1.1.1'), six('::1')]).map(({ family }) => family)).toEqual([4, 6]);
  });

  it('keeps the order of a single family', () => {
    const addresses = [four('1.1.1.2'), four('1.1.1.1')];
    expect(interleave(addresses)).toEqual(addresses);
  });
});

describe('a race', () => {
  it('starts one attempt, and ends when it succeeds', async () => {
    const { begun, come, result, clock } = runners(['a', 'b']);
    expect(begun).toEqual(['a']);
    come('a');
    expect(await result).toMatchObject({ name: 'a' });
    expect(begun).toEqual(['a']);
    expect(clock.timers()).toBe(0);
  });

  it('starts the next attempt at once after a failure', async () => {
    const { begun, come, fail, result } = runners(['a', 'b']);
    fail('a');
    await turn();
    expect(begun).toEqual(['a', 'b']);
    come('b');
    expect(await result).toMatchObject({ name: 'b' });
  });

  it('starts the next attempt beside a pending attempt, which may still succeed', async () => {
    const { begun, come, result, clock, givenUp } = runners(['a', 'b', 'c']);
    clock.advance(249);
    expect(begun).toEqual(['a']);
    clock.advance(1);
    expect(begun).toEqual(['a', 'b']);
    clock.advance(250);
    expect(begun).toEqual(['a', 'b', 'c']);
    expect(givenUp).toEqual([]);
    come('a');
    expect(await result).toMatchObject({ name: 'a' });
    expect(givenUp).toEqual(['a', 'b', 'c']);
  });

  it('waits for a pending attempt after all others failed', async () => {
    const { come, fail, result, clock } = runners(['slow', 'dead']);
    clock.advance(250);
    fail('dead');
    await turn();
    clock.advance(5_000);
    come('slow');
    expect(await result).toMatchObject({ name: 'slow' });
  });

  it('destroys the result of a late attempt', async () => {
    const { come, result, clock, destroyed } = runners(['a', 'b']);
    clock.advance(250);
    come('b');
    come('a');
    expect(await result).toMatchObject({ name: 'b' });
    await turn();
    expect(destroyed).toEqual(['a']);
  });

  it('reports the reasons of all failures in order', async () => {
    const { fail, result, clock } = runners(['a', 'b']);
    clock.advance(250);
    fail('b');
    fail('a');
    await expect(result).rejects.toBeInstanceOf(AllFailed);
    await expect(result).rejects.toMatchObject({
      reasons: [{ message: 'a failed' }, { message: 'b failed' }],
    });
  });

  it('ends with a final error', async () => {
    const { begun, fail, result } = runners(['a', 'b'], () => true);
    fail('a');
    await expect(result).rejects.toThrow('a failed');
    expect(begun).toEqual(['a']);
  });

  it('ends when its signal aborts, without further attempts', async () => {
    const { begun, abort, result, givenUp, clock, fail } = runners(['a', 'b']);
    abort();
    await expect(result).rejects.toThrow('too late');
    expect(givenUp).toEqual(['a']);
    fail('a');
    await turn();
    clock.advance(1_000);
    expect(begun).toEqual(['a']);
  });

  it('of one candidate starts no timer', async () => {
    const { come, result, clock } = runners(['a']);
    const after = vi.spyOn(clock, 'after');
    come('a');
    expect(await result).toMatchObject({ name: 'a' });
    expect(after).not.toHaveBeenCalled();
  });
});
