import type { State } from '../app/state.ts';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import {
  allowDomain,
  type DomainEdit,
  removeDomain,
  setDomain,
  writeConfigAtomically,
} from '../config/edit.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import { displayName } from '../config/problem.ts';
import { type Grant, offeredGrants, stateNow, titleOf } from '../domain/grant.ts';
import { replaceCommand } from '../grants/token-result.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Cidr, parseAuthority } from '../proxy/policy/authority.ts';
import {
  createDomainMap,
  type Domain,
  isPattern,
  isWithin,
  parsePattern,
} from '../proxy/policy/domain-map.ts';
import { describeRule, describeWindow } from '../proxy/policy/judge.ts';
import type { ConditionName, Conditions, DomainRules, Parameters, Rule } from '../proxy/policy/rule.ts';
import type { Context } from './context.ts';
import { columns, details, type Display, table } from './display.ts';
import { counted, unlistedHosts } from '../operations/format.ts';
import { foreignTexts, leakGuardTexts } from '../operations/dry-run-texts.ts';
import { offeredBy } from '../operations/lookup.ts';

/** `sidekey domain allow` */
export async function allow(
  context: Context,
  host: string,
  { grant, allowPlainHttp = false }: { readonly grant: string; readonly allowPlainHttp?: boolean },
): Promise<void> {
  await change(context, {
    edit: (text) => allowDomain(text, host, grant, { allowPlainHttp }),
    summary: `grant ${grant}${allowPlainHttp ? ', also over plain http' : ''}`,
    warnings: (state, config) => warningsFor(state, config, host, grant),
  });
  if (allowPlainHttp) {
    context.output.say('Note: over plain http everyone on the network can read the credential.');
  }
}

/** `sidekey domain tunnel` */
export async function tunnel(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => setDomain(text, host, 'tunnel'), summary: 'tunnel' });
}

/** `sidekey domain deny` */
export async function deny(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => setDomain(text, host, 'deny'), summary: 'deny' });
}

/** `sidekey domain remove` */
export async function remove(context: Context, host: string): Promise<void> {
  await change(context, { edit: (text) => removeDomain(text, host), summary: 'removed' });
}

interface Change {
  readonly edit: (text: string) => DomainEdit;
  /** Content of the entry after the edit, for the audit log and for people. */
  readonly summary: string;
  /** Warnings for a person. */
  readonly warnings?: (state: State, config: Config) => Promise<readonly Warning[]>;
}

interface Warning {
  readonly sentence: string;
  readonly hint: string;
}

/** Edits the text of the file, to keep comments and order. The new text must load before it is written. */
async function change({ env, output, ...context }: Context, wanted: Change): Promise<void> {
  const file = await context.configFile();
  const previous = await readConfigText(file);
  await parseConfig(previous, file, { env });
  const edited = wanted.edit(previous);
  const name = displayName(file);
  if (edited.change === 'absent') {
    throw new SidekeyError('not_found', `${edited.pattern} is not in the map of ${name}.`, {
      hint: 'sidekey domain list',
    });
  }
  const config = await parseConfig(edited.text, file, { env });
  const warnings = await context.withState(async (state) => {
    if (edited.change !== 'unchanged') {
      const event = { event: 'domain.changed', host: edited.pattern, reason: wanted.summary } as const;
      await recordChange(state.audit, event, () =>
        writeConfigAtomically(file, edited.text, { env, previous }),
      );
    }
    return (await wanted.warnings?.(state, config)) ?? [];
  });
  output.result(
    {
      domain: edited.pattern,
      change: edited.change,
      says: wanted.summary,
      config: file,
      warnings: warnings.map(({ sentence }) => sentence),
    },
    sentenceFor(edited, wanted.summary, name),
  );
  for (const { sentence, hint } of warnings) output.say(`Note: ${sentence}\n  → ${hint}`);
}

