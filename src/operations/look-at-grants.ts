import type { Config } from '../config/config.ts';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { grantEnded } from '../agents/permissions.ts';
import { counted, relativeTime, unlistedHosts } from './format.ts';
import { clocksOf, failureOf } from './grant-clocks.ts';
import { soonEndOf, stateOf } from './grant-answer.ts';
import { boundKeyOf, isUnbound, lackedBy } from './grant-facts.ts';
import { policiesOf } from './lease-terms.ts';
import { referencesOf, refreshRemedy } from './lookup.ts';
import { type Finding, finding, type GrantCounts, type HealthView, type Need } from './finding.ts';
import type { ProxyProbe } from './proxy-probe.ts';
import { clientEndsSoon, type OpenedGrant } from '../domain/credential.ts';
import { certificateFacts } from '../grants/client-certificate.ts';
import { newClientRemedy } from '../grants/messages.ts';
import { type Grant, type GrantState, titleOf } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { Provider } from '../domain/provider.ts';
import { audienceRemedy, endWords, replaceRemedy } from '../grants/token-result.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import { connectNamed, hintOf, remedy, withInput } from '../lib/hint.ts';
import { withoutStop } from '../lib/text.ts';
import { type Domain, isWithin } from '../proxy/policy/domain-map.ts';
import { grantOf, inNameOrder } from '../store/grants.ts';
import type { GrantActivity, GrantPolicy, Store } from '../store/store.ts';
import type { Registry } from '../grants/registry.ts';

/** Grants that are examined for each reason to do so. */
const examined = 100;
/** Grants of the map whose audience is compared with their entry. */
const comparedGrants = 1_000;

/**
 * Lists the grants that need action; a revoked grant needs none unless a domain uses it. Examines only grants
 * that the store names for a reason. Without the master key, the finding has only `counts`.
 *
 * @param counts undefined: there is no store
 */
export async function lookAtGrants(
  view: HealthView,
  probe: Pick<ProxyProbe, 'unreadable'>,
  now: number,
  counts: GrantCounts | undefined,
): Promise<Finding> {
  const { store } = view;
  const states = Object.entries(counts ?? {}).filter(([, count]) => count > 0);
  const facts = Object.fromEntries(states);
  const text = states.map(([state, count]) => `${count} ${state}`).join(', ') || 'none';
  const vault = await view.vault().catch(caughtFailure);
  if (vault instanceof SidekeyError)
    return finding('grants', `${text} (all that can be read without the master key)`, facts);
  if (store === null || counts === undefined) return finding('grants', text, facts);
  const unread = vault === null ? [] : await probe.unreadable(vault);
  const unreadable = Map.groupBy(unread, ({ grant }) => grant);
  const needs: Need[] = [];
  const lacking: string[] = [];
  const bound: string[] = [];
  const asked: string[] = [];
  const listed = { expired: 0, reauth_required: 0 };
  const entries = await entriesByReference(view.config.domains);
  for await (const { grant, policy, activity } of examinedGrants(view, store, unreadable.keys(), now)) {
    const state = stateOf(grant, policy, now);
    if (grant.type === 'source' && grant.state === 'active') asked.push(titleOf(grant));
    if (await lacks(view, grant, activity)) lacking.push(titleOf(grant));
    if (state === 'active') {
      const binding = await bindingOf(view, grant);
      if (binding === 'bound') bound.push(titleOf(grant));
      if (binding === 'unbound') needs.push(unboundNeed(grant));
      const lost = unreadable.get(grant.id) ?? [];
      needs.push(...lost.map(({ sentence, hint }) => ({ sentence, hint })));
      // A refresh at the command line would not help the proxy.
      if (lost.length > 0) continue;
      needs.push(...(await refreshNeeds(view, grant, activity ?? null, now)));
    } else if (state !== 'revoked' || (await isUsed(grant, entries, store))) {
      if (state !== 'revoked') listed[state] += 1;
      const ended = grantEnded(grant, policy, now);
      const need = {
        sentence: needOf(grant, state),
        hint: replaceRemedy(grant, [], view.config.providers.get(grant.provider)),
      };
      needs.push(ended === null ? need : { sentence: ended.message, hint: ended.hint });
    }
  }
  const more = counts.expired + counts.reauth_required - listed.expired - listed.reauth_required;
  if (more > 0) {
    needs.push({
      sentence: `And ${counted(more, 'more grant')} expired or ${more === 1 ? 'needs' : 'need'} a new consent.`,
      hint: remedy('grant.list'),
    });
  }
  // Scopes that the user refused need no action.
  const wants =
    lacking.length === 0 ? '' : `; asked for more scopes (grant show NAME): ${lacking.join(', ')}`;
  const from = asked.length === 0 ? '' : `; asked from a source (grant source NAME): ${asked.join(', ')}`;
  const keyed = bound.length === 0 ? '' : `; bound to a key (DPoP): ${bound.join(', ')}`;
  return finding('grants', `${text}${from}${keyed}${wants}`, facts, needs);
}

interface ExaminedGrant {
  readonly grant: Grant;
  readonly policy: GrantPolicy | null;
  readonly activity: GrantActivity | undefined;
}

