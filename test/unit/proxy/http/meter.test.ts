import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { Meter } from '../../../../src/proxy/http/message.ts';

const mib = 1_048_576;
const used = new SidekeyError('rate_limited', 'They are used up.');

/** A meter whose budget gives so many bytes, with what was settled and how often it was stopped. */
function metered(budget = Infinity) {
  const settled: number[] = [];
  const stops: SidekeyError[] = [];
  const meter = new Meter({
    spend(bytes) {
      settled.push(bytes);
      return settled.reduce((a, b) => a + b) > budget ? used : null;
    },
    countLeak: async () => null,
  });
  meter.stops({ stop: (why) => void stops.push(why) });
  return { meter, settled, stops };
}

describe('a meter', () => {
  it('counts both directions, and settles after each mebibyte of their sum', () => {
    const { meter, settled } = metered();
    meter.received(mib - 2);
    meter.sent(1);
    expect(settled).toEqual([]);
    meter.sent(1);
    expect(settled).toEqual([mib]);
    meter.sent(5);
    meter.settle();
    meter.settle();
    expect(settled).toEqual([mib, 5]);
    expect([meter.bytesIn, meter.bytesOut]).toEqual([mib - 2, 7]);
  });

  it('stops an exchange that exceeds its budget, at a settlement or a periodic check', () => {
    const large = metered(10);
    large.meter.sent(mib);
    expect(large.stops).toEqual([used]);
    const small = metered(10);
    small.meter.received(11);
    expect(small.stops).toEqual([]);
    small.meter.settle();
    expect(small.stops).toEqual([used]);
  });

  it('settles the rest at the end, and stops no exchange then', () => {
    const { meter, settled, stops } = metered(10);
    meter.received(11);
    meter.close();
    expect(settled).toEqual([11]);
    expect(stops).toEqual([]);
  });

  it('only counts without a budget', () => {
    const meter = new Meter();
    meter.sent(3 * mib);
    meter.close();
    expect(meter.bytesOut).toBe(3 * mib);
  });
});