function sentenceFor({ change, pattern }: DomainEdit, summary: string, file: string): string {
  switch (change) {
    case 'added':
      return `Added ${pattern} to ${file}: ${summary}.`;
    case 'replaced':
      return `Changed ${pattern} in ${file}: ${summary}.`;
    case 'removed':
      return `Removed ${pattern} from ${file}.`;
    case 'unchanged':
    case 'absent':
      return `${pattern} is in ${file} already: ${summary}. Nothing changed.`;
  }
}

export async function warningsFor(
  { grants }: State,
  { providers }: Config,
  host: string,
  reference: string,
): Promise<readonly Warning[]> {
  const pattern = parsePattern(host);
  const offered = offeredGrants(reference, await grants.list());
  if (offered.length === 0) {
    return [
      {
        sentence: `There is no grant ${reference} yet: requests to ${host} are refused until there is one.`,
        hint: `sidekey connect PROVIDER --name ${reference}`,
      },
    ];
  }
  const warnings: Warning[] = [];
  for (const grant of offered) {
    const opened = await grants.read(grant.id);
    if (opened === null || !isPattern(pattern)) continue;
    const places = providers.get(grant.provider)?.inject ?? [];
    // The credential itself is never sent to these hosts.
    const own = places.flatMap(({ hosts, as }) => (as.kind === 'own' ? (hosts ?? []) : []));
    if (isWithin([...opened.sealed.audience, ...own], pattern)) continue;
    warnings.push({
      sentence: `The credential of ${titleOf(grant)} may be sent to ${opened.sealed.audience.join(', ')} only; requests to other hosts are refused (policy_violation).`,
      hint: replaceCommand(grant, [...opened.sealed.audience, pattern.text]),
    });
  }
  return warnings;
}

export interface ListOptions {
  /** Prints the rules. Those of a single entry are always printed. */
  readonly rules?: boolean;
}

/** `sidekey domain list`, `sidekey domain list HOST`. @throws SidekeyError `not_found`, `input_invalid` */
export async function listDomains(
  { withView, output, now }: Context,
  host: string | undefined,
  { rules = false }: ListOptions,
): Promise<void> {
  const { domains, unlisted, grants } = await withView(async (view) => ({
    domains: view.config.domains,
    unlisted: unlistedHosts(view.config),
    grants: await view.grants(),
  }));
  const at = now();
  const shown = host === undefined ? domains : [domainOf(host, domains)];
  const json = shown.map((domain) => domainJson(domain, grants, at));
  if (rules || host !== undefined) {
    output.result(json, shown.map((domain) => inFull(output.display, domain, grants, at)).join('\n\n'));
  } else if (domains.length === 0) {
    const next = '  → sidekey domain allow HOST --grant NAME';
    output.result(json, `The allowed-domains map is empty.\n${unlisted}\n${next}`);
  } else {
    output.result(json, `${asTable(output.display, domains, grants, at)}\n\n${unlisted}`);
  }
}

/** Returns the entry itself, or the one that covers a host. */
function domainOf(text: string, domains: readonly Domain[]): Domain {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) {
    throw new SidekeyError('input_invalid', `The host ${pattern.problem}.`, {
      hint: 'sidekey domain list api.example.com',
    });
  }
  const same = domains.find((domain) => domain.pattern.text === pattern.text);
  const authority = parseAuthority(pattern.text, 'https');
  const found = same ?? (authority === null ? null : createDomainMap(domains).match(authority));
  if (found !== null) return found;
  throw new SidekeyError('not_found', `No entry of the map covers ${pattern.text}.`, {
    hint: 'sidekey domain list',
  });
}

function asTable(
  display: Display,
  domains: readonly Domain[],
  grants: readonly Grant[],
  now: number,
): string {
  const isRuled = domains.some(({ rules }) => rules !== undefined);
  const headings = ['DOMAIN', 'ACTION', ...(isRuled ? ['RULES'] : []), 'GRANT NOW'];
  return table(
    display,
    headings,
    domains.map((domain) => [
      domain.pattern.text,
      describeAction(domain),
      ...(isRuled ? [rulesSummary(domain.rules)] : []),
      grantsOf(domain, grants, now),
    ]),
    { least: ['RULES', 'ACTION'] },
  );
}

