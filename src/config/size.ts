/** A whole number and a unit, no sign and no space: how sizes are written in the config file. */
export const sizePattern = /^(0|[1-9][0-9]{0,15})(B|kB|KB|MB|GB|KiB|MiB|GiB)$/;

const units = {
  GiB: 1_073_741_824,
  GB: 1_000_000_000,
  MiB: 1_048_576,
  MB: 1_000_000,
  KiB: 1_024,
  kB: 1_000,
  KB: 1_000,
  B: 1,
} as const;

/** `512B`, `10MB` (decimal), `100MiB` (binary) in bytes; null where the text is none, or past exact integers. */
export function parseSize(text: string): number | null {
  const [, count, unit] = sizePattern.exec(text) ?? [];
  if (count === undefined || unit === undefined) return null;
  const bytes = Number(count) * units[unit as keyof typeof units];
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** A number of bytes as `parseSize` reads it, in the largest unit that divides it. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return '0B';
  const [unit, length] = Object.entries(units).find(([, length]) => bytes % length === 0) ?? ['B', 1];
  return `${bytes / length}${unit}`;
}
