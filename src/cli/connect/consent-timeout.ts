import { formatDuration, parseDuration } from '../../config/scalar.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Timers } from '../../lib/timers.ts';
import { onInterrupt } from '../terminal.ts';

/**
 * Starts the time limit of a person. At the limit or Ctrl-C, `signal` is aborted with a SidekeyError
 * `consent_missing`. `end` stops the timer, and restores the signal handlers.
 *
 * @param ms the time limit in milliseconds
 */
export function startConsentTimeout(ms: number, timers: Timers) {
  const controller = new AbortController();
  const stop = (sentence: string, hint: string) =>
    controller.abort(new SidekeyError('consent_missing', `${sentence} Nothing was stored.`, { hint }));
  const cancel = timers.after(ms, () =>
    stop(
      `No answer came within ${formatDuration(ms)}.`,
      'if the page of the provider showed an error, correct what it names, such as client_id or the redirect URI registered there; then run the command again, with --timeout 15m where more time is needed',
    ),
  );
  const giveBack = onInterrupt(() => stop('Stopped before an answer came.', 'run the command again'));
  return {
    signal: controller.signal,
    end: () => {
      cancel();
      giveBack();
    },
  };
}

/** Returns `--timeout` in milliseconds. @throws SidekeyError `input_invalid` */
export function timeoutOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = parseDuration(text);
  if (ms !== null && ms > 0) return ms;
  throw inputInvalid('--timeout is not a duration.', 'use a number and a unit: 90s, 10m or 1h; at most 24d');
}
