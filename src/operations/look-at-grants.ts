import { grantEnded } from '../agents/permissions.ts';
import { relativeTime, unlistedHosts } from './format.ts';
import { clocksOf, failureOf } from './grant-clocks.ts';
import { soonEndOf, stateOf } from './grant-answer.ts';
import { boundKeyOf, isUnbound, lackedBy } from './grant-facts.ts';
import { domainsByGrant, offeredBy, refreshRemedy } from './lookup.ts';
import { type Finding, finding, type HealthView, type Need } from './finding.ts';
import type { ProxyProbe } from './proxy-probe.ts';
import { clientEndsSoon, type OpenedGrant } from '../domain/credential.ts';
import { certificateFacts } from '../grants/client-certificate.ts';
import { newClientRemedy } from '../grants/messages.ts';
import { type Grant, type GrantState, titleOf } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { Provider } from '../domain/provider.ts';
import { endWords, replaceRemedy } from '../grants/token-result.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import { connectNamed, hintOf, withInput } from '../lib/hint.ts';
import { withoutStop } from '../lib/text.ts';
import { isWithin } from '../proxy/policy/domain-map.ts';
import type { GrantActivity } from '../store/store.ts';

/**
 * Checks all grants, counts them by state, and lists those that need action; a revoked grant needs none.
 * Without the master key, only counts them.
 */
export async function lookAtGrants(
  view: HealthView,
  probe: Pick<ProxyProbe, 'unreadable'>,
  now: number,
): Promise<Finding> {
  const grants = await view.grants();
  const activity = new Map((await view.store?.activity.list())?.map((each) => [each.grantId, each]));
  const policies = new Map((await view.store?.grantPolicies.list())?.map((each) => [each.grantId, each]));
  const states = Map.groupBy(grants, (grant) => stateOf(grant, policies.get(grant.id) ?? null, now));
  const facts = Object.fromEntries(Array.from(states, ([state, { length }]) => [state, length]));
  const text = Array.from(states, ([state, { length }]) => `${length} ${state}`).join(', ') || 'none';
  const vault = await view.vault().catch(caughtFailure);
  if (vault instanceof SidekeyError)
    return finding('grants', `${text} (all that can be read without the master key)`, facts);
  const unread = vault === null ? [] : await probe.unreadable(vault);
  const unreadable = Map.groupBy(unread, ({ grant }) => grant);
  const needs: Need[] = [];
  const lacking: string[] = [];
  const bound: string[] = [];
  const domainsOf = domainsByGrant(view.config.domains, indexGrants(grants));
  for (const grant of grants) {
    const policy = policies.get(grant.id) ?? null;
    const state = stateOf(grant, policy, now);
    const isUsed = domainsOf(grant).length > 0;
    if (await lacks(view, grant, activity.get(grant.id))) lacking.push(titleOf(grant));
    if (state === 'active') {
      const binding = await bindingOf(view, grant);
      if (binding === 'bound') bound.push(titleOf(grant));
      if (binding === 'unbound') needs.push(unboundNeed(grant));
      const lost = unreadable.get(grant.id) ?? [];
      needs.push(...lost.map(({ sentence, hint }) => ({ sentence, hint })));
      // A refresh at the command line would not help the proxy.
      if (lost.length > 0) continue;
      needs.push(...(await refreshNeeds(view, grant, activity.get(grant.id) ?? null, now)));
    } else if (state !== 'revoked' || isUsed) {
      const ended = grantEnded(grant, policy, now);
      const need = {
        sentence: needOf(grant, state),
        hint: replaceRemedy(grant, [], view.config.providers.get(grant.provider)),
      };
      needs.push(ended === null ? need : { sentence: ended.message, hint: ended.hint });
    }
  }
  // Scopes that the user refused need no action.
  const wants =
    lacking.length === 0 ? '' : `; asked for more scopes (grant show NAME): ${lacking.join(', ')}`;
  const asked = grants.filter(({ type, state }) => type === 'source' && state === 'active').map(titleOf);
  const from = asked.length === 0 ? '' : `; asked from a source (grant source NAME): ${asked.join(', ')}`;
  const keyed = bound.length === 0 ? '' : `; bound to a key (DPoP): ${bound.join(', ')}`;
  return finding('grants', `${text}${from}${keyed}${wants}`, facts, needs);
}

