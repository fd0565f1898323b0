import { isIPv6 } from 'node:net';
import { type Authority, canonicalHost, defaultPort, isAddress, parsePort, splitPort } from './authority.ts';
import type { PathGlob } from './path.ts';
import type { DomainRules } from './rule.ts';
import type { Glob } from './text.ts';

/** An entry of the allowed-domains map. */
export interface Domain {
  readonly pattern: DomainPattern;
  readonly action:
    ({ readonly kind: 'grant' } & GrantUse) | { readonly kind: 'tunnel' } | { readonly kind: 'deny' };
  /** Position in the config, for messages. */
  readonly origin: string;
  /** Placement of the credential, only with a grant; absent: that of the provider. */
  readonly as?: EksPlacement;
  /** Rules for requests, only with a grant. Without rules, all are allowed. */
  readonly rules?: DomainRules;
  /** Additional rules, each of which can only restrict. Not in the config file. */
  readonly additionalRules?: readonly DomainRules[];
}

/** A token for a cluster of Amazon EKS. */
export type EksPlacement = { readonly kind: 'eks'; readonly cluster: string; readonly region: string };

/** The grant for the credential of a request, and its settings. */
export interface GrantUse {
  /** ID, name or provider of the grant. */
  readonly grant: string;
  /** True if the credential may be sent over plain `http`. */
  readonly allowPlainHttp: boolean;
  /** Treatment of responses that contain the credential. Default: `auto`. */
  readonly leakGuard?: LeakGuard | undefined;
  /** Maximum responses per hour and agent with the credential. Default: see `createLeakLimit`. */
  readonly leakLimit?: number | undefined;
  /** Treatment of credentials that the client sends. Default: `record`, and only in the head. */
  readonly foreignCredentials?: ForeignCredentials | undefined;
  /** Grants whose credentials are added too, if any. */
  readonly also?: readonly AdditionalUse[] | undefined;
  /** Requests whose answers hand out credentials, besides those of the provider. */
  readonly mints?: readonly MintRow[] | undefined;
}

/** A grant whose credential is added to that of the main grant. */
interface AdditionalUse {
  /** ID, name or provider of the grant. */
  readonly grant: string;
  /** Placement of its credential. */
  readonly as: { readonly kind: string; readonly [setting: string]: unknown };
}

/** Requests whose answer hands out a credential. It becomes a short grant; the client gets a placeholder. */
export interface MintRow {
  /** Unique within the provider or domain; a part of the names of the grants. */
  readonly name: string;
  /** Domain patterns; null: all hosts. */
  readonly hosts: readonly DomainPattern[] | null;
  /** Signing names of services of AWS, one of which the host is; null: any host. */
  readonly services: readonly string[] | null;
  readonly paths: readonly PathGlob[];
  /** Header field of the request and the globs of its value, without case; null: any request. */
  readonly header: { readonly name: string; readonly values: readonly Glob[] } | null;
  /** Names that lead to the credential, through all items of a list; `*` stands for any name. */
  readonly members: readonly (readonly string[])[];
  /** Members beside a secret access key with the rest of the keys; null: the credential is one text. */
  readonly keys: { readonly id: string; readonly session: string } | null;
  /** Member beside the credential with its end; null: `maxMs` is the end. */
  readonly expires: string | null;
  /** Domain patterns that the credential may be sent to. */
  readonly goesTo: readonly string[];
  /** Member beside the credential whose URL names the only host; null: all of `goesTo`. */
  readonly hostMember: string | null;
  /** Placement at these hosts; null: the `inject` of the provider. */
  readonly as: AdditionalUse['as'] | null;
  /** True if the member is Base64 of a user name and the credential, as `Basic` has them. */
  readonly isPair: boolean;
  /** Template of the placeholder; `{name}` is the claim `name=VALUE` of the credential; null: see `formOf`. */
  readonly form: string | null;
  /** Other members to pass on. Numbers, booleans and null always are. */
  readonly keep: readonly string[];
  /** Longest life in milliseconds. */
  readonly maxMs: number;
  /** True if the provider's revocation ends this credential alone. */
  readonly isRevoked: boolean;
}

