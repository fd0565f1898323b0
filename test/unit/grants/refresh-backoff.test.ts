import { expect, test } from 'vitest';
import { createRefreshBackoff } from '../../../src/grants/refresh-flights.ts';

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

test('doubles up to a bound, and is longer for the background', () => {
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

test('differs between processes by up to a half', () => {
  const { backoff } = backoffAt(0);
  backoff.failed(g, 'down', null);
  expect(backoff.wait(g, 'request')).toBe(125);
});

test('passes with the time, is forgotten after a success, and is each grant’s own', () => {
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

test('heeds what the provider asks for, where that is longer', () => {
  const { backoff } = backoffAt();
  backoff.failed(g, 'busy', 30_000);
  expect(backoff.wait(g, 'request')).toBe(30_000);
  backoff.failed(h, 'busy', 1);
  expect(backoff.wait(h, 'request')).toBe(250);
});

test('is not stretched by a clock that is set back', () => {
  const { backoff, clock } = backoffAt();
  backoff.failed(g, 'down', null);
  clock.now -= 1e9;
  expect(backoff.wait(g, 'request')).toBe(250);
});

test('of one grant holds the background refreshes of its endpoint’s other grants, and no request', () => {
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

test('of one grant does not hold the others for long, however often it fails', () => {
  const { backoff } = backoffAt();
  for (let failures = 0; failures < 30; failures += 1) backoff.failed(g, 'broken', null);
  expect(backoff.wait(g, 'background')).toBe(900_000);
  expect(backoff.wait(sister, 'background')).toBe(60_000);
});

test('ends for all grants of an endpoint once it works for one; not where it was not asked', () => {
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
