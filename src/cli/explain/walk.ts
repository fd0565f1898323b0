import { type Identity, selectorsOf } from '../../agents/authentication.ts';
import { type Presented } from '../../http/message.ts';
import { type AuthenticatorParts, createAgentAuthenticator } from '../../agents/authenticator.ts';
import { leaseStanding } from '../../agents/lease.ts';
import type { View } from '../../app/state.ts';
import { isLive } from '../agent/agents.ts';
import { credentialSteps } from './credential-steps.ts';
import { type Ending, follow, type Question, type Trail, type Walked } from './question.ts';
import { dateTime, relativeTime, spanText } from '../format.ts';
import { leaseGrantsText, leaseStateText, usesText } from '../lease/create.ts';
import { pickLease } from '../pick.ts';
import type { Config } from '../../config/config.ts';
import { matches } from '../../grants/grant.ts';
import { framingOf } from '../../http/framing.ts';
import { denialOf } from '../../http/problem.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { createAddressGuard, parseCidr } from '../../policy/address.ts';
import { type Authority, authorityText, bareHost, isAddress, isOwn } from '../../policy/authority.ts';
import type { BodyFacts } from '../../policy/body.ts';
import type { Decision } from '../../policy/decide.ts';
import { createDomainMap } from '../../policy/domain-map.ts';
import { describeStep } from '../../policy/judge.ts';
import { boundOf } from '../../policy/limits.ts';
import { bodyFacts, judge } from '../../proxy/authorize.ts';
import type { ConfigSnapshot } from '../../proxy/deps.ts';
import { type Target, targetOf } from '../../proxy/target.ts';
import { placementAt } from '../../schemes/placement.ts';
import type { LeaseRecord } from '../../store/store.ts';
import { createResolver } from '../../upstream/resolve.ts';

/**
 * Goes the way of a request through the proxy's own rooms, without a request and without the network.
 *
 * @throws what the store and the vault throw; SidekeyError as `pickLease`
 */
export function walk(view: View, question: Question): Promise<Walked> {
  return follow((trail) => go(view, question, trail));
}

async function go(view: View, question: Question, trail: Trail): Promise<Ending> {
  const { config } = view;
  const { inbound, at } = question;
  const target = targetSteps(question, config, trail);
  const { authority } = target;
  const caller = await callerSteps(view, question, trail);
  if (isOwn(authority)) {
    trail.went('decision', 'for the proxy itself, which says there what a caller may call');
    return { outcome: 'nowhere: it is answered by Sidekey', held: false };
  }

  const policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatchedHosts };
  const domain = policy.domains.match(authority);
  trail.went('domain', domain === null ? 'no entry covers it' : `${domain.pattern.text}: ${domain.origin}`);
  const all = await view.grants();
  const grants = { find: (reference: string) => all.filter((grant) => matches(grant, reference)) };
  const settings = {
    policy,
    injectPlan: planOf(config),
    provider: (name: string) => config.providers.get(name),
  };
  const judged = (body: BodyFacts | null) =>
    judge({ inbound, target, caller }, body, settings, { grants, now: () => at });
  let { decision, offer } = await judged(null);
  if (decision.needsBody) {
    const read = await bodyFacts(inbound, config.limits.rule_body_bytes);
    ({ decision, offer } = await judged(read.facts));
  }
  for (const step of decision.steps) trail.went('rule', describeStep(step));
  if (decision.outcome === 'deny') return trail.failed('decision', denialOf(decision));
  trail.went('decision', decisionText(decision));
  const ending =
    decision.outcome === 'tunnel' || offer === null
      ? { outcome: 'as it is, without a credential', held: false }
      : await credentialSteps(
          view,
          {
            target,
            method: question.method,
            decision,
            offer,
            caller,
            injectPlan: settings.injectPlan,
            now: at,
          },
          trail,
        );
  await address(config, authority, trail);
  return ending;
}

/** How a provider's tokens are carried, as `main` has it. */
function planOf({ providers }: Config): ConfigSnapshot['injectPlan'] {
  return (provider, to) => {
    const places = providers.get(provider)?.inject;
    return places === undefined ? { kind: 'bearer' } : placementAt(places, to);
  };
}

function targetSteps({ inbound: { head } }: Question, { limits }: Config, trail: Trail): Target {
  const framing = framingOf(head, limits);
  if (framing instanceof SidekeyError) return trail.failed('authority', framing);
  const target = targetOf(head, null);
  if (target instanceof SidekeyError) return trail.failed('authority', target);
  const { scheme, host, port } = target.authority;
  trail.went('authority', `${scheme}://${host}:${port}`);
  return target;
}

function decisionText({
  outcome,
  reason,
  reported,
  limits,
  mode,
}: Exclude<Decision, { outcome: 'deny' }>): string {
  const counted = mode === 'report' ? [] : limits;
  return [
    `${outcome}: ${reason}`,
    ...(reported === null ? [] : [`only reported, else ${reported.outcome}: ${reported.reason}`]),
    ...counted.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
  ].join('; ');
}

