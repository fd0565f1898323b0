import { describe, expect, it, vi } from 'vitest';
import { after } from '../../../src/lib/after.ts';

const list = (...all: unknown[]) => all;
const fail = () => {
  throw new Error('no');
};

describe('after', () => {
  it('calls the function now and returns its result, where the value is no promise', () => {
    const then = vi.fn((value: number) => value + 1);
    expect(after(1, then)).toBe(2);
    expect(then).toHaveBeenCalledTimes(1);
  });

  it('calls the function when the promise resolves, and not before', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const then = vi.fn((value: number) => value + 1);
    const result = after(promise, then);
    expect(then).not.toHaveBeenCalled();
    resolve(1);
    expect(await result).toBe(2);
    expect(then).toHaveBeenCalledTimes(1);
  });

  it('hands on five arguments in their order, with and without a promise', async () => {
    expect(after(0, list, 1, 2, 3, 4, 5)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await after(Promise.resolve(0), list, 1, 2, 3, 4, 5)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('hands on null and undefined as values', async () => {
    expect(after(null, list, undefined)).toEqual(after(null, list));
    expect(after(null, (value) => value)).toBeNull();
    expect(await after(Promise.resolve(undefined), (value) => value)).toBeUndefined();
  });

  it('waits for a promise that the function returns', async () => {
    expect(await after(1, (value) => Promise.resolve(value + 1))).toBe(2);
    expect(await after(Promise.resolve(1), (value) => Promise.resolve(value + 1))).toBe(2);
  });

  it('throws at once what the function throws, and rejects where the value was a promise', async () => {
    expect(() => after(1, fail)).toThrow('no');
    await expect(after(Promise.resolve(1), fail)).rejects.toThrow('no');
  });

  it('rejects with the reason of a promise, without a call of the function', async () => {
    const then = vi.fn();
    await expect(after(Promise.reject(new Error('gone')), then)).rejects.toThrow('gone');
    expect(then).not.toHaveBeenCalled();
  });
});
