import { formatDuration, parseDuration } from '../../config/duration.ts';
import { SidekeyError } from '../../errors.ts';
import type { Timers } from '../../grants/timers.ts';
import { onInterrupt } from '../interrupt.ts';

/** How long a person is waited for. */
export interface Patience {
  /** Aborted at Ctrl-C, and when the time is up; the reason is a SidekeyError `consent_missing`. */
  readonly signal: AbortSignal;
  /** Stops the clock, and gives the signals of the system back. */
  end(): void;
}

/** @param ms how long, in milliseconds */
export function startPatience(ms: number, timers: Timers): Patience {
  const controller = new AbortController();
  const cancel = timers.after(ms, () => {
    controller.abort(
      new SidekeyError(
        'consent_missing',
        `No answer came within ${formatDuration(ms)}. Nothing was stored.`,
        {
          hint: 'run the command again, with --timeout 15m where more time is needed',
        },
      ),
    );
  });
  const giveBack = onInterrupt(() =>
    controller.abort(
      new SidekeyError('consent_missing', 'Stopped before an answer came. Nothing was stored.'),
    ),
  );
  return {
    signal: controller.signal,
    end() {
      cancel();
      giveBack();
    },
  };
}

/**
 * `--timeout` in milliseconds.
 *
 * @throws SidekeyError `input_invalid`
 */
export function timeoutOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = parseDuration(text);
  if (ms !== null && ms > 0) return ms;
  throw new SidekeyError('input_invalid', '--timeout is no span of time.', {
    hint: 'a whole number and a unit, such as 90s, 10m or 1h; at most 24d',
  });
}
