import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import { stateNow } from '../../grants/state-now.ts';
import { parseAuthority } from '../../policy/authority.ts';
import { createDomainMap, type Domain } from '../../policy/domain-map.ts';
import { isPattern, parsePattern } from '../../policy/pattern.ts';
import type { Context } from '../context.ts';
import { offeredBy } from '../grant/offered.ts';
import { titleOf } from '../grant/words.ts';
import { details, table } from '../table.ts';
import { describeAction } from './action.ts';
import { echoWords } from './echo-words.ts';
import { ruleLines, rulesJson, rulesSummary } from './rules.ts';

/** What is shown of the map. */
export interface ListOptions {
  /** The rules in words too; those of one entry are shown in any case. */
  readonly rules?: boolean;
}

/** `sidekey domain list`, `sidekey domain list HOST`. @throws SidekeyError `not_found`, `input_invalid` */
export async function listDomains(
  { withView, output, now }: Context,
  host: string | undefined,
  { rules = false }: ListOptions,
): Promise<void> {
  const { domains, unmatched, grants } = await withView(async (view) => ({
    domains: view.config.domains,
    unmatched: view.config.proxy.unmatched,
    grants: await view.grants(),
  }));
  const at = now();
  const shown = host === undefined ? domains : [domainOf(host, domains)];
  const rest = unmatched === 'tunnel' ? 'passed through blind' : 'refused';
  const json = shown.map((domain) => domainJson(domain, grants, at));
  if (rules || host !== undefined) {
    output.result(json, shown.map((domain) => inFull(domain, grants, at)).join('\n\n'));
  } else if (domains.length === 0) {
    output.result(json, `The allowed-domains map is empty: every host is ${rest}.`);
  } else {
    output.result(json, asTable(domains, grants, at));
  }
  if (domains.length === 0) output.say('  → sidekey domain allow HOST --grant NAME');
  else if (host === undefined) output.say(`Any other host is ${rest}.`);
}

/** The entry itself, or the one that covers a host. */
function domainOf(text: string, domains: readonly Domain[]): Domain {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) {
    throw new SidekeyError('input_invalid', `What stands for the host ${pattern.problem}.`, {
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

function asTable(domains: readonly Domain[], grants: readonly Grant[], now: number): string {
  const isRuled = domains.some(({ rules }) => rules !== undefined);
  const headings = ['DOMAIN', 'ACTION', ...(isRuled ? ['RULES'] : []), 'GRANT NOW'];
  return table(
    headings,
    domains.map((domain) => [
      domain.pattern.text,
      describeAction(domain),
      ...(isRuled ? [rulesSummary(domain.rules)] : []),
      grantsOf(domain, grants, now),
    ]),
  );
}

function inFull(domain: Domain, grants: readonly Grant[], now: number): string {
  const { pattern, action, origin, rules } = domain;
  const told = details(pattern.text, {
    entry: origin,
    action: describeAction(domain),
    'grant now': action.kind === 'grant' ? grantsOf(domain, grants, now) : null,
    echoes: action.kind === 'grant' ? echoWords[action.echoGuard ?? 'auto'].inFull : null,
    rules: action.kind === 'grant' ? (rules === undefined ? 'none: everything' : rulesSummary(rules)) : null,
  });
  return [told, ...(rules === undefined ? [] : ruleLines(rules))].join('\n');
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
    insecure: action.insecure,
    echo_guard: action.echoGuard ?? 'auto',
    ...(action.echoLimit === undefined ? {} : { echo_limit: action.echoLimit }),
    grants: offeredBy(domain, grants).map((grant) => ({
      id: grant.id,
      name: grant.name,
      user: grant.user,
      state: stateNow(grant, now),
    })),
    ...(rules === undefined ? { mode: 'enforce', default: 'allow', rules: [] } : rulesJson(rules)),
  };
}
