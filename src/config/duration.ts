/** A whole number and a unit, no sign and no space: how durations are written in the config file. */
export const durationPattern = /^(0|[1-9][0-9]{0,15})(ms|s|m|h|d)$/;

/**
 * The longest duration: Node's timers take a 32-bit signed number of milliseconds, and one that is longer fires
 * at once. About 24.8 days.
 */
export const longestDuration = 2_147_483_647;

const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** `250ms`, `10s`, `5m`, `1h`, `2d` in milliseconds; null where the text is none, or longer than a timer can be. */
export function parseDuration(text: string): number | null {
  const [, count, unit] = durationPattern.exec(text) ?? [];
  if (count === undefined || unit === undefined) return null;
  const milliseconds = Number(count) * units[unit as keyof typeof units];
  return milliseconds <= longestDuration ? milliseconds : null;
}

/** A number of milliseconds as `parseDuration` reads it, in the largest unit that divides it. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds === 0) return '0s';
  const [unit, length] = Object.entries(units).find(([, length]) => milliseconds % length === 0) ?? ['ms', 1];
  return `${milliseconds / length}${unit}`;
}
