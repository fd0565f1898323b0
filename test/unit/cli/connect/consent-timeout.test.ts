import { expect, test } from 'vitest';
import { startConsentTimeout, timeoutOf } from '../../../../src/cli/connect/consent-timeout.ts';

/** Timers that the test fires. */
function handTimers() {
  const due: { readonly ms: number; readonly run: () => void }[] = [];
  return {
    due,
    after(ms: number, run: () => void) {
      const entry = { ms, run };
      due.push(entry);
      return () => void due.splice(due.indexOf(entry), 1);
    },
  };
}

test('a consent ends at the time limit, and the message names the limit', () => {
  const timers = handTimers();
  const consentTimeout = startConsentTimeout(300_000, timers);
  expect(timers.due[0]?.ms).toBe(300_000);
  expect(consentTimeout.signal.aborted).toBe(false);
  timers.due[0]?.run();
  expect(consentTimeout.signal.reason).toMatchObject({
    code: 'consent_missing',
    message: 'No answer came within 5m. Nothing was stored.',
    hint: expect.stringContaining('client_id or the redirect URI'),
  });
  consentTimeout.end();
});

test('a finished consent leaves no timer and no listener', () => {
  const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
  const timers = handTimers();
  startConsentTimeout(1_000, timers).end();
  expect(timers.due).toEqual([]);
  expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
});

test('a time limit is written in words', () => {
  expect(timeoutOf(undefined, 7)).toBe(7);
  expect(timeoutOf('90s', 7)).toBe(90_000);
  for (const text of ['', '0s', '5', 'm', '-1m', '60d']) {
    expect(() => timeoutOf(text, 7)).toThrow('--timeout is not a duration.');
  }
});
