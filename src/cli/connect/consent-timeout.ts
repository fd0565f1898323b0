import { formatDuration, parseDuration } from '../../config/scalar.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Timers } from '../../lib/timers.ts';
import { onInterrupt } from '../terminal.ts';

/** Time limit for the user. */
interface ConsentTimeout {
  /** Aborted by Ctrl-C and by the time limit. The reason is a SidekeyError `consent_missing`. */
  readonly signal: AbortSignal;
  /** Stops the timer, and restores the signal handlers. */
  end(): void;
}

/** @param ms the time limit in milliseconds */
export function startConsentTimeout(ms: number, timers: Timers): ConsentTimeout {
  const controller = new AbortController();
  const stop = (sentence: string, hint?: string) =>
    controller.abort(new SidekeyError('consent_missing', `${sentence} Nothing was stored.`, { hint }));
  const cancel = timers.after(ms, () =>
    stop(
      `No answer came within ${formatDuration(ms)}.`,
      'run the command again, with --timeout 15m where more time is needed',
    ),
  );
  const giveBack = onInterrupt(() => stop('Stopped before an answer came.'));
  return {
    signal: controller.signal,
    end() {
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
