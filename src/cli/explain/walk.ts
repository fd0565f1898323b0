import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../errors.ts';
import { planAt } from '../../inject/place.ts';
import { matches } from '../../grants/select-grant.ts';
import { createAddressGuard, parseCidr } from '../../policy/address.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import type { BodyFacts } from '../../policy/body-facts.ts';
import type { RequestDecision } from '../../policy/decide.ts';
import { createDomainMap } from '../../policy/domain-map.ts';
import { bareHost, isAddress } from '../../policy/host.ts';
import { isOwn } from '../../policy/own-host.ts';
import { boundOf } from '../../policy/limit-refusal.ts';
import { describeStep } from '../../policy/step-words.ts';
import { framingOf } from '../../proxy/framing.ts';
import { judge } from '../../proxy/judgement.ts';
import { denialOf } from '../../proxy/refusal.ts';
import { bodyFacts } from '../../proxy/request-facts.ts';
import type { Settings } from '../../proxy/rooms.ts';
import { targetOf, type Target } from '../../proxy/target.ts';
import { createResolver } from '../../upstream/resolve.ts';
import type { View } from '../../view.ts';
import { callerSteps } from './caller-steps.ts';
import { credentialSteps } from './credential-steps.ts';
import type { Question } from './question.ts';
import { follow, type Ending, type Trail, type Walked } from './trail.ts';

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
  const { arrival, at } = question;
  const target = targetSteps(question, config, trail);
  const { authority } = target;
  const caller = await callerSteps(view, question, trail);
  if (isOwn(authority)) {
    trail.went('decision', 'for the proxy itself, which says there what a caller may call');
    return { outcome: 'nowhere: it is answered by Sidekey', held: false };
  }

  const policy = { domains: createDomainMap(config.domains), unmatched: config.proxy.unmatched };
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
    judge({ arrival, target, caller }, body, settings, { grants, now: () => at });
  let { decision, offer } = await judged(null);
  if (decision.needsBody) {
    const read = await bodyFacts(arrival, config.limits.rule_body_bytes);
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
function planOf({ providers }: Config): Settings['injectPlan'] {
  return (provider, to) => {
    const places = providers.get(provider)?.inject;
    return places === undefined ? { kind: 'bearer' } : planAt(places, to);
  };
}

function targetSteps({ arrival: { head } }: Question, { limits }: Config, trail: Trail): Target {
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
}: Exclude<RequestDecision, { outcome: 'deny' }>): string {
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
  if (pinned === undefined && !isAddress(authority.host) && upstream.proxy?.resolves === true) {
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