/** Names are looked up when they are dialed; what is known before can be judged before. */
async function address({ upstream }: Config, authority: Authority, trail: Trail): Promise<void> {
  const pinned = upstream.resolve.get(authority.host);
  if (pinned === undefined && !isAddress(authority.host) && upstream.proxy?.remoteDns === true) {
    const by = authorityText(upstream.proxy.authority);
    trail.went(
      'address',
      `looked up by ${by}, unless upstream.no_proxy has the host; no address guard holds there`,
    );
    return;
  }
  if (pinned === undefined && !isAddress(authority.host)) {
    trail.went('address', 'looked up when it is dialed; only public ones and upstream.private_addresses are');
    return;
  }
  const guard = createAddressGuard(
    upstream.privateAddresses.map(parseCidr).filter((block) => block !== null),
  );
  const resolve = createResolver({ guard, pinned: upstream.resolve, lookup: async () => [] });
  try {
    const [first] = await resolve(authority.host);
    const from = pinned === undefined ? '' : ' (pinned by upstream.resolve)';
    trail.went('address', `${first?.address ?? bareHost(authorityText(authority))}${from} may be dialed`);
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    trail.failed('address', error);
  }
}

/**
 * Who asks. The proxy's own register says whether they are known, and what they reach; no use is noted.
 *
 * @throws SidekeyError as `pickLease`
 */
async function callerSteps(view: View, question: Question, trail: Trail): Promise<Identity> {
  const { config, store } = view;
  const { inbound, at } = question;
  const lease =
    question.lease === null ? null : pickLease((await store?.leases.list()) ?? [], question.lease);
  const presented = await presentedOf(question, lease, view);
  if (presented instanceof SidekeyError) return trail.failed('agent', presented);
  if (lease !== null) trail.went('lease', purposeText(lease, leaseGrantsText(lease, await view.grants())));
  const register = createAgentAuthenticator({ store: store ?? noStore, now: () => at, uses: { used() {} } });
  const { loopback } = inbound.client;
  const identity = await register.identify(presented, { loopback, mode: config.proxy.authentication });
  if (identity instanceof SidekeyError) {
    return trail.failed(identity.code === 'lease_expired' ? 'lease' : 'agent', identity);
  }
  if (lease !== null) trail.went('lease', clocksText(lease, at));
  const selectors = selectorsOf(inbound.head.fields, identity.selectors);
  if (selectors instanceof SidekeyError) return trail.failed('agent', selectors);
  trail.went('agent', identity.agent ?? 'none; callers on this machine need no token');
  return { ...identity, selectors };
}

/** What the caller would show: of an agent that has several tokens, one that lives. */
async function presentedOf(
  { agent, selectors, at }: Question,
  lease: LeaseRecord | null,
  { store }: View,
): Promise<Presented | SidekeyError> {
  if (lease !== null)
    return { kind: 'token', name: agent, tokenHash: Buffer.from(lease.tokenHash), selectors };
  if (agent === null) return { kind: 'selectors', selectors };
  if (((await store?.agents.get(agent)) ?? null) === null) {
    return unauthenticated(`The proxy does not know the agent ${agent}.`, 'sidekey agent list');
  }
  const tokens = (await store?.agentTokens.list(agent)) ?? [];
  const shown = tokens.findLast((token) => isLive(token, at)) ?? tokens.at(-1);
  if (shown === undefined) {
    return unauthenticated(`The agent ${agent} has no token.`, `sidekey agent rotate ${agent}`);
  }
  return { kind: 'token', name: agent, tokenHash: Buffer.from(shown.hash), selectors };
}

function unauthenticated(sentence: string, hint: string): SidekeyError {
  return new SidekeyError('agent_auth_required', sentence, { hint });
}

function purposeText({ id, agent, purpose }: LeaseRecord, grants: string): string {
  return `${id} of ${agent}, for ${grants === '' ? 'no grant' : grants}: ${purpose}`;
}

/** `active, ends in 14 min (2026-11-21 06:15:00Z), when it is not used for 5m; 3 of 10 uses`. */
function clocksText(lease: LeaseRecord, now: number): string {
  const standing = leaseStanding(lease, now);
  const at = standing.state === 'active' ? standing.endsAt : lease.expiresAt;
  return [
    `${leaseStateText(lease, now)}, ends ${relativeTime(at, now)} (${dateTime(at)})`,
    ...(lease.idleMs === null ? [] : [`at most ${spanText(lease.idleMs)} between two requests`]),
    ...(lease.maxUses === null ? [] : [`${usesText(lease)} uses`]),
  ].join('; ');
}

/** Where nothing was stored yet, nobody is known. */
const noStore: AuthenticatorParts['store'] = {
  epoch: () => 0,
  rights: {
    revision: async () => 0,
    read: async () => ({ revision: 0, agents: [], tokens: [], bindings: [], leases: [], policies: [] }),
  },
  leases: { get: async () => null, use: async () => null },
};