/** Reports whether a pattern covers an authority. `*.x.y` covers neither `x.y` nor `wx.y`. */
export function matchesPattern(pattern: DomainPattern, authority: Authority): boolean {
  if (authority.port !== (pattern.port ?? defaultPort[authority.scheme])) return false;
  return pattern.wildcard ? authority.host.endsWith(`.${pattern.host}`) : authority.host === pattern.host;
}

/** Reports whether one of the patterns covers an authority. */
export function matchesAnyPattern(patterns: readonly DomainPattern[], authority: Authority): boolean {
  for (let i = 0; i < patterns.length; i += 1) if (matchesPattern(patterns[i]!, authority)) return true;
  return false;
}

/** Returns the hosts without wildcard of entries with a grant, in order. */
export function exactHosts(domains: readonly Domain[]): string[] {
  return domains
    .filter(({ pattern, action }) => !pattern.wildcard && action.kind === 'grant')
    .map(({ pattern }) => pattern.host);
}

/** A map from patterns to entries. */
export interface PatternMap<T> {
  /** All entries in order. */
  readonly entries: readonly T[];
  /**
   * Returns the most specific entry for the authority: exact host, then the longest suffix. A pattern with a
   * port precedes one without.
   */
  match(authority: Authority): T | null;
}

export type DomainMap = PatternMap<Domain>;

/** Creates the map. The config validation ensures unique patterns. */
export function createDomainMap(domains: readonly Domain[]): DomainMap {
  return createPatternMap(domains);
}

/** Creates a map of any values with patterns. */
export function createPatternMap<T extends { readonly pattern: DomainPattern }>(
  entries: readonly T[],
): PatternMap<T> {
  const exact = new Map<string, AtHost<T>>();
  const below = new Map<string, AtHost<T>>();
  for (const entry of entries) {
    const { host, wildcard, port } = entry.pattern;
    const map = wildcard ? below : exact;
    let found = map.get(host);
    if (found === undefined) map.set(host, (found = { any: null, byPort: null }));
    if (port === null) found.any = entry;
    else (found.byPort ??= new Map()).set(port, entry);
  }
  return {
    entries,
    match(authority) {
      const { host } = authority;
      let entry = entryAt(exact.get(host), authority);
      if (below.size === 0) return entry;
      // Addresses have no suffixes: a pattern such as `*.0.0.1` is invalid, so none is found here.
      for (let dot = host.indexOf('.'); entry === null && dot >= 0; dot = host.indexOf('.', dot + 1)) {
        entry = entryAt(below.get(host.slice(dot + 1)), authority);
      }
      return entry;
    },
  };
}

/** The entries of one host, or of the hosts below it. */
interface AtHost<T> {
  /** The entry without a port, for the default port of a scheme. */
  any: T | null;
  byPort: Map<number, T> | null;
}

function entryAt<T>(found: AtHost<T> | undefined, { scheme, port }: Authority): T | null {
  if (found === undefined) return null;
  return found.byPort?.get(port) ?? (port === defaultPort[scheme] ? found.any : null);
}

/** Reports whether an audience includes all hosts of a pattern. An invalid entry includes none. */
export function isWithin(audience: readonly string[], pattern: DomainPattern): boolean {
  return patternsOf(audience).some((entry) => covers(entry, pattern));
}

/** Returns the patterns of an audience. An invalid entry matches nothing. */
export function patternsOf(audience: readonly string[]): readonly DomainPattern[] {
  return audience.map(parsePattern).filter(isPattern);
}

