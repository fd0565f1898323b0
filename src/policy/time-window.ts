/** A weekly time window in one zone. */
export interface TimeWindow {
  /** Minutes since midnight. The window ends before `to`, on the next day if `to` is not after `from`. */
  readonly from: number;
  /** At most 1440. */
  readonly to: number;
  /** 0 Sunday … 6 Saturday: the days on which the window starts. */
  readonly weekdays: readonly number[];
  /** IANA name. */
  readonly zone: string;
}

/** Names of the days, in the order of their numbers. */
export const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

/**
 * Reports whether the runtime's time-zone database has a zone of this name. An offset such as +02:00 is not
 * accepted: it has no daylight saving time.
 */
export function isZone(text: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]*$/.test(text)) return false;
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: text }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** Local time of a zone. */
interface WallClock {
  readonly weekday: number;
  readonly minute: number;
}

/** Limit of `Date` (ECMA-262 §21.4.1.1). */
const lastTime = 8.64e15;

/**
 * Returns a test that reports whether a time (milliseconds since the epoch) is within a window; null: the
 * time is invalid. Uses local time with daylight saving time: a repeated hour is within the window twice.
 */
export function createTimeTest(window: TimeWindow): (now: number) => boolean | null {
  const clock = createWallClock(window.zone);
  const days = new Set(window.weekdays);
  const { from, to } = window;
  return (now) => {
    if (!Number.isFinite(now) || Math.abs(now) > lastTime) return null;
    const { weekday, minute } = clock(now);
    if (from < to) return days.has(weekday) && minute >= from && minute < to;
    return (days.has(weekday) && minute >= from) || (days.has((weekday + 6) % 7) && minute < to);
  };
}

function createWallClock(zone: string): (now: number) => WallClock {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });
  // Intl takes microseconds, so the result is cached for a minute.
  let known: { readonly minute: number; readonly clock: WallClock } | null = null;
  return (now) => {
    const minute = Math.floor(now / 60_000);
    if (known?.minute !== minute) known = { minute, clock: readClock(format.formatToParts(now)) };
    return known.clock;
  };
}

function readClock(parts: readonly Intl.DateTimeFormatPart[]): WallClock {
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.find((it) => it.type === type)?.value ?? '';
  const day = part('weekday').toLowerCase();
  return {
    weekday: weekdayNames.findIndex((name) => name === day),
    minute: Number(part('hour')) * 60 + Number(part('minute')),
  };
}
