import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../errors.ts';
import { createAddressGuard, parseCidr } from '../../policy/address.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import { decide } from '../../policy/decide.ts';
import { createDomainMap } from '../../policy/domain-map.ts';
import { bareHost, isAddress } from '../../policy/host.ts';
import type { Selectors } from '../../proxy/agent.ts';
import { targetOf } from '../../proxy/target.ts';
import { createResolver } from '../../upstream/resolve.ts';
import type { View } from '../../view.ts';
import { credentialSteps } from './credential-steps.ts';
import { follow, type Trail, type Walked } from './trail.ts';

/** What is asked about. */
export interface Question {
  readonly method: string;
  readonly url: string;
  /** Null: a caller on this machine without a token. */
  readonly agent: string | null;
  readonly selectors: Selectors;
}

/**
 * Goes the way of a request through the proxy's own rooms, without a request and without the network.
 *
 * @throws what the store and the vault throw
 */
export function walk(view: View, question: Question, now: number): Promise<Walked> {
  return follow((trail) => go(view, question, now, trail));
}

async function go(view: View, question: Question, now: number, trail: Trail): Promise<string> {
  const { config } = view;
  const authority = authorityOf(question, trail);
  await identify(view, question, trail);

  const domains = createDomainMap(config.domains);
  const domain = domains.match(authority);
  trail.went('domain', domain === null ? 'no entry covers it' : `${domain.pattern.text}: ${domain.origin}`);
  const decision = decide({ domains, unmatched: config.proxy.unmatched }, authority);
  if (decision.outcome === 'deny') {
    const { code, reason, hint } = decision;
    trail.failed('decision', new SidekeyError(code, `${reason}.`, { hint }));
  }
  trail.went('decision', `${decision.outcome}: ${decision.reason}`);
  const ending =
    decision.outcome === 'tunnel'
      ? 'as it is, without a credential'
      : await credentialSteps(view, { authority, decision, selectors: question.selectors, now }, trail);
  await address(config, authority, trail);
  return ending;
}

function authorityOf({ method, url }: Question, trail: Trail): Authority {
  const host = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1] ?? '';
  const target = targetOf({ method, target: url, version: '1.1', fields: ['Host', host] }, null);
  if (target instanceof SidekeyError) return trail.failed('authority', target);
  const { authority } = target;
  trail.went('authority', `${authority.scheme}://${authority.host}:${authority.port}`);
  return authority;
}

async function identify({ config, store }: View, { agent }: Question, trail: Trail): Promise<void> {
  const { agents: mode } = config.proxy;
  if (agent === null) {
    if (mode === 'optional') {
      trail.went('agent', 'none; callers on this machine need no token');
      return;
    }
    trail.failed(
      'agent',
      new SidekeyError('agent_auth_required', 'This proxy serves known agents alone.', {
        hint: 'say which one asks: --agent NAME',
      }),
    );
  }
  if (((await store?.agents.get(agent)) ?? null) === null) {
    trail.failed(
      'agent',
      new SidekeyError('agent_auth_required', `The proxy does not know the agent ${agent}.`, {
        hint: 'sidekey agent list',
      }),
    );
  }
  trail.went('agent', agent);
}

/** Names are looked up when they are dialed; what is known before can be judged before. */
async function address({ upstream }: Config, authority: Authority, trail: Trail): Promise<void> {
  const pinned = upstream.resolve.get(authority.host);
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