function covers(entry: DomainPattern, pattern: DomainPattern): boolean {
  if (!pattern.wildcard) {
    const port = pattern.port ?? defaultPort.https;
    return matchesPattern(entry, { scheme: 'https', host: pattern.host, port });
  }
  const samePort = (entry.port ?? defaultPort.https) === (pattern.port ?? defaultPort.https);
  const below = pattern.host === entry.host || pattern.host.endsWith(`.${entry.host}`);
  return samePort && entry.wildcard && below;
}

/** A key of the domain map, or an audience entry: `host` or `*.suffix`, with or without a port. */
export interface DomainPattern {
  /** The canonical text, equal for equivalent patterns. */
  readonly text: string;
  /** Canonical host; for a wildcard, the suffix without `*.`. */
  readonly host: string;
  readonly wildcard: boolean;
  /** Null: the default port of the request's scheme. */
  readonly port: number | null;
}

/** Reason that a pattern is invalid, as the end of a sentence. */
interface PatternProblem {
  readonly problem: string;
}

export function parsePattern(text: string): DomainPattern | PatternProblem {
  if (/^[a-z]+:\/\//i.test(text))
    return { problem: 'is a URL; write the host alone, such as api.example.com' };
  if (text.includes('/')) return { problem: 'has a path; write the host alone, such as api.example.com' };
  if (text === '*') {
    return { problem: 'covers every host; only *.suffix is a wildcard, such as *.example.com' };
  }
  if (isIPv6(text)) return { problem: `is an IPv6 address without brackets; write [${text}]` };
  if (/:[{["']/.test(text)) return { problem: 'has no space after the colon that ends it' };
  const wildcard = text.startsWith('*.');
  const rest = wildcard ? text.slice(2) : text;
  if (rest.includes('*')) {
    return { problem: 'has a * elsewhere than as its first label; only *.suffix is a wildcard' };
  }
  const { host: hostText, port: portText } = splitPort(rest);
  const port = portText === null ? null : parsePort(portText);
  if (portText !== null && port === null) return { problem: 'has a port that is not between 1 and 65535' };
  const host = canonicalHost(hostText);
  if (host === null) return { problem: 'is not a host name or an IP address' };
  if (wildcard && isAddress(host)) return { problem: 'puts a wildcard before an IP address' };
  if (wildcard && !host.includes('.')) {
    return { problem: 'is too wide: a wildcard needs two labels after it, such as *.example.com' };
  }
  return { text: `${wildcard ? '*.' : ''}${host}${port === null ? '' : `:${port}`}`, host, wildcard, port };
}

/** Reports whether `parsePattern` returned a pattern. */
export function isPattern(parsed: DomainPattern | PatternProblem): parsed is DomainPattern {
  return !('problem' in parsed);
}

/** The settings of a domain for responses that contain the credential. */
export const leakGuards = ['auto', 'redact', 'refuse', 'off'] as const;

/**
 * - `auto`: redacts error pages, and responses of endpoints that are known to echo requests.
 * - `redact`: redacts every response.
 * - `refuse`: refuses a response that has a leak.
 * - `off`: searches no response.
 */
export type LeakGuard = (typeof leakGuards)[number];

/** The settings of a domain for credentials that clients send themselves. */
export const foreignCredentials = ['record', 'strip', 'refuse'] as const;

/**
 * - `record`: forwards them, and names them in the audit.
 * - `strip`: also removes them. A request from which one cannot be removed is refused.
 * - `refuse`: refuses the request.
 */
export type ForeignCredentials = (typeof foreignCredentials)[number];

/** The responses of an exchange to search, and the action on a leak. */
export interface LeakSearch {
  readonly onLeak: 'redact' | 'refuse';
  /** `errors`: only responses with a status from 400. */
  readonly covers: 'all' | 'errors';
  /** True if the config demands it. A request whose response cannot be searched is then refused. */
  readonly isAsked: boolean;
}

const errors: LeakSearch = { onLeak: 'redact', covers: 'errors', isAsked: false };
const place: LeakSearch = { onLeak: 'redact', covers: 'all', isAsked: false };
const redact: LeakSearch = { onLeak: 'redact', covers: 'all', isAsked: true };
const refuse: LeakSearch = { onLeak: 'refuse', covers: 'all', isAsked: true };

/** The facts that decide whether a response may contain the credential. */
interface LeakFacts {
  readonly host: string;
  readonly path: string;
  /** Path prefixes of the provider that echo requests. */
  readonly places?: readonly string[] | undefined;
  /** True if the credential replaces a placeholder of the client, in a part that services often echo. */
  readonly isShown?: boolean;
}

/** Returns the plan for a request, or null if no response is searched. */
export function leakSearchFor(
  guard: LeakGuard,
  { host, path, places = [], isShown = false }: LeakFacts,
): LeakSearch | null {
  switch (guard) {
    case 'off':
      return null;
    case 'redact':
      return redact;
    case 'refuse':
      return refuse;
    case 'auto':
      return isShown || isEchoEndpoint(host, path, places) ? place : errors;
  }
}

/** Reports whether a response with this status is searched. */
export function isCovered({ covers }: LeakSearch, status: number): boolean {
  return covers === 'all' || status >= 400;
}

/** First labels of hosts that echo requests. */
const echoHosts = /^(?:httpbin|httpbingo|postman-echo|echo)\./;

/** Path segments of servers and frameworks that echo requests. */
const echoSegment =
  /\/(?:headers|anything|echo|dump|trace|httptrace|inspect|request-?info|debug|phpinfo(?:\.php)?|printenv)(?![^/?;])/i;

/** Reports whether an endpoint echoes requests. A false positive costs only a search. */
function isEchoEndpoint(host: string, path: string, places: readonly string[]): boolean {
  if (echoHosts.test(host) || mayEcho(path)) return true;
  if (places.length === 0 && !path.includes('%')) return false;
  const plain = decoded(path);
  return echoSegment.test(plain) || places.some((beginning) => hasPlace(plain, beginning));
}

/** Tests `echoSegment` only if a segment begins like one of its names. */
function mayEcho(path: string): boolean {
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
    if (((echoLetters >>> (path.charCodeAt(at + 1) & 31)) & 1) !== 0) return echoSegment.test(path);
  }
  return false;
}

/** The first letters of `echoSegment`, as bits of their lower five bits. */
const echoLetters = Array.from('haedtirp').reduce(
  (bits, letter) => bits | (1 << (letter.charCodeAt(0) & 31)),
  0,
);

function hasPlace(path: string, beginning: string): boolean {
  const at = path.toLowerCase().indexOf(beginning.toLowerCase());
  if (at < 0) return false;
  const next = path[at + beginning.length];
  return beginning.endsWith('/') || next === undefined || '/?;'.includes(next);
}

function decoded(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/** An entry with a grant that almost covers the host of a request. */
export interface NearEntry {
  readonly entry: Domain;
  /** Difference, after the pattern: `is for another port`. */
  readonly difference: string;
  /** True if the host of the request is probably misspelled, so that it needs no entry. */
  readonly isTypo: boolean;
}

type Differs = (pattern: DomainPattern, authority: Authority) => boolean;

const differences: readonly (readonly [differs: Differs, difference: string])[] = [
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

/** Returns the first entry that almost covers a request, for one that no entry covers; null: none. */
export function nearestEntry(domains: readonly Domain[], authority: Authority): NearEntry | null {
  const granted = domains.filter(({ action }) => action.kind === 'grant');
  for (const [differs, difference] of differences) {
    const entry = granted.find(({ pattern }) => differs(pattern, authority));
    if (entry !== undefined) return { entry, difference, isTypo: false };
  }
  const entry = granted.find(({ pattern }) => isTypo(pattern, authority.host));
  return entry === undefined ? null : { entry, difference: 'is one letter away', isTypo: true };
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
