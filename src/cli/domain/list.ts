import type { Grant } from '../../grants/grant.ts';
import type { Domain } from '../../policy/domain-map.ts';
import type { Context } from '../context.ts';
import { offeredBy } from '../grant/offered.ts';
import { stateNow, titleOf } from '../grant/words.ts';
import { table } from '../table.ts';
import { describeAction } from './action.ts';

/** `sidekey domain list` */
export async function listDomains({ withView, output, now }: Context): Promise<void> {
  const { domains, unmatched, grants } = await withView(async (view) => ({
    domains: view.config.domains,
    unmatched: view.config.proxy.unmatched,
    grants: await view.grants(),
  }));
  const at = now();
  const rest = unmatched === 'tunnel' ? 'passed through blind' : 'refused';
  output.result(
    domains.map((domain) => domainJson(domain, grants, at)),
    domains.length === 0
      ? `The allowed-domains map is empty: every host is ${rest}.`
      : table(
          ['DOMAIN', 'ACTION', 'GRANT NOW'],
          domains.map((domain) => [
            domain.pattern.text,
            describeAction(domain),
            grantsOf(domain, grants, at),
          ]),
        ),
  );
  if (domains.length === 0) output.say('  → sidekey domain allow HOST --grant NAME');
  else output.say(`Any other host is ${rest}.`);
}

function grantsOf(domain: Domain, grants: readonly Grant[], now: number): string {
  if (domain.action.kind !== 'grant') return '-';
  const found = offeredBy(domain, grants);
  if (found.length === 0) return 'MISSING';
  return found.map((grant) => `${titleOf(grant)}: ${stateNow(grant, now)}`).join(', ');
}

function domainJson(domain: Domain, grants: readonly Grant[], now: number): object {
  const { pattern, action, origin } = domain;
  const common = { domain: pattern.text, action: action.kind, origin };
  if (action.kind !== 'grant') return common;
  return {
    ...common,
    grant: action.grant,
    insecure: action.insecure,
    grants: offeredBy(domain, grants).map((grant) => ({
      id: grant.id,
      name: grant.name,
      user: grant.user,
      state: stateNow(grant, now),
    })),
  };
}
