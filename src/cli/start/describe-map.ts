import type { Config } from '../../config/config.ts';
import type { Grant } from '../../grants/grant.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import type { Domain } from '../../policy/domain-map.ts';
import { describeAction } from '../domain/action.ts';
import { offeredBy } from '../grant/offered.ts';
import { stateNow, titleOf } from '../grant/words.ts';
import { columns } from '../table.ts';

/** The allowed-domains map for a person, and the commands that would supply what it lacks. */
export interface MapDescription {
  readonly lines: readonly string[];
  readonly missing: readonly string[];
}

/** Describes the map as it works with these grants; `now` in milliseconds since the epoch. */
export function describeMap(
  { domains, proxy }: Pick<Config, 'domains' | 'proxy'>,
  grants: readonly Grant[],
  now: number,
): MapDescription {
  const rest = proxy.unmatched === 'tunnel' ? 'passed through blind' : 'refused';
  if (domains.length === 0) {
    return {
      lines: [`No domain is in the map yet: every host is ${rest}.`],
      missing: [
        ...(grants.length === 0 ? ['sidekey grant add github --provider github < token.json'] : []),
        `sidekey domain allow api.github.com --grant ${grants[0]?.name ?? 'github'}`,
      ],
    };
  }
  const rows = domains.map((domain) => [
    `  ${domain.pattern.text}`,
    describeAction(domain),
    describeGrants(domain, grants, now),
  ]);
  return {
    lines: ['Domains:', ...columns(rows), `  any other host is ${rest}`],
    missing: [...new Set(domains.flatMap((domain) => missingFor(domain, grants, now)))],
  };
}

function describeGrants(domain: Domain, grants: readonly Grant[], now: number): string {
  if (domain.action.kind !== 'grant') return '';
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) return 'MISSING';
  return offered.map((grant) => `${titleOf(grant)}, ${stateNow(grant, now)}`).join('; ');
}

function missingFor(domain: Domain, grants: readonly Grant[], now: number): string[] {
  if (domain.action.kind !== 'grant') return [];
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) {
    return [`sidekey grant add ${domain.action.grant} --provider PROVIDER < token.json`];
  }
  return offered.filter((grant) => stateNow(grant, now) !== 'active').map((grant) => replaceCommand(grant));
}
