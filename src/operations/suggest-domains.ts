import { z } from 'zod';
import {
  type DiscoveredHost,
  type DiscoveredRequest,
  type CredentialAnswers,
  credentialAnswer,
  discoverHosts,
  pathGlobs,
  type SeenRequest,
} from '../audit/summary.ts';
import type { Config } from '../config/config.ts';
import { parseConfigDocument } from '../config/document.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { AuditLine } from '../domain/event.ts';
import { mayMint } from '../proxy/mint-answer.ts';
import type { Authority } from '../proxy/policy/authority.ts';
import {
  createDomainMap,
  type Domain,
  type DomainMap,
  isPattern,
  parsePattern,
} from '../proxy/policy/domain-map.ts';
import { bodyConditions, type RuleStep } from '../proxy/policy/rule.ts';
import { auditConditions, checkConditions } from './audit-conditions.ts';
import { eventQuery, grantsOf } from './audit-events.ts';
import { reading } from './operation.ts';
import { decideLogged } from './replay.ts';

/** Entries of the domain map for requests in the audit log. */

/** Requests that were refused, would have been refused, or were tunnelled without an entry. */
export const suggestDomains = reading({
  id: 'domain.suggest',
  summary: 'List refused requests by host, with entries of the domain map that allow exactly these.',
  scope: 'audit:read',
  input: z.strictObject(auditConditions),
  output: z.strictObject({
    hosts: z.array(z.unknown()),
    config: z.array(z.unknown()),
    credentials: z.array(z.unknown()),
  }),
  check: checkConditions,
  async run({ config, env, store }, conditions, at) {
    const grants = await grantsOf(store, conditions);
    const map = createDomainMap(config.domains);
    const lines = eventQuery(config, conditions, { grants, at }).events();
    const credentials = new Map<string, CredentialAnswers>();
    const hosts = await discoverHosts(
      noting(lines, credentials, { config, map }),
      (scheme, host, port) => map.match({ scheme, host, port }) !== null,
    );
    const standing = { config, map, written: await writtenConfig(config), env, now: at };
    const suggestions = [];
    for (const host of hosts) suggestions.push({ host, suggestion: await suggestRule(host, standing) });
    return { map, suggestions, credentials: [...credentials.values()] };
  },
  answer: ({ map, suggestions, credentials }) => ({
    credentials: credentials.map(({ lastSeen, ...each }) => ({ ...each, last_seen: lastSeen })),
    hosts: suggestions.map(({ host: { lastSeen, refusals, reports, requests, ...host }, suggestion }) => ({
      ...host,
      refusals: Object.fromEntries(refusals),
      reports: Object.fromEntries(reports),
      requests: requests.map(({ method, paths }) => ({ method, paths })),
      last_seen: lastSeen,
      listed: map.match(authorityOf(host)) !== null,
      replaces: suggestion?.replaces ?? null,
    })),
    config: suggestions.flatMap(({ suggestion }) =>
      suggestion === null ? [] : [{ [suggestion.key]: suggestion.entry }],
    ),
  }),
});

/** Collects answers that may have handed out a credential, and that no row of `mints` covers. */
async function* noting(
  lines: AsyncIterable<AuditLine>,
  found: Map<string, CredentialAnswers>,
  { config, map }: Pick<Standing, 'config' | 'map'>,
): AsyncGenerator<AuditLine> {
  for await (const line of lines) {
    yield line;
    const answer = credentialAnswer(line);
    if (answer === null) continue;
    const { host, method, path, grant, lastSeen } = answer;
    const authority = authorityOf({ plainHttp: line.scheme === 'http', host, port: line.port ?? null });
    const { action } = map.match(authority) ?? {};
    const rows = [
      ...(config.providers.get(line.provider ?? '')?.mints ?? []),
      ...((action?.kind === 'grant' ? action.mints : null) ?? []),
    ];
    if (rows.some((row) => mayMint(row, { authority, path: line.path!, pathFields: [] }, []))) continue;
    const key = [method, host, path, grant].join(' ');
    const times = (found.get(key)?.times ?? 0) + 1;
    if (times > 1 || found.size < mostAnswers) found.set(key, { ...answer, times, lastSeen });
  }
}

