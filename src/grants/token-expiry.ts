import { jwtPart } from './oauth/http.ts';

/** Expiry times of token files and JWTs. Pure; times are milliseconds since the epoch. */

const yearMs = 365.25 * 86_400_000;
const pastYears = 2;
const futureYears = 10;

/**
 * Numbers from here on are milliseconds, others seconds. As seconds it is the year 5138, as milliseconds
 * March 1973: no real expiry is near either, and `checkExpiry` refuses a time that is years off.
 */
const firstMilliseconds = 1e11;

/** Milliseconds since the epoch, or the problem as the end of a sentence. */
type Expiry = { readonly at: number } | { readonly problem: string };

/** Parses `expires_at`: epoch seconds or milliseconds, as number or text, or ISO 8601 with a zone. */
export function readExpiresAt(value: number | string, now: number): Expiry {
  const number = typeof value === 'number' ? value : numeric(value);
  if (number !== null) return checkExpiry(number < firstMilliseconds ? number * 1000 : number, now);
  const at = isoTime(value as string);
  if (at === null) {
    return {
      problem:
        'is not a time; write seconds or milliseconds since the epoch, or ISO 8601 with a zone, such as 2027-01-31T12:00:00Z',
    };
  }
  // A date has no unit that could be mistaken.
  return at < now ? { at } : checkExpiry(at, now);
}

/** Parses `expires_in`: seconds from now (RFC 6749 §5.1), as number or text. */
export function readExpiresIn(value: number | string, now: number): Expiry {
  const seconds = typeof value === 'number' ? value : numeric(value);
  if (seconds === null) return { problem: 'is not a number; write seconds from now' };
  if (seconds <= 0) return { problem: 'must be more than 0; leave it out where the token has no end' };
  return checkExpiry(now + seconds * 1000, now);
}

function checkExpiry(at: number, now: number): Expiry {
  if (!Number.isFinite(at) || at > now + futureYears * yearMs) {
    return {
      problem: `lies more than ${futureYears} years ahead of this machine's clock (${day(now)}); leave it out where the token has no end`,
    };
  }
  if (at < now - pastYears * yearMs) {
    return {
      problem: `lies more than ${pastYears} years behind this machine's clock (${day(now)}); check its unit, and the clock`,
    };
  }
  return { at: Math.round(at) };
}

function numeric(text: string): number | null {
  return /^-?[0-9]{1,17}(?:\.[0-9]{1,9})?$/.test(text) ? Number(text) : null;
}

const iso =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?) ?([Zz]|[+-][0-9]{2}:?[0-9]{2})$/;

/** Parses RFC 3339, seconds optional. Returns null for other texts, no zone, or a nonexistent day. */
function isoTime(text: string): number | null {
  const [, year, month, date, time, zone] = iso.exec(text) ?? [];
  if (time === undefined || zone === undefined) return null;
  const midnight = new Date(`${year}-${month}-${date}T00:00:00Z`);
  // `Date` parses 30 February as 2 March.
  if (Number.isNaN(midnight.getTime()) || midnight.getUTCDate() !== Number(date)) return null;
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase();
  const at = Date.parse(`${year}-${month}-${date}T${time}${offset}`);
  return Number.isNaN(at) ? null : at;
}

function day(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? 'unreadable' : date.toISOString().slice(0, 10);
}

/**
 * Returns the unverified `exp` of a JWT (RFC 7519 §4.1.4) in milliseconds. Upstreams verify the token;
 * this is only the time to stop using it. Null: not a JWT, or no `exp`.
 */
export function jwtExpiry(token: string): number | null {
  const claims = jwtPart(token, 1);
  const exp = claims?.['exp'];
  return typeof exp === 'number' && Number.isFinite(exp) && exp > 0 && exp < firstMilliseconds
    ? Math.round(exp * 1000)
    : null;
}

/** Reports whether a text looks like a signed JWT: three parts, the first with `alg` (RFC 7515 §4.1.1). */
export function looksLikeJwt(text: string): boolean {
  return typeof jwtPart(text, 0)?.['alg'] === 'string';
}
