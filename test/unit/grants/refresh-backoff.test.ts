import { expect, test } from 'vitest';
import { createRefreshBackoff } from '../../../src/grants/refresh-backoff.ts';

const g = { grantId: 'g', endpoint: 'acme' };
const h = { grantId: 'h', endpoint: 'other' };
/** Another grant of the first one's provider. */
const sister = { grantId: 'sister', endpoint: 'acme' };

function backoffAt(random = 1) {
  const clock = { now: 1_000_000 };
  return {
    clock,
    backoff: createRefreshBackoff(
      () => clock.now,
      () => random,
    ),
  };
}

test('the delay doubles up to a maximum, and is longer in the background', () => {
  const { backoff } = backoffAt();
  const waits = Array.from({ length: 12 }, () => {
    backoff.failed(g, 'down', null);
    return [backoff.wait(g, 'request'), backoff.wait(g, 'background')];
  });
  expect(waits.map(([request]) => request)).toEqual([
    250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000, 8_000, 8_000, 8_000,
  ]);
  expect(waits.map(([, background]) => background)).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 900_000, 900_000,
  ]);
});

test('the delay differs between processes by up to a half', () => {
  const { backoff } = backoffAt(0);
  backoff.failed(g, 'down', null);
  expect(backoff.wait(g, 'request')).toBe(125);
});

test('the delay ends after its time, is reset by a success, and is separate for each grant', () => {
  const { backoff, clock } = backoffAt();
  backoff.failed(g, 'down', null);
  expect(backoff.wait(h, 'request')).toBe(0);
  clock.now += 100;
  expect(backoff.wait(g, 'request')).toBe(150);
  expect(backoff.reason('g')).toBe('down');
  backoff.succeeded(g);
  expect(backoff.wait(g, 'background')).toBe(0);
  expect(backoff.reason('g')).toBeNull();
});

test('the delay is at least as long as Retry-After', () => {
  const { backoff } = backoffAt();
  backoff.failed(g, 'busy', 30_000);
  expect(backoff.wait(g, 'request')).toBe(30_000);
  backoff.failed(h, 'busy', 1);
  expect(backoff.wait(h, 'request')).toBe(250);
});

test('the delay does not grow when the clock is set back', () => {
  const { backoff, clock } = backoffAt();
  backoff.failed(g, 'down', null);
  clock.now -= 1e9;
  expect(backoff.wait(g, 'request')).toBe(250);
});

test('the delay of one grant stops background refreshes of other grants at its endpoint, but no client request', () => {
  const { backoff, clock } = backoffAt();
  backoff.failed(g, 'down', null);
  expect(backoff.wait(sister, 'background')).toBe(1_000);
  expect(backoff.wait(sister, 'request')).toBe(0);
  expect(backoff.wait(h, 'background')).toBe(0);
  backoff.failed(sister, 'down', null);
  expect(backoff.wait(g, 'background')).toBe(2_000);
  clock.now += 2_000;
  expect(backoff.wait(sister, 'background')).toBe(0);
});

test('the delay of one grant stops other grants only briefly, however often it fails', () => {
  const { backoff } = backoffAt();
  for (let failures = 0; failures < 30; failures += 1) backoff.failed(g, 'broken', null);
  expect(backoff.wait(g, 'background')).toBe(900_000);
  expect(backoff.wait(sister, 'background')).toBe(60_000);
});

test('a success ends the delay of its endpoint, a call without a request does not, and a failed grant keeps its delay', () => {
  const { backoff } = backoffAt();
  backoff.failed(g, 'down', 30_000);
  backoff.settled('sister');
  expect(backoff.wait(sister, 'background')).toBe(30_000);
  backoff.succeeded(sister);
  expect(backoff.wait(sister, 'background')).toBe(0);
  expect(backoff.wait(g, 'background')).toBe(30_000);
  backoff.settled('g');
  expect(backoff.wait(g, 'background')).toBe(0);
});