const mostAnswers = 1_000;

/** Lines for the config file. */
export interface Suggestion {
  /** Key in the domain map, and its value. */
  readonly key: string;
  readonly entry: 'tunnel' | Readonly<Record<string, unknown>>;
  /** Position of the entry that this one replaces; null: it is new. */
  readonly replaces: string | null;
  readonly notes: readonly string[];
}

interface Standing {
  readonly config: Config;
  readonly map: DomainMap;
  /** Value of the config file before validation. */
  readonly written: WrittenConfig;
  readonly env: NodeJS.ProcessEnv;
  readonly now: number;
}

/** Entry of the map as it is written. */
type RawEntry = Readonly<Record<string, unknown>> & { readonly rules?: readonly unknown[] };

interface WrittenConfig {
  readonly domains?: Readonly<Record<string, RawEntry>>;
  readonly policies?: Readonly<Record<string, readonly unknown[]>>;
}

/** Reads the config file as it is written. @throws SidekeyError as `readConfigText` */
async function writtenConfig({ domains, file }: Config): Promise<WrittenConfig> {
  // A missing file has an empty map.
  return domains.length === 0 ? {} : (parseConfigDocument(await readConfigText(file)).value as WrittenConfig);
}

function authorityOf({
  plainHttp,
  host,
  port,
}: Pick<DiscoveredHost, 'plainHttp' | 'host' | 'port'>): Authority {
  return { scheme: plainHttp ? 'http' : 'https', host, port: port ?? (plainHttp ? 80 : 443) };
}

/** Returns the smallest entry that would allow a host's refused requests; null: none needed or found. */
async function suggestRule(seen: DiscoveredHost, standing: Standing): Promise<Suggestion | null> {
  const domain = standing.map.match(authorityOf(seen));
  const { written } = standing;
  if (domain === null) return newEntry(seen, null);
  if (domain.action.kind === 'tunnel') return null;
  const isOwn = !domain.pattern.wildcard;
  if (domain.action.kind === 'deny') return newEntry(seen, isOwn ? domain : null);
  const key = isOwn ? writtenKey(domain, written) : keyOf(seen);
  const place = { key, replaces: isOwn ? domain.origin : null };
  const { mode, ...raw } = written.domains?.[writtenKey(domain, written)] ?? {};
  const base = seen.plainHttp ? { ...raw, allow_plain_http: true } : raw;
  if (domain.rules === undefined) {
    return domain.action.allowPlainHttp || !seen.plainHttp ? null : { ...place, entry: base, notes: [] };
  }
  const refused = refusedNow(seen, standing);
  const notes = [
    ...(isOwn ? [] : [`of ${domain.origin}, for this host alone`]),
    ...(mode === 'report' ? ['its rules only report now; these lines enforce them'] : []),
    ...(looksAtBodies(domain)
      ? ['its rules read bodies, which the audit log does not contain: make the lines narrower']
      : []),
    ...leftOut(seen),
  ];
  for (const rules of candidates(domain, raw, refused, standing)) {
    const entry = { ...base, rules };
    if (await wouldAllow(key, entry, seen, standing)) return { ...place, entry, notes };
  }
  return null;
}

/** Returns an entry for a host without an entry that adds a credential. */
function newEntry(seen: DiscoveredHost, replaced: Domain | null): Suggestion | null {
  const place = { key: keyOf(seen), replaces: replaced?.origin ?? null };
  // The content of a tunnel is unknown: the entry can only tunnel.
  if (seen.requests.length === 0) {
    return { ...place, entry: 'tunnel', notes: ['or { grant: GRANT }, to look inside and add a credential'] };
  }
  const rules = rulesFor(seen.requests);
  if (rules.length === 0) return null;
  return {
    ...place,
    entry: { grant: 'GRANT', ...(seen.plainHttp ? { allow_plain_http: true } : {}), rules },
    notes: leftOut(seen),
  };
}

