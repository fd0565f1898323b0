/** Spans of time on the command line. All in milliseconds. */
import { SidekeyError } from '../errors.ts';
import { readTime } from './time.ts';

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const written = /^([1-9][0-9]{0,8})(s|m|h|d|w)$/;
/** What is longer is a slip of the hand; `never` stands for no end. */
const longest = 10 * 366 * units.d;

/**
 * `90s`, `15m`, `8h`, `30d`, `2w`.
 * @param option as it is written: `--ttl`
 * @throws SidekeyError `input_invalid`
 */
export function readSpan(option: string, text: string): number {
  const milliseconds = spanOf(text);
  if (milliseconds !== null) return milliseconds;
  throw new SidekeyError('input_invalid', `${option} is no span of time.`, {
    hint: 'a number and its unit, such as 90s, 15m, 8h, 30d or 2w, of ten years at most',
  });
}

/**
 * A point in time that is yet to come: a span from now, or a date.
 * @throws SidekeyError `input_invalid`
 */
export function readEnd(option: string, text: string, now: number): number {
  const milliseconds = spanOf(text);
  if (milliseconds !== null) return now + milliseconds;
  const at = /^[0-9]{4}-/.test(text) ? readTime(text, now) : null;
  if (at !== null && at > now && at <= now + longest) return at;
  throw new SidekeyError('input_invalid', `${option} is no time that is yet to come.`, {
    hint: 'from now, such as 8h or 90d, or a date, such as 2027-01-31 or 2027-01-31T12:00Z',
  });
}

/** A span as `readSpan` reads it, in the largest unit that divides it; below a second, in milliseconds. */
export function spanText(milliseconds: number): string {
  const found = (Object.entries(units) as [string, number][])
    .toReversed()
    .find(([unit, length]) => unit !== 'w' && milliseconds >= length && milliseconds % length === 0);
  return found === undefined ? `${milliseconds}ms` : `${milliseconds / found[1]}${found[0]}`;
}

function spanOf(text: string): number | null {
  const [, count, unit] = written.exec(text) ?? [];
  if (count === undefined) return null;
  const milliseconds = Number(count) * units[unit as keyof typeof units];
  return milliseconds <= longest ? milliseconds : null;
}
