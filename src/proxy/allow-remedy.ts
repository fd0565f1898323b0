import type { Identity } from '../agents/authentication.ts';
import { widenRemedy } from '../grants/token-result.ts';
import { SidekeyError } from '../lib/errors.ts';
import { connectNamed, type Hint, hintOf, remedy, withInput } from '../lib/hint.ts';
import { denialOf } from './http/problem.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import { type Decision, type Denial, unlistedHint, unlistedRule } from './policy/decide.ts';
import { matchesAnyPattern, type NearEntry, nearestEntry, patternsOf } from './policy/domain-map.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import { offerOf, scopeFor } from './target.ts';

/** A caller, and the parts of the proxy that show which grants it may use. */
interface Reachable {
  readonly caller: Identity;
  readonly config: Pick<ConfigSnapshot, 'policy' | 'provider'>;
  readonly services: Pick<ProxyServices, 'grants'>;
}

/**
 * Returns the action that gives requests to an authority the credential of a grant. A host beyond the
 * audience of the provider needs more than an entry of the map.
 *
 * @param reference ID, name or provider of the grant
 */
async function allowRemedy(
  reference: string,
  authority: Authority,
  { caller, config, services }: Reachable,
): Promise<Hint> {
  const host = authorityText(authority);
  const isPlain = authority.scheme === 'http';
  const allow = remedy('domain.allow', { host, grant: reference, allow_plain_http: isPlain || undefined });
  const [grant] = (await services.grants.find(reference, scopeFor(reference, caller))).filter(caller.reaches);
  const provider = grant && config.provider(grant.provider);
  const audience = patternsOf(provider?.audience ?? []);
  if (matchesAnyPattern(audience, authority)) return allow;
  // An agent must not learn whether a grant exists.
  if (grant === undefined && caller.agent !== null) return allow;
  const widen =
    grant === undefined
      ? withInput(connectNamed(reference, config.provider(reference) !== undefined), {
          allowed_domains: [host],
          widen: true,
        })
      : widenRemedy(grant, host, provider);
  if (widen === null) return allow;
  return isPlain ? hintOf`${widen}, then ${allow}` : widen;
}

/** Returns the refusal of a request that names a grant, where policy gives no credential. */
export async function uncredentialed(
  grant: string,
  authority: Authority,
  { rule, reason }: Pick<Decision, 'rule' | 'reason'>,
  reachable: Reachable,
): Promise<SidekeyError> {
  const sentence = `The request names the grant ${grant}, but would be sent without a credential: ${reason}.`;
  const give = rule === unlistedRule ? await allowRemedy(grant, authority, reachable) : `change ${rule}`;
  return new SidekeyError('grant_missing', sentence, {
    hint: hintOf`${give}; or name no grant, for a request without a credential`,
  });
}

/** Returns the action that helps a request which an entry almost covers. */
export async function nearRemedy(
  { entry: { action, pattern }, isTypo }: NearEntry,
  authority: Authority,
  reachable: Reachable,
): Promise<Hint> {
  return isTypo || action.kind !== 'grant'
    ? `if you mean ${pattern.text}, correct the URL`
    : allowRemedy(action.grant, authority, reachable);
}

/**
 * Returns the refusal of a denied request. For a host that no entry covers, the hint names the entry that
 * almost covers it. An agent learns only of entries with a grant that it may use.
 */
export async function deniedRequest(
  denial: Denial,
  authority: Authority,
  reachable: Reachable,
): Promise<SidekeyError> {
  if (denial.rule !== unlistedRule) return denialOf(denial);
  const { caller, config, services } = reachable;
  const near = nearestEntry(config.policy.domains.entries, authority);
  if (near === null || near.entry.action.kind !== 'grant') return denialOf(denial);
  if (caller.agent !== null) {
    const { grant } = near.entry.action;
    const named = await services.grants.find(grant, scopeFor(grant, caller));
    if (offerOf(named, near.entry, caller).candidates.length === 0) return denialOf(denial);
  }
  const way = await nearRemedy(near, authority, reachable);
  const hint = hintOf`the entry ${near.entry.pattern.text} ${near.difference}: ${way}`;
  return denialOf({ ...denial, hint: unlistedHint(authorityText(authority), hint) });
}
