/** The rules of a domain for people and programs. */
import type { Cidr } from '../../policy/address.ts';
import { describeRule } from '../../policy/rule-words.ts';
import type { ConditionName, Conditions, DomainRules, Rule } from '../../policy/rule.ts';
import { describeWindow } from '../../policy/condition-words.ts';
import { columns } from '../table.ts';

/** `3 rules, else deny`, and whether they only report; `-` where there are none. */
export function rulesSummary(rules: DomainRules | undefined): string {
  if (rules === undefined) return '-';
  const { length } = rules.rules;
  const count = length === 0 ? 'no rule' : `${length} ${length === 1 ? 'rule' : 'rules'}`;
  return `${count}, else ${rules.default}${rules.mode === 'report' ? ' (only reported)' : ''}`;
}

/** A line a rule, in the order in which they are asked, and the default last. */
export function ruleLines(rules: DomainRules): string[] {
  const rows = rules.rules.map(({ rule }, index) => [
    `  ${index + 1}`,
    rule.outcome,
    rule.name ?? '-',
    describeRule(rule),
    rule.origin,
  ]);
  return columns([...rows, ['  else', rules.default, '-', 'what no rule matches', rules.defaultOrigin]]);
}

/** For programs: conditions as the config file has them. */
export function rulesJson(rules: DomainRules): Readonly<Record<string, unknown>> {
  return {
    mode: rules.mode,
    default: rules.default,
    rules: rules.rules.map(({ rule }) => ruleJson(rule)),
  };
}

function ruleJson(rule: Rule): object {
  return {
    name: rule.name,
    outcome: rule.outcome,
    origin: rule.origin,
    text: describeRule(rule),
    conditions: conditionsJson(rule.conditions),
    require_reason: rule.requireReason,
    limits: rule.limits.map((limit) =>
      limit.kind === 'rate'
        ? { per: limit.per, requests: limit.count, period_ms: limit.perMs, burst: limit.burst }
        : { per: limit.per, requests_per_day: limit.requests, bytes_per_day: limit.bytes },
    ),
    max_response: rule.maxResponse,
  };
}

type Texts = readonly { readonly text: string }[];

const texts = (items: Texts | null) => items?.map(({ text }) => text) ?? null;
const blocks = (items: readonly Cidr[]) => items.map(({ address, prefix }) => `${address}/${prefix}`);

type Json = { readonly [K in ConditionName]: (condition: NonNullable<Conditions[K]>) => object };

const json: Json = {
  methods: (methods) => ({ methods }),
  paths: (paths) => ({ paths: texts(paths) }),
  query: (query) => ({
    query: Object.fromEntries(Array.from(query, ([name, globs]) => [name, texts(globs)])),
  }),
  contentTypes: (types) => ({ content_types: texts(types) }),
  bodySize: (bodySize) => ({ body_size: bodySize }),
  times: (times) => ({ times: times.map(describeWindow) }),
  clients: (clients) => ({ clients: blocks(clients) }),
  agents: (agents) => ({ agents: texts(agents) }),
  users: (users) => ({ users: texts(users) }),
  labels: (labels) => ({ labels: texts(labels) }),
  graphql: ({ types, names }) => ({ graphql: { types, names: texts(names) } }),
  jsonrpc: ({ methods, tools }) => ({ jsonrpc: { methods: texts(methods), tools: texts(tools) } }),
};

function conditionsJson(conditions: Conditions): object {
  const names = Object.keys(json) as ConditionName[];
  return Object.assign({}, ...names.map((name) => conditionJson(conditions, name))) as object;
}

function conditionJson<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): object {
  const condition = conditions[name];
  return condition === null ? {} : json[name](condition);
}
