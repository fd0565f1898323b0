import { leaseStanding } from '../../grants/lease.ts';
import type { Context } from '../context.ts';
import { isoOrNull, lastUse } from '../grant/clock-words.ts';
import { table } from '../table.ts';
import { isoTime, relativeTime } from '../time.ts';
import { bindingJson } from './bind.ts';
import { bindingText, reachWarning } from './bindings.ts';
import { isLive, lastUseOf } from './words.ts';

/** `sidekey agent list` */
export async function listAgents({ withView, output, now }: Context): Promise<void> {
  const { rights, grants } = await withView(async ({ store, grants: all }) => ({
    rights: (await store?.rights.read()) ?? null,
    grants: await all(),
  }));
  const at = now();
  const agents = (rights?.agents ?? [])
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((agent) => {
      const tokens = rights?.tokens.filter(({ agent: of }) => of === agent.name) ?? [];
      const leases = rights?.leases.filter(({ agent: of }) => of === agent.name) ?? [];
      return {
        ...agent,
        bindings: rights?.bindings.filter(({ agent: of }) => of === agent.name) ?? [],
        tokens: tokens.filter((token) => isLive(token, at)).length,
        leases: leases.filter((lease) => leaseStanding(lease, at).state === 'active').length,
        usedAt: lastUseOf([...tokens, ...leases]),
      };
    });
  output.result(
    agents.map((agent) => ({
      name: agent.name,
      state: agent.disabledAt === null ? 'enabled' : 'disabled',
      acts_for: agent.user,
      labels: agent.labels,
      bindings: agent.bindings.map(bindingJson),
      live_tokens: agent.tokens,
      active_leases: agent.leases,
      used_at: isoOrNull(agent.usedAt),
      created_at: isoTime(agent.createdAt),
    })),
    agents.length === 0
      ? 'There are no agents yet.'
      : table(
          ['NAME', 'STATE', 'ACTS FOR', 'REACHES', 'TOKENS', 'LEASES', 'LAST USED', 'CREATED'],
          agents.map((agent) => [
            agent.name,
            agent.disabledAt === null ? 'enabled' : 'disabled',
            agent.user ?? '-',
            agent.bindings.map((binding) => bindingText(binding, grants)).join(', ') || 'nothing',
            String(agent.tokens),
            String(agent.leases),
            lastUse(agent.usedAt, at),
            relativeTime(agent.createdAt, at),
          ]),
        ),
  );
  if (agents.length === 0) output.say('  → sidekey agent add NAME --grant GRANT');
  for (const { name, bindings } of agents)
    for (const line of reachWarning(name, bindings, grants)) output.say(line);
}
