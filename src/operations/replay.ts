import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { idToStar } from '../audit/summary.ts';
import type { Config } from '../config/config.ts';
import type { AuditLine } from '../domain/event.ts';
import { addressOf } from '../proxy/plan.ts';
import { authorityText, defaultPort } from '../proxy/policy/authority.ts';
import { decideRequest, type Decision, type Policy } from '../proxy/policy/decide.ts';
import { createDomainMap, type Domain } from '../proxy/policy/domain-map.ts';
import type { RequestFacts } from '../proxy/policy/request.ts';
import { type ConditionName, plainRequest, type RuleStep } from '../proxy/policy/rule.ts';
import { auditConditions, checkConditions, filterOf } from './audit-conditions.ts';
import { eventQuery } from './audit-events.ts';
import { content, draftConfig } from './config.ts';
import { reading } from './operation.ts';

/** Decisions on requests in the audit log. */

const effects = ['allow', 'deny', 'approve', 'tunnel', 'unknown'] as const;

type Effect = (typeof effects)[number];

/** Limits of a replay: requests, and milliseconds. */
const [maxRequests, maxMs] = [200_000, 5_000];
/** Number of different changes that an answer lists. */
const maxGroups = 1_000;
/** Number of decisions in one turn of the event loop. */
const turnSize = 32;
const dayMs = 86_400_000;

const group = z.strictObject({
  agent: z.string().nullable(),
  host: z.string(),
  method: z.string(),
  path: z.string().describe('With * in place of IDs.'),
  before: z.enum(effects),
  after: z.enum(effects),
  count: z.int(),
  sample: z.string().nullable().describe('ID of the exchange of one of these requests.'),
});

type Group = z.output<typeof group>;

export const replayConfig = reading({
  id: 'config.replay',
  summary: 'List the requests in the audit log that a text of the config file would decide in another way.',
  scope: 'audit:read',
  input: z.strictObject({
    text: content.describe('Text that could replace the config file. Requires config:write.'),
    since: auditConditions.since.describe('Default: 7 days ago.'),
  }),
  output: z.strictObject({
    requests: z.int(),
    changed: z.int(),
    unknown: z.int().describe('Depend on a query, a body or labels, which the log does not contain.'),
    complete: z.boolean().describe(`False: it ended after ${maxRequests} requests or ${maxMs / 1_000} s.`),
    groups: z.array(group).describe('The changed requests, the most frequent first.'),
  }),
  check: ({ since }, at) => checkConditions({ since }, at),
  async run({ now, ...parts }, { text, since = '7d' }, at) {
    const policies = [parts.config, await draftConfig(parts, text)].map(policyOf);
    const first = filterOf({ since }, [], at).since!;
    const [end, groups, counts] = [
      now() + maxMs,
      new Map<string, Group>(),
      { requests: 0, changed: 0, unknown: 0 },
    ];
    // The newest day first, so that a limit leaves out the oldest days.
    for (let until = at + 1; until > first; until -= dayMs) {
      const range = {
        since: new Date(Math.max(first, until - dayMs)).toISOString(),
        until: new Date(until).toISOString(),
      };
      for await (const line of eventQuery(parts.config, range, { grants: [], at }).events()) {
        const request = requestOf(line);
        if (request === null) continue;
        if (counts.requests >= maxRequests || now() > end) return { ...counts, complete: false, groups };
        const [before, after] = policies.map((policy) => effectOf(policy, request)) as [Effect, Effect];
        counts.requests += 1;
        // Other requests go on between the decisions.
        if (counts.requests % turnSize === 0) await nextTurn();
        if (after === 'unknown') counts.unknown += 1;
        if (before === after) continue;
        counts.changed += 1;
        addTo(groups, request, line.exchange, { before, after });
      }
    }
    return { ...counts, complete: true, groups };
  },
  answer: ({ groups, ...counts }) => ({
    ...counts,
    groups: [...groups.values()].toSorted((a, b) => b.count - a.count),
  }),
});

/** A request as the log has it: without query, header fields and body. */
interface LoggedRequest extends Pick<RequestFacts, 'authority' | 'method' | 'path' | 'now'> {
  readonly agent: string | null;
  readonly user: string | null;
  readonly reason: string | null;
  /** Address and port. */
  readonly client: string;
}

/** Decides on a request of the log. @param steps see `decideRequest` */
export function decideLogged(policy: Policy, request: LoggedRequest, steps: RuleStep[]): Decision {
  const client = addressOf(request.client);
  return decideRequest(policy, { ...plainRequest, contentLength: null, ...request, client }, steps);
}

/** Events of which each request has one. */
const ends: ReadonlySet<string> = new Set(['outcome', 'denied', 'tunnel'] satisfies AuditLine['event'][]);

/** Returns the request of a line; null for other events. */
function requestOf(line: AuditLine): LoggedRequest | null {
  if (!ends.has(line.event) || line.host === undefined) return null;
  const { host, method = 'CONNECT', path = '', agent = null, user = null, reason = null, client = '' } = line;
  const scheme = line.scheme === 'http' ? 'http' : 'https';
  const authority = { scheme, host, port: line.port ?? defaultPort[scheme] } as const;
  return { authority, method, path, agent, user, reason, client, now: Date.parse(line.time) };
}

/** Conditions on parts that the log does not contain. Without a body, the judge itself is unclear. */
const unlogged: ReadonlySet<ConditionName> = new Set(['query', 'labels']);

/** Returns the policy of a config, in which conditions on unlogged parts are unclear. */
function policyOf({ domains, proxy }: Config): Policy {
  const known = domains.map((domain): Domain => {
    if (domain.rules === undefined) return domain;
    const rules = domain.rules.rules.map(({ checks, ...rule }) => ({
      ...rule,
      checks: checks.map((check) =>
        unlogged.has(check.condition) ? { ...check, test: () => 'unclear' as const } : check,
      ),
    }));
    return { ...domain, rules: { ...domain.rules, rules } };
  });
  return { domains: createDomainMap(known), unmatched: proxy.unmatchedHosts };
}

function effectOf(policy: Policy, request: LoggedRequest): Effect {
  const steps: RuleStep[] = [];
  const decision = decideLogged(policy, request, steps);
  const effect = decision.outcome === 'inject' ? 'allow' : decision.outcome;
  if (decision.outcome !== 'deny' && decision.mode === 'report') return effect;
  // A CONNECT does not name the request inside.
  if (steps.length > 0 && request.method === 'CONNECT') return 'unknown';
  const unclear = steps.filter(({ result }) => result === 'unclear');
  return unclear.every(({ outcome }) => outcome === 'allow' && effect === 'allow') ? effect : 'unknown';
}

function addTo(
  groups: Map<string, Group>,
  { agent, authority, method, path }: LoggedRequest,
  exchange: string | undefined,
  change: Pick<Group, 'before' | 'after'>,
): void {
  const shape = path.split('/').map(idToStar).join('/');
  const same = { agent, host: authorityText(authority), method, path: shape, ...change };
  const key = JSON.stringify(same);
  const count = (groups.get(key)?.count ?? 0) + 1;
  if (count > 1 || groups.size < maxGroups) groups.set(key, { ...same, count, sample: exchange ?? null });
}
