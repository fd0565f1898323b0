import type { Config } from '../../config/config.ts';
import type { Grant } from '../../grants/grant.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { stateNow } from '../../grants/state-now.ts';
import type { Domain } from '../../policy/domain-map.ts';
import { describeAction } from '../domain/action.ts';
import { offeredBy } from '../grant/offered.ts';
import { titleOf } from '../grant/words.ts';
import { columns } from '../table.ts';

/** The allowed-domains map for a person, and the commands that would supply what it lacks. */
export interface MapDescription {
  readonly lines: readonly string[];
  readonly missing: readonly string[];
}

type MapConfig = Pick<Config, 'domains' | 'proxy'> & Partial<Pick<Config, 'providers'>>;

/** Describes the map as it works with these grants; `now` in milliseconds since the epoch. */
export function describeMap(
  { domains, proxy, providers }: MapConfig,
  grants: readonly Grant[],
  now: number,
): MapDescription {
  const rest = proxy.unmatched === 'tunnel' ? 'passed through blind' : 'refused';
  if (domains.length === 0) {
    return {
      lines: [`No domain is in the map yet: every host is ${rest}.`],
      // Connecting puts the provider's hosts into the map.
      missing: [
        grants[0] === undefined
          ? 'sidekey connect github --token'
          : `sidekey domain allow api.github.com --grant ${grants[0].name}`,
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
    missing: [...new Set(domains.flatMap((domain) => missingFor(domain, grants, { now, providers })))],
  };
}

function describeGrants(domain: Domain, grants: readonly Grant[], now: number): string {
  if (domain.action.kind !== 'grant') return '';
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) return 'MISSING';
  return offered.map((grant) => `${titleOf(grant)}, ${stateNow(grant, now)}`).join('; ');
}

function missingFor(
  domain: Domain,
  grants: readonly Grant[],
  { now, providers }: { readonly now: number; readonly providers: MapConfig['providers'] },
): string[] {
  if (domain.action.kind !== 'grant') return [];
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) {
    return [`sidekey connect PROVIDER --name ${domain.action.grant}`];
  }
  return offered
    .filter((grant) => stateNow(grant, now) !== 'active')
    .map((grant) => replaceCommand(grant, [], providers?.get(grant.provider)));
}
