/** Times for people. All are milliseconds since the epoch. */

/** A span of time as a person says it: `in 4 min`, `2 h ago`. */
export function relativeTime(at: number, now: number): string {
  return at >= now ? `in ${span(at - now)}` : `${span(now - at)} ago`;
}

function span(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1_000);
  // Each unit up to where the next one says as much.
  const [size, unit] =
    seconds < 90
      ? ([1, 's'] as const)
      : seconds < 5_400
        ? ([60, 'min'] as const)
        : seconds < 172_800
          ? ([3_600, 'h'] as const)
          : seconds < 63_072_000
            ? ([86_400, 'd'] as const)
            : ([31_536_000, 'y'] as const);
  return `${Math.round(seconds / size)} ${unit}`;
}

/** `2026-11-21 06:01:22Z`: UTC, as in the audit file. */
export function dateTime(at: number): string {
  return isoTime(at)
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z');
}

/** ISO 8601 in UTC, for programs; empty where the number is no time that a date can hold. */
export function isoTime(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}

/** How long something took: `12 ms`, `3.4 s`. */
export function duration(milliseconds: number): string {
  return milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const ago = /^([0-9]{1,9}) ?(s|m|h|d|w)$/;
const written =
  /^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?)?$/;

/**
 * A point in time as a person writes it: `2h` (that long ago), `2026-11-21`, `2026-11-21T06:00Z`. Without a zone UTC is
 * meant, as in the audit file. Null where it is none.
 */
export function readTime(text: string, now: number): number | null {
  const [, count, unit] = ago.exec(text) ?? [];
  if (count !== undefined) return now - Number(count) * units[unit as keyof typeof units];
  if (!written.test(text)) return null;
  const zoned = /(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$/.test(text) || text.length === 10;
  const at = Date.parse(`${text.replace(/[t ]/, 'T')}${zoned ? '' : 'Z'}`);
  return Number.isNaN(at) ? null : at;
}