function inFull(display: Display, domain: Domain, grants: readonly Grant[], now: number): string {
  const { pattern, action, origin, rules } = domain;
  const told = details(display, pattern.text, {
    entry: origin,
    action: describeAction(domain),
    'grant now': action.kind === 'grant' ? grantsOf(domain, grants, now) : null,
    leaks: action.kind === 'grant' ? leakGuardTexts[action.leakGuard ?? 'auto'].inFull : null,
    'other credentials': action.kind === 'grant' ? foreignTexts[action.foreignCredentials ?? 'unset'] : null,
    rules: action.kind === 'grant' ? (rules === undefined ? 'none: everything' : rulesSummary(rules)) : null,
  });
  return [told, ...(rules === undefined ? [] : ['', ...ruleLines(display, rules)])].join('\n');
}

function grantsOf(domain: Domain, grants: readonly Grant[], now: number): string {
  if (domain.action.kind !== 'grant') return '-';
  const found = offeredBy(domain, grants);
  if (found.length === 0) return 'MISSING';
  return found.map((grant) => `${titleOf(grant)}: ${stateNow(grant, now)}`).join(', ');
}

function domainJson(domain: Domain, grants: readonly Grant[], now: number): object {
  const { pattern, action, origin, rules } = domain;
  const common = { domain: pattern.text, action: action.kind, origin };
  if (action.kind !== 'grant') return common;
  return {
    ...common,
    grant: action.grant,
    allow_plain_http: action.allowPlainHttp,
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
    ...(rules === undefined ? { mode: 'enforce', default: 'allow', rules: [] } : rulesJson(rules)),
  };
}

/** Action of an entry in a few words. */
export function describeAction({ action }: Domain): string {
  switch (action.kind) {
    case 'tunnel':
      return 'tunnel (blind, no credential)';
    case 'deny':
      return 'refused';
    case 'grant':
      return [
        `grant ${[action, ...(action.also ?? [])].map(({ grant }) => grant).join(' and ')}`,
        action.allowPlainHttp ? ', also over plain http' : '',
        leakGuardTexts[action.leakGuard ?? 'auto'].inMap,
      ].join('');
  }
}

/** Formats rules as `3 rules, else deny`, with a note if they only report; `-` if there are none. */
function rulesSummary(rules: DomainRules | undefined): string {
  if (rules === undefined) return '-';
  const { length } = rules.rules;
  const count = length === 0 ? 'no rule' : counted(length, 'rule');
  return `${count}, else ${rules.default}${rules.mode === 'report' ? ' (only reported)' : ''}`;
}

/** Formats the rules in evaluation order, one per line, the default last. */
function ruleLines(display: Display, rules: DomainRules): string[] {
  const rows = rules.rules.map(({ rule }, index) => [
    String(index + 1),
    rule.outcome,
    rule.name ?? '-',
    `${describeRule(rule)}, from ${rule.origin}`,
  ]);
  const rest = ['else', rules.default, '-', `what no rule matches, from ${rules.defaultOrigin}`];
  return columns(display, [['RULE', 'OUTCOME', 'NAME', 'REQUESTS'], ...rows, rest]);
}

/** Conditions as in the config file, for `--json`. */
function rulesJson(rules: DomainRules): Readonly<Record<string, unknown>> {
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
  query: (query) => ({ query: parametersJson(query) }),
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
      arguments: wanted && parametersJson(wanted),
    },
  }),
  json: (members) => ({ json: parametersJson(members) }),
  form: (parameters) => ({ form: parametersJson(parameters) }),
};

function parametersJson(parameters: Parameters): object {
  return Object.fromEntries(
    Array.from(parameters, ([name, condition]) => [
      name,
      'optional' in condition ? { ...condition, values: texts(condition.values) } : texts(condition),
    ]),
  );
}

function conditionsJson(conditions: Conditions): object {
  const names = Object.keys(json) as ConditionName[];
  return Object.assign({}, ...names.map((name) => conditionJson(conditions, name))) as object;
}

function conditionJson<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): object {
  const condition = conditions[name];
  return condition === null ? {} : json[name](condition);
}
