import { describe, expect, it } from 'vitest';
import { ConnectionDeadline, type Awaited } from '../../../../../src/proxy/http/server/h1-connection.ts';
import { manualTime } from '../../../lib/manual-time.ts';

function begun() {
  const time = manualTime(0);
  const passed: Awaited[] = [];
  const deadline = new ConnectionDeadline(time.timers, time.now, (what) => passed.push(what));
  return { time, passed, deadline };
}

describe('the deadline of a connection', () => {
  it('reports the phase that timed out, not before its time', async () => {
    const { time, passed, deadline } = begun();
    deadline.set('head', 1_000);
    await time.advance(999);
    expect(passed).toEqual([]);
    await time.advance(1);
    expect(passed).toEqual(['head']);
    expect(deadline.what).toBeNull();
    expect(time.waiting()).toBe(0);
  });

  it('is postponed repeatedly with one timer', async () => {
    const { time, passed, deadline } = begun();
    for (let i = 0; i < 100; i += 1) {
      deadline.set('next', 1_000);
      expect(time.waiting()).toBe(1);
      await time.advance(500);
      deadline.clear();
    }
    expect(passed).toEqual([]);
    deadline.set('next', 1_000);
    await time.advance(1_000);
    expect(passed).toEqual(['next']);
  });

  it('is shortened: a head has less time than a request', async () => {
    const { time, passed, deadline } = begun();
    deadline.set('next', 300_000);
    deadline.set('head', 10);
    expect(time.waiting()).toBe(1);
    await time.advance(10);
    expect(passed).toEqual(['head']);
  });

  it('does not fire if it is not set', async () => {
    const { time, passed, deadline } = begun();
    deadline.set('body', 10);
    deadline.clear();
    await time.advance(1_000);
    expect(passed).toEqual([]);
  });

  it('leaves no timer after it is closed', () => {
    const { time, deadline } = begun();
    deadline.set('body', 10);
    deadline.close();
    expect(time.waiting()).toBe(0);
  });
});
