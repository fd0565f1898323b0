import { z } from 'zod';
import { stateNow } from '../domain/grant.ts';
import type { Cidr } from '../proxy/policy/authority.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { describeRule, describeWindow } from '../proxy/policy/judge.ts';
import type { ConditionName, Conditions, DomainRules, Parameters, Rule } from '../proxy/policy/rule.ts';
import { maxOffers } from './find.ts';
import { offeredBy, type Offers } from './lookup.ts';
import { named } from './members.ts';

/** Entries of the allowed-domains map, for programs. */

const ruleShape = z.looseObject({ name: z.string().nullable(), outcome: z.string(), text: z.string() });

export const domainShape = named('Domain', {
  domain: z.string().describe('`host`, `host:port` or `*.suffix`.'),
  action: z.enum(['grant', 'tunnel', 'deny']),
  origin: z.string().describe('Place in the config file.'),
  grant: z.string().optional(),
  allow_plain_http: z.boolean().optional(),
  eks_cluster: z.string().optional(),
  leak_guard: z.string().optional(),
  leak_limit: z.unknown().optional(),
  foreign_credentials: z.string().optional(),
  also: z.array(z.string()).optional(),
  grants: z
    .array(z.strictObject({ id: z.uuid(), name: z.string(), user: z.string(), state: z.string() }))
    .describe(`At most ${maxOffers} for each reference.`)
    .optional(),
  mode: z.string().optional(),
  default: z.string().optional(),
  rules: z.array(ruleShape).optional(),
});

export function domainAnswer(domain: Domain, grants: Offers, now: number): z.input<typeof domainShape> {
  const { pattern, action, origin, rules, as } = domain;
  const common = { domain: pattern.text, action: action.kind, origin };
  if (action.kind !== 'grant') return common;
  return {
    ...common,
    grant: action.grant,
    allow_plain_http: action.allowPlainHttp,
    ...(as === undefined ? {} : { eks_cluster: as.cluster }),
    leak_guard: action.leakGuard ?? 'auto',
    ...(action.leakLimit === undefined ? {} : { leak_limit: action.leakLimit }),
    foreign_credentials: action.foreignCredentials ?? 'record',
    ...(action.also === undefined ? {} : { also: action.also.map(({ grant }) => grant) }),
    grants: offeredBy(domain, grants).map((grant) => ({
      id: grant.id,
      name: grant.name,
      user: grant.user,
      state: stateNow(grant, now),
    })),
    ...(rules === undefined ? { mode: 'enforce', default: 'allow', rules: [] } : rulesAnswer(rules)),
  };
}

/** Returns the rules with their conditions as in the config file. */
function rulesAnswer(rules: DomainRules) {
  return {
    mode: rules.mode,
    default: rules.default,
    rules: rules.rules.map((each) => ruleAnswer(each.rule)),
  };
}

function ruleAnswer(rule: Rule) {
  return {
    name: rule.name,
    outcome: rule.outcome,
    origin: rule.origin,
    text: describeRule(rule),
    conditions: conditionsAnswer(rule.conditions),
    require_reason: rule.requireReason,
    limits: rule.limits.map((limit) =>
      limit.kind === 'rate'
        ? { per: limit.per, requests: limit.count, period_ms: limit.perMs, burst: limit.burst }
        : { per: limit.per, requests_per_day: limit.requests, bytes_per_day: limit.bytes },
    ),
    max_response: rule.maxResponse,
    upgrades: rule.upgrades,
  };
}

type Texts = readonly { readonly text: string }[];

const texts = (items: Texts | null) => items?.map(({ text }) => text) ?? null;

const blocks = (items: readonly Cidr[]) => items.map(({ address, prefix }) => `${address}/${prefix}`);

type Answers = { readonly [K in ConditionName]: (condition: NonNullable<Conditions[K]>) => object };

const answers: Answers = {
  methods: (methods) => ({ methods }),
  paths: (paths) => ({ paths: texts(paths) }),
  query: (query) => ({ query: parametersAnswer(query) }),
  contentTypes: (types) => ({ content_types: texts(types) }),
  bodySize: (bodySize) => ({ body_size: bodySize }),
  times: (times) => ({ times: times.map(describeWindow) }),
  clients: (clients) => ({ clients: blocks(clients) }),
  agents: (agents) => ({ agents: texts(agents) }),
  users: (users) => ({ users: texts(users) }),
  labels: (labels) => ({ labels: texts(labels) }),
  graphql: ({ types, names }) => ({ graphql: { types, names: texts(names) } }),
  jsonrpc: ({ methods, tools, arguments: wanted }) => ({
    jsonrpc: {
      methods: texts(methods),
      tools: texts(tools),
      arguments: wanted && parametersAnswer(wanted),
    },
  }),
  json: (members) => ({ json: parametersAnswer(members) }),
  form: (parameters) => ({ form: parametersAnswer(parameters) }),
};

function parametersAnswer(parameters: Parameters): object {
  return Object.fromEntries(
    Array.from(parameters, ([name, condition]) => [
      name,
      'optional' in condition ? { ...condition, values: texts(condition.values) } : texts(condition),
    ]),
  );
}

function conditionsAnswer(conditions: Conditions): object {
  const names = Object.keys(answers) as ConditionName[];
  return Object.assign({}, ...names.map((name) => conditionAnswer(conditions, name))) as object;
}

function conditionAnswer<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): object {
  const condition = conditions[name];
  return condition === null ? {} : answers[name](condition);
}
