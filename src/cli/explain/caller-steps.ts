import { SidekeyError } from '../../errors.ts';
import { leaseStanding } from '../../grants/lease.ts';
import { selectorsOf, type Identity, type Presented } from '../../proxy/agent.ts';
import { createAgentRegister, type RegisterParts } from '../../proxy/register.ts';
import type { LeaseRecord } from '../../store/rights.ts';
import type { View } from '../../view.ts';
import { isLive } from '../agent/words.ts';
import { pickLease } from '../lease/pick.ts';
import { leaseGrantsText, leaseStateText, usesText } from '../lease/words.ts';
import { spanText } from '../span.ts';
import { dateTime, relativeTime } from '../time.ts';
import type { Question } from './question.ts';
import type { Trail } from './trail.ts';

/**
 * Who asks. The proxy's own register says whether they are known, and what they reach; no use is noted.
 *
 * @throws SidekeyError as `pickLease`
 */
export async function callerSteps(view: View, question: Question, trail: Trail): Promise<Identity> {
  const { config, store } = view;
  const { arrival, at } = question;
  const lease =
    question.lease === null ? null : pickLease((await store?.leases.list()) ?? [], question.lease);
  const presented = await presentedOf(question, lease, view);
  if (presented instanceof SidekeyError) return trail.failed('agent', presented);
  if (lease !== null) trail.went('lease', purposeText(lease, leaseGrantsText(lease, await view.grants())));
  const register = createAgentRegister({ store: store ?? noStore, now: () => at, uses: { used() {} } });
  const { loopback } = arrival.client;
  const identity = await register.identify(presented, { loopback, mode: config.proxy.agents });
  if (identity instanceof SidekeyError) {
    return trail.failed(identity.code === 'lease_expired' ? 'lease' : 'agent', identity);
  }
  if (lease !== null) trail.went('lease', clocksText(lease, at));
  const selectors = selectorsOf(arrival.head.fields, identity.selectors);
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
const noStore: RegisterParts['store'] = {
  epoch: () => 0,
  rights: {
    revision: async () => 0,
    read: async () => ({ revision: 0, agents: [], tokens: [], bindings: [], leases: [], policies: [] }),
  },
  leases: { get: async () => null, use: async () => null },
};