/** Binding of a token, if the provider binds tokens to a key. */
async function bindingOf(view: HealthView, grant: Grant): Promise<'bound' | 'unbound' | null> {
  const provider = view.config.providers.get(grant.provider);
  if (provider === undefined || provider.dpop === null) return null;
  const credential = (await (await view.registry())?.read(grant.id))?.sealed.credential;
  if (credential === undefined) return null;
  if (isUnbound(credential, provider)) return 'unbound';
  return boundKeyOf(credential)?.isBound === true ? 'bound' : null;
}

function unboundNeed(grant: Grant): Need {
  return {
    sentence: `The token of ${titleOf(grant)} is not bound to a key, and its provider requires that (dpop): no request carries it.`,
    hint: hintOf`${refreshRemedy(grant)}; where the provider binds no tokens, remove dpop from its definition`,
  };
}

/** Reports whether an upstream server required scopes that a consent can add. */
async function lacks(view: HealthView, grant: Grant, activity: GrantActivity | undefined): Promise<boolean> {
  if (activity === undefined || activity.lackedAt === null) return false;
  const opened = await (await view.registry())?.read(grant.id);
  if (opened === undefined || opened === null) return false;
  return lackedBy(opened, activity, view.config.providers.get(grant.provider)) !== null;
}

function needOf(grant: Grant, state: Exclude<GrantState, 'active'>): string {
  const why = grant.stateReason === null ? '' : `: ${withoutStop(grant.stateReason)}`;
  switch (state) {
    case 'expired':
      return grant.type === 'client_certificate'
        ? `${titleOf(grant)} has expired: ${endWords(grant)}.`
        : `${titleOf(grant)} has expired, and there is no refresh token.`;
    case 'revoked':
      return `${titleOf(grant)} was revoked, and a domain still uses it.`;
    case 'reauth_required':
      return `${titleOf(grant)} needs a new consent${why}.`;
  }
}

/** Returns the needs of a grant that will stop working soon. */
async function refreshNeeds(
  view: HealthView,
  grant: Grant,
  activity: GrantActivity | null,
  now: number,
): Promise<readonly Need[]> {
  if (grant.type === 'client_certificate') return certificateNeeds(view, grant, now);
  const { providers, tokens } = view.config;
  const provider = providers.get(grant.provider);
  if (!grant.refreshable) {
    const soonEnd = soonEndOf(grant, provider, now);
    return soonEnd === null ? [] : [soonEnd];
  }
  const failure = failureOf(grant, activity);
  const needs: Need[] = [];
  // Sidekey registers clients only at servers with an issuer, and stores their secrets in grants.
  const isMarked = provider !== undefined && provider.issuer !== null && provider.clientSecret === null;
  const isRead = isMarked || (provider !== undefined && refreshTokenEnds(provider));
  const opened = isRead ? await (await view.registry())?.read(grant.id) : null;
  const credential = opened?.sealed.credential;
  if (failure !== null) {
    const refusal = { reason: failure.text, now };
    needs.push({
      sentence: `${titleOf(grant)} could not be refreshed ${relativeTime(failure.at, now)}: ${failure.text}.`,
      hint: (credential && newClientRemedy(grant, credential, provider, refusal)) ?? refreshRemedy(grant),
    });
  }
  if (provider === undefined || opened === undefined || opened === null) return needs;
  needs.push(...clientNeeds(opened, provider, now));
  if (!refreshTokenEnds(provider)) return needs;
  const { dialect } = provider;
  const { refreshToken } = clocksOf(opened, { activity, dialect, tokens, now });
  const { unusedAt, consentAt } = refreshToken;
  if (unusedAt !== null && isNear(unusedAt, dialect.refreshTokenIdleTimeoutMs, now)) {
    needs.push({
      sentence:
        unusedAt <= now
          ? `The refresh token of ${titleOf(grant)} has probably died: it was not used for too long.`
          : `The refresh token of ${titleOf(grant)} dies ${relativeTime(unusedAt, now)} unless it is used before; a running proxy uses it.`,
      hint: refreshRemedy(grant),
    });
  }
  if (consentAt !== null && isNear(consentAt, dialect.refreshTokenLifetimeMs, now)) {
    needs.push({
      sentence:
        consentAt <= now
          ? `${titleOf(grant)} has probably lost its refresh token, which lives so long after a consent and no longer.`
          : `${titleOf(grant)} needs a new consent ${relativeTime(consentAt, now)}.`,
      hint: replaceRemedy(grant, [], provider),
    });
  }
  return needs;
}

