/** Values in token responses, which many servers send in another type than RFC 6749 §5.1 says. Pure. */

const maxLifetimeS = 100 * 365.25 * 86_400;

/** Returns a token, which some servers send as a number; null: none. The rest of a token is opaque. */
export function tokenText(value: unknown): string | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value > 0 ? String(value) : null;
  return typeof value === 'string' && value.trim() !== '' ? value : null;
}

/**
 * Accepts spellings of bearer (Apigee: `BearerToken`, Azure DevOps: `jwt-bearer`), and values that name no
 * way to send the token (`access_token`). `others`: further values of the provider.
 */
export function isBearer(type: string, others: readonly string[]): boolean {
  const lower = type.toLowerCase();
  const letters = lower.replace(/[^a-z]/g, '');
  const isSpelling = letters.includes('bearer') && !letters.includes('pop');
  const namesNone = /^(urnietfparamsoauthtokentype)?accesstoken$/.test(letters);
  return lower === '' || isSpelling || namesNone || others.some((other) => other.toLowerCase() === lower);
}

/** Returns a `token_type` as text: the texts of a list, separated by spaces; of another value, its type. */
export function typeText(value: unknown): string {
  if (isAbsent(value)) return '';
  const texts = (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
  return texts.length === 0 ? typeof value : texts.join(' ').trim();
}

/** Parses seconds. Returns null for less than 1, and non-numbers: an upstream 401 will show the end. */
export function readLifetime(value: unknown): number | null {
  const isNumber =
    typeof value === 'number' || (typeof value === 'string' && /^\s*[0-9.]{1,20}\s*$/.test(value));
  const seconds = isNumber ? Number(value) : 0;
  return seconds >= 1 && seconds < maxLifetimeS ? seconds : null;
}

/** Parses a time, in ISO 8601 or seconds since the epoch. Returns null for a time in the past. */
export function readEnd(value: unknown, obtainedAt: number): number | null {
  const seconds = readLifetime(value);
  const end = seconds === null ? (typeof value === 'string' ? Date.parse(value) : NaN) : seconds * 1000;
  return end > obtainedAt && end < obtainedAt + maxLifetimeS * 1000 ? end : null;
}

export function isAbsent(value: unknown): value is undefined | null | '' {
  return value === undefined || value === null || value === '';
}
