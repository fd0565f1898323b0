import { reachesGrant } from '../../grants/binding.ts';
import { leaseStanding } from '../../grants/lease.ts';
import type { Context } from '../context.ts';
import { isoOrNull, lastUse } from '../grant/clock-words.ts';
import { titleOf } from '../grant/words.ts';
import { details, table } from '../table.ts';
import { dateTime, isoTime, relativeTime } from '../time.ts';
import { bindingJson } from './bind.ts';
import { bindingText, reachWarning } from './bindings.ts';
import { pickAgent } from './pick.ts';
import { isLive, lastUseOf, tokenEnd } from './words.ts';

/** `sidekey agent show`: what it reaches now, and with which tokens. @throws SidekeyError `not_found` */
export async function showAgent({ withView, output, now }: Context, name: string): Promise<void> {
  const at = now();
  const { agent, bindings, tokens, leases, reached, grants } = await withView(async (view) => {
    const rights = (await view.store?.rights.read()) ?? null;
    const found = pickAgent(rights?.agents ?? [], name);
    const bound = rights?.bindings.filter((binding) => binding.agent === name) ?? [];
    const labels = new Map(rights?.policies.map((policy) => [policy.grantId, policy.labels]));
    const all = await view.grants();
    return {
      agent: found,
      bindings: bound,
      tokens: rights?.tokens.filter((token) => token.agent === name) ?? [],
      leases: rights?.leases.filter((lease) => lease.agent === name) ?? [],
      grants: all,
      reached: all.filter((grant) => reachesGrant(bound, found.user, grant, labels.get(grant.id) ?? [])),
    };
  });
  const active = leases.filter((lease) => leaseStanding(lease, at).state === 'active');
  const usedAt = lastUseOf([...tokens, ...leases]);
  output.result(
    {
      name,
      state: agent.disabledAt === null ? 'enabled' : 'disabled',
      acts_for: agent.user,
      labels: agent.labels,
      bindings: bindings.map(bindingJson),
      reaches: reached.map(({ id, name: grant, user, provider }) => ({ id, name: grant, user, provider })),
      tokens: tokens.map((token) => ({
        id: token.id,
        label: token.label,
        live: isLive(token, at),
        created_at: isoTime(token.createdAt),
        expires_at: isoOrNull(token.expiresAt),
        revoked_at: isoOrNull(token.revokedAt),
        used_at: isoOrNull(token.usedAt),
      })),
      active_leases: active.map(({ id }) => id),
      used_at: isoOrNull(usedAt),
      created_at: isoTime(agent.createdAt),
    },
    [
      details(name, {
        state: agent.disabledAt === null ? 'enabled' : `disabled ${relativeTime(agent.disabledAt, at)}`,
        'acts for': agent.user ?? 'nobody in particular',
        labels: agent.labels.length === 0 ? null : agent.labels.join(', '),
        'bound to': bindings.map((binding) => bindingText(binding, grants)).join(', ') || 'nothing',
        'reaches now': reached.map(titleOf).join(', ') || 'no grant',
        leases: `${active.length} active of ${leases.length}`,
        'last use': lastUse(usedAt, at),
        created: `${dateTime(agent.createdAt)} (${relativeTime(agent.createdAt, at)})`,
      }),
      '',
      table(
        ['TOKEN', 'CREATED', 'ENDS', 'LAST USED'],
        tokens.map((token) => [
          token.label,
          relativeTime(token.createdAt, at),
          tokenEnd(token, at),
          lastUse(token.usedAt, at),
        ]),
      ),
    ].join('\n'),
  );
  for (const line of reachWarning(name, bindings, grants)) output.say(line);
}