/** Returns the needs of a registered client whose secret ends soon. */
function clientNeeds({ grant, sealed }: OpenedGrant, provider: Provider, now: number): readonly Need[] {
  const { credential } = sealed;
  const registered = credential.type === 'oauth2' ? credential.registered : undefined;
  const end = registered?.secretExpiresAt ?? null;
  if (registered === undefined || end === null || !clientEndsSoon(registered, now)) return [];
  const ends = end <= now ? 'ended' : 'ends';
  const sentence = `The client that Sidekey registered for ${titleOf(grant)} ${ends} ${relativeTime(end, now)}, and with it every refresh.`;
  return [{ sentence, hint: withInput(replaceRemedy(grant, [], provider, credential), { replace: true }) }];
}

/** Returns the needs of a client certificate that expires soon, early enough for its renewal. */
async function certificateNeeds(view: HealthView, grant: Grant, now: number): Promise<readonly Need[]> {
  const opened = await (await view.registry())?.read(grant.id);
  const facts = opened === undefined || opened === null ? null : certificateFacts(opened.sealed.credential);
  if (facts === null || !isNear(facts.validUntil, facts.validUntil - facts.validFrom, now)) return [];
  const { subject, serial, validUntil } = facts;
  return [
    {
      sentence: `The client certificate of ${titleOf(grant)} (${subject}, serial ${serial}) ends ${relativeTime(validUntil, now)}.`,
      hint: replaceRemedy(grant),
    },
  ];
}

function refreshTokenEnds({ dialect }: Provider): boolean {
  return dialect.refreshTokenIdleTimeoutMs !== null || dialect.refreshTokenLifetimeMs !== null;
}

/** Reports whether a lifetime is in its last quarter and last two weeks. A running proxy acts earlier. */
function isNear(at: number, timeMs: number | null, now: number): boolean {
  return at - now < Math.min((timeMs ?? 0) / 4, 14 * 86_400_000);
}

/** Checks the map for entries that cannot work: without a grant, or outside of its audience. */
export async function lookAtDomains(view: HealthView): Promise<Finding> {
  const { domains } = view.config;
  const [index, registry] = [indexGrants(await view.grants()), await view.registry()];
  const needs: Need[] = [];
  const missing = new Map<string, string[]>();
  for (const domain of domains) {
    const { pattern, action } = domain;
    if (action.kind !== 'grant') continue;
    const offered = offeredBy(domain, index);
    for (const { grant } of [action, ...(action.also ?? [])]) {
      if (index.offered(grant).length === 0)
        missing.set(grant, [...(missing.get(grant) ?? []), pattern.text]);
    }
    for (const grant of offered) {
      // The revocation removed its audience with its credential. `lookAtGrants` reports it.
      if (grant.state === 'revoked') continue;
      const audience = (await registry?.read(grant.id))?.sealed.audience ?? [];
      if (isWithin(audience, pattern)) continue;
      needs.push({
        sentence: `${pattern.text} is not within the audience of ${titleOf(grant)}: ${audience.join(', ')}.`,
        hint: replaceRemedy(grant, [...audience, pattern.text]),
      });
    }
  }
  for (const [grant, hosts] of missing) {
    needs.push({
      sentence: `${hosts.join(', ')} ${hosts.length === 1 ? 'uses' : 'use'} the grant ${grant}, which does not exist.`,
      hint: connectNamed(grant, view.config.providers.names.includes(grant)),
    });
  }
  const text = domains.length === 0 ? 'none yet' : String(domains.length);
  const facts = { count: domains.length, unmatched: view.config.proxy.unmatchedHosts };
  return finding('domains', `${text}. ${unlistedHosts(view.config)}`, facts, needs);
}
