import { describe, expect, it, vi } from 'vitest';
import { Deadline } from '../../../src/lib/timers.ts';
import { manualClock } from './manual-clock.ts';

function deadline() {
  const clock = manualClock();
  const expired = vi.fn<() => void>();
  return { clock, expired, it: new Deadline(clock, expired) };
}

describe('a deadline', () => {
  it('fires once, when it is due', () => {
    const { clock, expired, it } = deadline();
    it.set(100);
    clock.advance(99);
    expect(expired).not.toHaveBeenCalled();
    clock.advance(1_000);
    expect(expired).toHaveBeenCalledOnce();
    expect(clock.timers()).toBe(0);
  });

  it('is postponed repeatedly with one timer', () => {
    const { clock, expired, it } = deadline();
    for (let i = 0; i < 90; i += 1) {
      it.set(100);
      clock.advance(1);
    }
    expect(clock.set()).toBe(1);
    clock.advance(98);
    expect(expired).not.toHaveBeenCalled();
    clock.advance(1);
    expect(expired).toHaveBeenCalledOnce();
  });

  it('is shortened', () => {
    const { clock, expired, it } = deadline();
    it.set(1_000);
    it.set(10);
    clock.advance(10);
    expect(expired).toHaveBeenCalledOnce();
    clock.advance(2_000);
    expect(expired).toHaveBeenCalledOnce();
  });

  it('does not fire after clear or stop, and can be set again', () => {
    const { clock, expired, it } = deadline();
    it.set(10);
    it.clear();
    clock.advance(20);
    it.set(10);
    it.stop();
    expect(clock.timers()).toBe(0);
    clock.advance(20);
    expect(expired).not.toHaveBeenCalled();
    it.set(10);
    clock.advance(10);
    expect(expired).toHaveBeenCalledOnce();
  });

  it('may exceed the maximum delay of a Node timer', () => {
    const { clock, expired, it } = deadline();
    it.set(3_000_000_000);
    clock.advance(2_999_999_999);
    expect(expired).not.toHaveBeenCalled();
    clock.advance(1);
    expect(expired).toHaveBeenCalledOnce();
  });
});