/** Yields the grants that may need a person, ordered by name, then user. Other work runs between them. */
async function* examinedGrants(
  { config: { providers } }: HealthView,
  store: Store,
  others: Iterable<string>,
  now: number,
): AsyncIterable<ExaminedGrant> {
  // To resolve a definition costs a millisecond: only those that grants name.
  const named = await store.grantChecks.existing(providers.names);
  const sealedFacts = [...named].filter((name) => {
    const provider = providers.get(name);
    return provider !== undefined && (provider.dpop !== null || endsSealed(provider));
  });
  const choice = { providers: sealedFacts, limit: examined };
  const ids = [...new Set([...(await store.grantChecks.concerning(now, choice)), ...others])];
  const records = await store.grants.some(ids);
  const activity = new Map((await store.activity.some(ids)).map((each) => [each.grantId, each]));
  const policies = await policiesOf(store, records);
  const all = records.map(grantOf).map((grant): ExaminedGrant => {
    const { id } = grant;
    return { grant, policy: policies.get(id) ?? null, activity: activity.get(id) };
  });
  for (const [index, each] of all.toSorted((a, b) => inNameOrder(a.grant, b.grant)).entries()) {
    yield each;
    if (index % 8 === 7) await nextTurn();
  }
}

/** Reports whether a domain offers a grant, which depends only on the grants of its user. */
async function isUsed(grant: Grant, entries: ReadonlyMap<string, unknown>, store: Store): Promise<boolean> {
  for (const reference of new Set([grant.id, grant.name, grant.provider])) {
    if (!entries.has(reference)) continue;
    const some = await store.grants.find({ reference, users: [grant.user], limit: comparedGrants });
    if (indexGrants(some).isOffered(grant, reference)) return true;
  }
  return false;
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
  const isRead = provider !== undefined && endsSealed(provider);
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

/**
 * Reports whether sealed parts of a grant say when its client or its refresh token ends. Sidekey registers
 * clients only at servers with an issuer, and stores their secrets in grants.
 */
function endsSealed(provider: Provider): boolean {
  return (provider.issuer !== null && provider.clientSecret === null) || refreshTokenEnds(provider);
}

function refreshTokenEnds({ dialect }: Provider): boolean {
  return dialect.refreshTokenIdleTimeoutMs !== null || dialect.refreshTokenLifetimeMs !== null;
}

/** Reports whether a lifetime is in its last quarter and last two weeks. A running proxy acts earlier. */
function isNear(at: number, timeMs: number | null, now: number): boolean {
  return at - now < Math.min((timeMs ?? 0) / 4, 14 * 86_400_000);
}

/** Checks the map for entries that cannot work: without a grant, or outside of its audience. */
export async function lookAtDomains({ store, config, ...view }: HealthView): Promise<Finding> {
  const { domains, providers } = config;
  const registry = await view.registry();
  const needs: Need[] = [];
  const entries = await entriesByReference(domains);
  const existing = (await store?.grantChecks.existing([...entries.keys()])) ?? new Set();
  let left = comparedGrants;
  for (const domain of domains) {
    if (store === null || registry === null || left <= 0) break;
    for (const reference of referencesOf(domain).filter((each) => existing.has(each))) {
      if (left <= 0) break;
      const offered = await store.grantChecks.offered(reference, Math.min(left, examined));
      left -= offered.length;
      for (const grant of offered) needs.push(...(await outsideOf(domain, grant, { registry, providers })));
      await nextTurn();
    }
  }
  await nextTurn();
  const missing = [...entries].filter(([reference]) => !existing.has(reference));
  const total = needs.length + missing.length;
  for (const [grant, of] of missing.slice(0, comparedGrants - needs.length)) {
    const hosts = of.map(({ pattern }) => pattern.text);
    needs.push({
      sentence: `${hosts.join(', ')} ${hosts.length === 1 ? 'uses' : 'use'} the grant ${grant}, which does not exist.`,
      hint: connectNamed(grant, providers.names.includes(grant)),
    });
  }
  const more = total - needs.length;
  if (more > 0)
    needs.push({ sentence: `And ${more} more entries cannot work.`, hint: remedy('domain.list') });
  const text = domains.length === 0 ? 'none yet' : String(domains.length);
  const facts = { count: domains.length, unmatched: config.proxy.unmatchedHosts };
  return finding('domains', `${text}. ${unlistedHosts(config)}`, facts, needs);
}

/** Groups the entries of the map by their references to grants. Other work runs in between. */
async function entriesByReference(
  domains: readonly Domain[],
): Promise<ReadonlyMap<string, readonly Domain[]>> {
  const entries = new Map<string, Domain[]>();
  for (const [index, domain] of domains.entries()) {
    for (const reference of referencesOf(domain)) {
      const some = entries.get(reference);
      if (some === undefined) entries.set(reference, [domain]);
      else some.push(domain);
    }
    if (index % 1_000 === 999) await nextTurn();
  }
  return entries;
}

async function outsideOf(
  { pattern }: Domain,
  grant: Grant,
  {
    registry,
    providers,
  }: { readonly registry: Pick<Registry, 'read'>; readonly providers: Config['providers'] },
): Promise<readonly Need[]> {
  // The revocation removed its audience with its credential. `lookAtGrants` reports it.
  if (grant.state === 'revoked') return [];
  const sealed = (await registry.read(grant.id))?.sealed;
  const audience = sealed?.audience ?? [];
  if (isWithin(audience, pattern)) return [];
  return [
    {
      sentence: `${pattern.text} is not within the audience of ${titleOf(grant)}: ${audience.join(', ')}.`,
      hint:
        sealed === undefined
          ? replaceRemedy(grant, [pattern.text])
          : audienceRemedy(grant, sealed, pattern.text, providers.get(grant.provider)),
    },
  ];
}
