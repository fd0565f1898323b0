import { isIP } from 'node:net';
import type { AdminConfig } from '../config/admin.ts';
import type { Config } from '../config/config.ts';
import { type Grant, hasEnded, isName, isUserName, nameRules, stateNow } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText, remedy } from '../lib/hint.ts';

/**
 * Checks the name of a grant or an agent. The error omits the text, which may be a secret.
 *
 * @throws SidekeyError `input_invalid`
 */
export function checkName(what: string, text: string): void {
  if (isName(text)) return;
  throw new SidekeyError('input_invalid', `The ${what} is not valid.`, { hint: nameRules.name });
}

/** Returns a name of a user. @throws as `checkName` */
export function checkedUser(text: string): string {
  if (isUserName(text)) return text;
  throw new SidekeyError('input_invalid', 'The name of the user is not valid.', { hint: nameRules.user });
}

const spanUnits = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

const writtenSpan = /^([1-9][0-9]{0,8})(s|m|h|d|w)$/;

/** Longest span, in milliseconds. A longer one is a typing error. */
export const maxSpanMs = 10 * 366 * spanUnits.d;

/**
 * Parses a span: `90s`, `15m`, `8h`, `30d`, `2w`.
 * @param option the option name: `--ttl`
 * @throws SidekeyError `input_invalid`
 */
export function readSpan(option: string, text: string): number {
  const milliseconds = spanMs(text);
  if (milliseconds !== null) return milliseconds;
  throw new SidekeyError('input_invalid', `${option} is not a duration.`, {
    hint: 'use a number and a unit: 90s, 15m, 8h, 30d or 2w; at most ten years',
  });
}

/** Parses a future time: a span from now, or a date. @throws SidekeyError `input_invalid` */
export function readEnd(option: string, text: string, now: number): number {
  const milliseconds = spanMs(text);
  if (milliseconds !== null) return now + milliseconds;
  const at = /^[0-9]{4}-/.test(text) ? readTime(text, now) : null;
  if (at !== null && at > now && at <= now + maxSpanMs) return at;
  throw new SidekeyError('input_invalid', `${option} is not a time in the future.`, {
    hint: 'from now, such as 8h or 90d, or a date, such as 2027-01-31 or 2027-01-31T12:00Z',
  });
}

/** A span as `readSpan` reads it, in the largest unit that divides it; below a second, in milliseconds. */
export function spanText(milliseconds: number): string {
  const found = (Object.entries(spanUnits) as [string, number][])
    .toReversed()
    .find(([unit, length]) => unit !== 'w' && milliseconds >= length && milliseconds % length === 0);
  return found === undefined ? `${milliseconds}ms` : `${milliseconds / found[1]}${found[0]}`;
}

/** Returns the milliseconds of a span; null if it is none, or longer than ten years. */
export function spanMs(text: string): number | null {
  const [, count, unit] = writtenSpan.exec(text) ?? [];
  if (count === undefined) return null;
  const milliseconds = Number(count) * spanUnits[unit as keyof typeof spanUnits];
  return milliseconds <= maxSpanMs ? milliseconds : null;
}

/** Returns the address to connect to for a listening address; a wildcard address becomes loopback. */
export function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}

/** Proxy URL for a client on this machine. If the port is chosen at start, it is unknown until then. */
export function proxyUrl(
  { host, port }: { readonly host: string; readonly port: number },
  userInfo?: string,
): string {
  const reached = reachable(host);
  const name = isIP(reached) === 6 ? `[${reached}]` : reached;
  return `http://${userInfo === undefined ? '' : `${userInfo}@`}${name}:${port === 0 ? 'PORT' : port}`;
}

/** Returns the address of the admin listener on this machine, without a trailing slash. */
export function localAdminUrl({ listen, tls }: Listening): string {
  const url = proxyUrl(listen);
  return tls === null ? url : url.replace('http:', 'https:');
}

