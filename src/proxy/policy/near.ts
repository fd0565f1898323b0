import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { type Authority, authorityText, defaultPort } from './authority.ts';
import { type Domain, type DomainPattern, matchesPattern } from './domain-map.ts';

/** An entry with a grant that almost covers the host of a request. */
interface NearEntry {
  readonly pattern: string;
  /** Difference, after the pattern: `is for another port`. */
  readonly says: string;
  readonly hint: Hint;
}

type Differs = (pattern: DomainPattern, authority: Authority) => boolean;

const differences: readonly (readonly [differs: Differs, says: string])[] = [
  [
    (pattern, { scheme, host }) =>
      matchesPattern(pattern, { scheme, host, port: pattern.port ?? defaultPort[scheme] }),
    'is for another port',
  ],
  [({ host, wildcard }, authority) => wildcard && authority.host === host, 'is for the names below it only'],
  [
    ({ host, wildcard }, authority) => !wildcard && authority.host.endsWith(`.${host}`),
    'is for that host only, without the names below it',
  ],
];

/** Returns the first such entry, for a request that no entry covers; null: there is none. */
export function nearestEntry(domains: readonly Domain[], authority: Authority): NearEntry | null {
  const granted = domains.filter(({ action }) => action.kind === 'grant');
  for (const [differs, says] of differences) {
    const found = granted.find(({ pattern }) => differs(pattern, authority));
    if (found === undefined || found.action.kind !== 'grant') continue;
    const { pattern, action } = found;
    const hint = remedy('domain.allow', { host: authorityText(authority), grant: action.grant });
    return { pattern: pattern.text, says, hint };
  }
  const meant = granted.find(({ pattern }) => isTypo(pattern, authority.host))?.pattern.text;
  return meant === undefined
    ? null
    : { pattern: meant, says: 'is one letter away', hint: hintOf`if you mean ${meant}, correct the URL` };
}

/** Shortest host that is compared by letters: short names are often one letter apart on purpose. */
const shortest = 8;

/** Reports whether one letter more, less or other, or two swapped ones, make the host one of the pattern. */
function isTypo({ host, wildcard }: DomainPattern, text: string): boolean {
  const labels = host.split('.').length;
  const other = wildcard ? text.split('.').slice(-labels).join('.') : text;
  const least = Math.min(host.length, other.length);
  if (least < shortest) return false;
  let start = 0;
  while (start < least && host[start] === other[start]) start += 1;
  let end = 0;
  while (end < least - start && host.at(-1 - end) === other.at(-1 - end)) end += 1;
  const [a, b] = [host.slice(start, host.length - end), other.slice(start, other.length - end)];
  return Math.max(a.length, b.length) === 1 || (a.length === 2 && a === `${b[1]}${b[0]}`);
}
