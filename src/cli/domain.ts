import { displayName } from '../config/problem.ts';
import { stateNow, titleOf } from '../domain/grant.ts';
import {
  allowHost,
  denyHost,
  type DomainChange,
  getDomain,
  listDomains,
  removeHost,
  tunnelHost,
} from '../operations/domain.ts';
import { counted, unlistedHosts } from '../operations/format.ts';
import { describeAction, foreignTexts, leakGuardTexts } from '../operations/dry-run-texts.ts';
import { maxOffers } from '../operations/find.ts';
import { offeredBy, type Offers } from '../operations/lookup.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { describeRule } from '../proxy/policy/judge.ts';
import type { DomainRules } from '../proxy/policy/rule.ts';
import type { ArgumentRow, CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { columns, details, type Display, table } from './display.ts';
import { type GivenOptions, optionRows, perform } from './operation-command.ts';
import { withHint } from '../lib/hint.ts';

/** Commands for the allowed-domains map. */

const allowWords = {
  grant: { summary: 'the grant', value: 'name' },
  allow_plain_http: {
    summary: 'also over plain http, where everyone on the network can read the credential',
  },
  eks_cluster: { summary: 'name of the EKS cluster whose endpoint the host is', value: 'name' },
};

async function allow(context: Context, host: string, options: GivenOptions): Promise<void> {
  const given = { words: allowWords, options, fixed: { host } };
  const { result, answer } = await perform(context, allowHost, given);
  printChange(context, result, answer);
  if (options['allowPlainHttp'] === true) {
    context.output.say('Note: over plain http everyone on the network can read the credential.');
  }
}

/** Returns the handler of a command that changes the entry of a host. */
function changeWith(operation: typeof tunnelHost) {
  return async (context: Context, host: string): Promise<void> => {
    const { result, answer } = await perform(context, operation, { fixed: { host } });
    printChange(context, result, answer);
  };
}

function printChange({ output }: Context, result: DomainChange, answer: unknown): void {
  output.result(answer, changeText(result));
  for (const { sentence, hint } of result.warnings) output.say(withHint(`Note: ${sentence}`, hint));
}

function changeText({ change, pattern, summary, file: path }: DomainChange): string {
  const file = displayName(path);
  switch (change) {
    case 'added':
      return `Added ${pattern} to ${file}: ${summary}.`;
    case 'replaced':
      return `Changed ${pattern} in ${file}: ${summary}.`;
    case 'removed':
      return `Removed ${pattern} from ${file}.`;
    case 'unchanged':
      return `${pattern} is in ${file} already: ${summary}. Nothing changed.`;
  }
}

async function list(context: Context, host: string | undefined, options: GivenOptions): Promise<void> {
  const { output } = context;
  if (host !== undefined) {
    const { result, answer, at } = await perform(context, getDomain, { fixed: { host } });
    return output.result(answer, inFull(output.display, result.domain, result.grants, at));
  }
  const { result, answer, at } = await perform(context, listDomains);
  const { config, grants } = result;
  const { domains } = config;
  const unlisted = unlistedHosts(config);
  if (options['rules'] === true) {
    output.result(answer, domains.map((domain) => inFull(output.display, domain, grants, at)).join('\n\n'));
  } else if (domains.length === 0) {
    const next = '  → sidekey domain allow HOST --grant NAME';
    output.result(answer, `The allowed-domains map is empty.\n${unlisted}\n${next}`);
  } else {
    output.result(answer, `${asTable(output.display, domains, grants, at)}\n\n${unlisted}`);
  }
}

function asTable(display: Display, domains: readonly Domain[], grants: Offers, now: number): string {
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

function inFull(display: Display, domain: Domain, grants: Offers, now: number): string {
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

function grantsOf(domain: Domain, grants: Offers, now: number): string {
  if (domain.action.kind !== 'grant') return '-';
  const found = offeredBy(domain, grants);
  if (found.length === 0) return 'MISSING';
  const texts = found.slice(0, maxNamed).map((grant) => `${titleOf(grant)}: ${stateNow(grant, now)}`);
  const others = found.length - texts.length;
  if (others === 0) return texts.join(', ');
  return `${texts.join(', ')} and ${found.length < maxOffers ? others : `at least ${others}`} more`;
}

/** Grants that a line of the map names; `--json` has up to `maxOffers`. */
const maxNamed = 3;

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

const oneHost: readonly ArgumentRow[] = [['<host>', 'host, host:port or *.suffix']];

export const domainCommands: readonly CommandRow[] = [
  {
    name: 'list',
    alias: 'show',
    summary: 'show the allowed-domains map',
    arguments: [['[host]', 'only the entry that covers this host, with its rules']],
    options: [['--rules', 'also the rules of each entry, in the order in which they are applied']],
    examples: ['sidekey domain list', 'sidekey domain list api.github.com'],
    load: async () => list,
  },
  {
    name: 'allow',
    summary: 'add the credential of a grant to requests for a host',
    arguments: oneHost,
    options: optionRows(allowHost, allowWords),
    examples: [
      'sidekey domain allow api.github.com --grant github',
      "sidekey domain allow '*.googleapis.com' --grant google",
    ],
    load: async () => allow,
  },
  {
    name: 'tunnel',
    summary: 'forward connections to a host unchanged, without a credential',
    arguments: oneHost,
    examples: ['sidekey domain tunnel downloads.example.org'],
    load: async () => changeWith(tunnelHost),
  },
  {
    name: 'deny',
    summary: 'refuse a host, also where a wider entry would allow it',
    arguments: oneHost,
    examples: ["sidekey domain deny '*.internal.example.com'"],
    load: async () => changeWith(denyHost),
  },
  {
    name: 'remove',
    summary: 'remove a host from the map',
    arguments: [['<host>', 'as it is written in the map']],
    examples: ['sidekey domain remove api.github.com'],
    load: async () => changeWith(removeHost),
  },
];