/** Returns the address of the pages, without a trailing slash. Null: no pages, or a port chosen at start. */
export function pagesUrl({ listen, url, tls }: AdminConfig): string | null {
  if (listen === null || (url === null && listen.port === 0)) return null;
  return url ?? localAdminUrl({ listen, tls });
}

interface Listening extends Pick<AdminConfig, 'tls'> {
  readonly listen: NonNullable<AdminConfig['listen']>;
}

/** Formats a time relative to now: `in 4 min`, `2 h ago`. */
export function relativeTime(at: number, now: number): string {
  return at >= now ? `in ${span(at - now)}` : `${span(now - at)} ago`;
}

function span(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1_000);
  // Each unit is used until the next one is as precise.
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

/** Formats a time of this machine's zone, as `readTime` parses it: `2026-11-21 06:01:22`. */
export function dateTime(at: number): string {
  return isoTime(at - new Date(at).getTimezoneOffset() * 60_000)
    .replace('T', ' ')
    .replace(/\.\d+Z$/, '');
}

/** `in 4 min (2026-11-21 06:01:22)` */
export function when(at: number, now: number): string {
  return `${relativeTime(at, now)} (${dateTime(at)})`;
}

/**
 * Formats the expiry: `in 54 min`, `54 min ago (refreshed on use)`, `no end`; `not known` if the token has
 * none and can be refreshed.
 */
export function expiryOf(grant: Grant, now: number): string {
  if (grant.type === 'source') return 'as its source says';
  if (grant.expiresAt === null) return grant.refreshable ? 'not known' : 'no end';
  const when = relativeTime(grant.expiresAt, now);
  return hasEnded(grant, now) && stateNow(grant, now) === 'active' ? `${when} (refreshed on use)` : when;
}

/** ISO 8601 in UTC, for programs; empty if the number is out of range for a date. */
export function isoTime(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}

/** Duration: `12 ms`, `3.4 s`. */
export function duration(milliseconds: number): string {
  return milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}

const ago = /^([0-9]{1,9}) ?(s|m|h|d|w)$/;

const written =
  /^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,30})?)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?)?$/;

/** Parses `2h` (ago), `2026-11-21`, `2026-11-21T06:00Z`; default zone: this machine's. Null: invalid. */
export function readTime(text: string, now: number): number | null {
  const [, count, unit] = ago.exec(text) ?? [];
  if (count !== undefined) return now - Number(count) * spanUnits[unit as keyof typeof spanUnits];
  if (!written.test(text)) return null;
  // Date.parse reads a date without a time as UTC.
  const at = Date.parse(text.length === 10 ? `${text}T00:00` : text.replace(/[t ]/, 'T'));
  return Number.isNaN(at) ? null : at;
}

/** Last use of a grant, for a column. */
export function lastUse(usedAt: number | null, now: number): string {
  return usedAt === null ? 'never' : relativeTime(usedAt, now);
}

/** ISO 8601; null if there is no time. */
export function isoOrNull(at: number | null): string | null {
  return at === null ? null : isoTime(at);
}

/** `1 grant`, `2 grants`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `9999 bytes`, `10 kB`, `12 MB`. */
export function sizeText(bytes: number, unit = 'bytes'): string {
  if (bytes < 10_000) return `${bytes} ${unit}`;
  return bytes < 10_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${Math.round(bytes / 1_000_000)} MB`;
}

export const shortId = (id: string): string => id.slice(0, 8);

/** The rule for hosts that the map does not list, in one sentence. */
export function unlistedHosts({ proxy }: Pick<Config, 'proxy'>): string {
  return proxy.unmatchedHosts === 'tunnel'
    ? 'Unlisted hosts are tunnelled, without a credential (proxy.unmatched: tunnel).'
    : 'Unlisted hosts are refused (proxy.unmatched: deny).';
}

/** Returns a line about the pending proposals; null: none. */
export function waitingText(count: number): string | null {
  return count === 0
    ? null
    : `${counted(count, 'proposal')} of agents to answer: ${hintText(remedy('proposal.list'))}`;
}