/** Groups methods with the same paths into one rule. */
function rulesFor(requests: readonly Pick<DiscoveredRequest, 'method' | 'paths'>[]): object[] {
  const some = requests.filter(({ paths }) => paths.length > 0);
  const byPaths = Map.groupBy(some, ({ paths }) => JSON.stringify(paths));
  return Array.from(byPaths.values(), (group) => ({
    methods: group.map(({ method }) => method),
    paths: group[0]?.paths ?? [],
  }));
}

/**
 * Yields the possible lists of rules, the likeliest first. The new rules precede the first rule that refuses,
 * or the default. They replace that rule if they would be unreachable.
 */
function* candidates(
  { rules: compiled }: Domain,
  { rules = [] }: RawEntry,
  refused: readonly Refused[],
  { written }: Standing,
): Generator<unknown[]> {
  if (refused.length === 0) return;
  const byMethod = Map.groupBy(refused, ({ method }) => method);
  const added = rulesFor(
    Array.from(byMethod, ([method, all]) => ({ method, paths: pathGlobs(all.map(({ path }) => path)) })),
  );
  const first = Math.min(...refused.map(({ by }) => by));
  const at = first >= (compiled?.rules.length ?? 0) ? rules.length : entryOf(first, rules, written);
  yield rules.toSpliced(at, 0, ...added);
  yield rules.toSpliced(at, 1, ...added);
}

/** Returns the list entry that contains the rule: a policy name includes all rules of the policy. */
function entryOf(index: number, rules: readonly unknown[], { policies }: WrittenConfig): number {
  let left = index;
  return rules.findIndex((rule) => {
    const named = (rule as { readonly policy?: string }).policy;
    left -= named === undefined ? 1 : (policies?.[named]?.length ?? 0);
    return left < 0;
  });
}

function isSayable({ path }: SeenRequest): boolean {
  return pathGlobs([path]).length > 0;
}

/** Returns comments about paths that no rule can name. */
function leftOut({ requests }: DiscoveredHost): string[] {
  const count = requests.flatMap(({ seen }) => seen).filter((one) => !isSayable(one)).length;
  if (count === 0) return [];
  return [`left out: ${count} ${count === 1 ? 'path' : 'paths'} that servers read in different ways`];
}

/** A refused request that a rule can allow. Index of the refusing rule; number of rules: the default. */
interface Refused {
  readonly method: string;
  readonly path: string;
  readonly by: number;
}

function refusedNow(seen: DiscoveredHost, { map, now }: Pick<Standing, 'map' | 'now'>): Refused[] {
  const policy = { domains: map, unmatched: 'deny' } as const;
  const authority = authorityOf(seen);
  return seen.requests.flatMap(({ method, seen: all }) =>
    all.filter(isSayable).flatMap((of): Refused[] => {
      const steps: RuleStep[] = [];
      const decision = decideLogged(policy, { authority, method, now, ...of }, steps);
      const isRefused = decision.outcome === 'deny' || decision.reported?.outcome === 'deny';
      return isRefused ? [{ method, path: of.path, by: steps.length - 1 }] : [];
    }),
  );
}

/** Reports whether the config is valid with the entry and refuses none of the seen requests. */
async function wouldAllow(
  key: string,
  entry: object,
  seen: DiscoveredHost,
  { config, written, env, now }: Standing,
): Promise<boolean> {
  const text = JSON.stringify({ ...written, domains: { ...written.domains, [key]: entry } });
  try {
    const { domains } = await parseConfig(text, config.file, { env });
    return refusedNow(seen, { map: createDomainMap(domains), now }).length === 0;
  } catch (error) {
    if (error instanceof SidekeyError) return false;
    throw error;
  }
}

function writtenKey({ pattern }: Domain, { domains = {} }: WrittenConfig): string {
  const same = Object.keys(domains).find((key) => {
    const parsed = parsePattern(key);
    return isPattern(parsed) && parsed.text === pattern.text;
  });
  return same ?? pattern.text;
}

function looksAtBodies({ rules }: Domain): boolean {
  const about = rules?.rules.map(({ rule }) => rule.conditions) ?? [];
  return about.some((conditions) => bodyConditions.some((name) => conditions[name] !== null));
}

function keyOf({ host, port }: DiscoveredHost): string {
  return port === null ? host : `${host}:${port}`;
}
