import type { Config } from '../config/config.ts';
import { titleOf } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { Registry } from '../grants/registry.ts';
import { audienceRemedy, stateRefusal } from '../grants/token-result.ts';
import { isPattern, isWithin, parsePattern } from '../proxy/policy/domain-map.ts';
import { connectNamed, type Hint } from '../lib/hint.ts';
import { didYouMean } from '../lib/text.ts';
import type { Store } from '../store/store.ts';

/** A reason why requests to the hosts of an entry are refused. */
export interface AudienceWarning {
  readonly sentence: string;
  readonly hint: Hint;
}

interface GrantParts {
  readonly grants: Pick<Registry, 'find' | 'read'>;
  readonly store: Pick<Store, 'grants'> | null;
}

/** Returns warnings about a grant of an entry that does not exist, or may not be sent to these hosts. */
export async function audienceWarnings(
  { grants, store }: GrantParts,
  { domains, providers }: Pick<Config, 'domains' | 'providers'>,
  host: string,
  reference: string,
): Promise<readonly AudienceWarning[]> {
  const pattern = parsePattern(host);
  const offered = indexGrants(await grants.find(reference)).offered(reference);
  if (offered.length === 0) {
    const names = ((await store?.grants.find({ limit: 1_000 })) ?? []).map(({ name }) => name);
    const near = didYouMean(reference, names);
    return [
      {
        sentence: `There is no grant ${reference} yet${near === null ? '' : ` (did you mean ${near}?)`}: requests to ${host} are refused until there is one.`,
        hint: connectNamed(reference, providers.get(reference) !== undefined),
      },
    ];
  }
  const warnings: AudienceWarning[] = [];
  for (const grant of offered) {
    const opened = await grants.read(grant.id);
    if (opened === null || !isPattern(pattern)) continue;
    const { inject = [], mints = [] } = providers.get(grant.provider) ?? {};
    const references = [grant.id, grant.name, grant.provider];
    const minting = domains.flatMap(({ action }) =>
      action.kind === 'grant' && references.includes(action.grant) ? (action.mints ?? []) : [],
    );
    // The credential itself is never sent to these hosts.
    const clientHosts = [
      ...inject.flatMap(({ hosts, as }) => (as.kind === 'own' ? (hosts ?? []) : [])),
      ...[...mints, ...minting].flatMap(({ goesTo }) => goesTo),
    ];
    // A revoked grant has no credential, and so no audience.
    const over = grant.state === 'revoked' ? stateRefusal(grant, providers.get(grant.provider)) : null;
    if (over !== null) {
      warnings.push({ sentence: over.message, hint: over.hint });
      continue;
    }
    if (isWithin([...opened.sealed.audience, ...clientHosts], pattern)) continue;
    warnings.push({
      sentence: `The credential of ${titleOf(grant)} may be sent to ${opened.sealed.audience.join(', ')} only; requests to other hosts are refused (policy_violation).`,
      hint: audienceRemedy(grant, opened.sealed, pattern.text, providers.get(grant.provider)),
    });
  }
  return warnings;
}
