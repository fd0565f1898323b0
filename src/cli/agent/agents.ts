import { leaseStanding } from '../../domain/lease.ts';
import type { AuditEvent } from '../../domain/event.ts';
import { recordChange } from '../../audit/log.ts';
import { bindingJson, bindingText, reachWarning } from './bindings.ts';
import { identityRules, ruleText } from './identity.ts';
import type { Context } from '../context.ts';
import { details, table } from '../display.ts';
import { checkName, dateTime, isoOrNull, isoTime, lastUse, relativeTime } from '../format.ts';
import { ownGrants } from '../lease/create.ts';
import { pickAgent, unknownAgent } from '../pick.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { AgentRecord, AgentTokenRecord } from '../../store/store.ts';
import { titleOf } from '../../domain/grant.ts';

/** `sidekey agent list`: all agents, or one in full. @throws SidekeyError `not_found` */
export async function listAgents(context: Context, name: string | undefined): Promise<void> {
  if (name !== undefined) return showAgent(context, name);
  const { withView, output, now } = context;
  const { rights, uses, grants, config } = await withView(async ({ store, grants: all, config: read }) => ({
    rights: (await store?.rights.read()) ?? null,
    uses: await store?.agents.identityUses(),
    grants: await all(),
    config: read,
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
        issuers: [...new Set(identityRules(config, agent.name).map(({ issuer }) => issuer))],
        leases: leases.filter((lease) => leaseStanding(lease, at).state === 'active').length,
        usedAt: lastUseOf([...tokens, ...leases], uses?.get(agent.name)),
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
      issuers: agent.issuers,
      active_leases: agent.leases,
      used_at: isoOrNull(agent.usedAt),
      created_at: isoTime(agent.createdAt),
    })),
    agents.length === 0
      ? 'There are no agents yet.\n  → sidekey agent create NAME --grant GRANT'
      : table(
          output.display,
          ['NAME', 'STATE', 'ACTS FOR', 'REACHES', 'TOKENS', 'LEASES', 'LAST USED', 'CREATED'],
          agents.map((agent) => [
            agent.name,
            agent.disabledAt === null ? 'enabled' : 'disabled',
            agent.user ?? '-',
            agent.bindings.map((binding) => bindingText(binding, grants)).join(', ') || 'nothing',
            [agent.tokens, ...agent.issuers].join(', '),
            String(agent.leases),
            lastUse(agent.usedAt, at),
            relativeTime(agent.createdAt, at),
          ]),
          { least: ['CREATED', 'ACTS FOR', 'REACHES', 'LEASES'] },
        ),
  );
  for (const { name, bindings } of agents)
    for (const line of reachWarning(name, bindings, grants)) output.say(line);
}

/** Prints the reachable grants and the tokens. */
async function showAgent({ withView, output, now }: Context, name: string): Promise<void> {
  const at = now();
  const { agent, bindings, tokens, leases, uses, reached, grants, identities } = await withView(
    async (view) => {
      const rights = (await view.store?.rights.read()) ?? null;
      const found = pickAgent(rights?.agents ?? [], name);
      const all = await view.grants();
      return {
        agent: found,
        bindings: rights?.bindings.filter((binding) => binding.agent === name) ?? [],
        tokens: rights?.tokens.filter((token) => token.agent === name) ?? [],
        leases: rights?.leases.filter((lease) => lease.agent === name) ?? [],
        grants: all,
        uses: await view.store?.agents.identityUses(),
        identities: identityRules(view.config, name),
        reached: ownGrants({ agent: name, grants: null }, all, rights),
      };
    },
  );
  const active = leases.filter((lease) => leaseStanding(lease, at).state === 'active');
  const usedAt = lastUseOf([...tokens, ...leases], uses?.get(name));
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
      identities,
      active_leases: active.map(({ id }) => id),
      used_at: isoOrNull(usedAt),
      created_at: isoTime(agent.createdAt),
    },
    [
      details(output.display, name, {
        state: agent.disabledAt === null ? 'enabled' : `disabled ${relativeTime(agent.disabledAt, at)}`,
        'acts for': agent.user ?? 'no user',
        labels: agent.labels.length === 0 ? null : agent.labels.join(', '),
        'bound to': bindings.map((binding) => bindingText(binding, grants)).join(', ') || 'nothing',
        'reaches now': reached.map(titleOf).join(', ') || 'no grant',
        'identified by': identities.map(ruleText).join('; ') || null,
        leases: `${active.length} active of ${leases.length}`,
        'last use': lastUse(usedAt, at),
        created: `${dateTime(agent.createdAt)} (${relativeTime(agent.createdAt, at)})`,
      }),
      '',
      table(
        output.display,
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

export interface SetOptions {
  /** User; false: no user. */
  readonly for?: string | false;
  /** New labels; false: no labels. */
  readonly agentLabel?: readonly string[] | false;
  /** Refuses the agent's tokens and leases from the next request on. Deletes nothing. */
  readonly disable?: boolean;
  /** Accepts the agent's unexpired tokens and leases again. */
  readonly enable?: boolean;
}

/** `sidekey agent set`: changes an agent's user and labels, and disables or enables it. */
export async function setAgent(
  { withState, output, now }: Context,
  name: string,
  { for: user, agentLabel: labels, disable = false, enable = false }: SetOptions,
): Promise<void> {
  const isSwitch = disable || enable;
  if ((user === undefined && labels === undefined && !isSwitch) || (disable && enable)) {
    throw new SidekeyError(
      'input_invalid',
      disable ? 'Give --disable or --enable, not both.' : 'The command names nothing to change.',
      { hint: 'sidekey agent set --help' },
    );
  }
  if (typeof user === 'string') checkName('user', user);
  if (Array.isArray(labels)) for (const label of labels) checkName('label', label);
  const change = {
    ...(user === undefined ? {} : { user: user === false ? null : user }),
    ...(labels === undefined ? {} : { labels: labels === false ? [] : [...new Set(labels)] }),
  };
  const reason = Object.entries(change)
    .map(([key, value]) => `${key} ${value === null || value.length === 0 ? 'none' : String(value)}`)
    .join(', ');
  const { agent, isSwitched } = await withState(async ({ store, audit }) => {
    const before = pickAgent(await store.agents.list(), name);
    const record = (event: AuditEvent, changed: Partial<AgentRecord>) =>
      recordChange(audit, event, async () => {
        if (!(await store.agents.change(name, changed))) throw unknownAgent(name, []);
      });
    if (reason !== '') await record({ event: 'agent.changed', agent: name, reason }, change);
    const switches = isSwitch && (before.disabledAt !== null) !== disable;
    if (switches) {
      const event = disable ? 'agent.disabled' : 'agent.enabled';
      await record({ event, agent: name }, { disabledAt: disable ? now() : null });
    }
    return { agent: { ...before, ...change }, isSwitched: switches };
  });
  const state = disable ? 'disabled' : 'enabled';
  const switched = isSwitched
    ? `The agent ${name} is ${state}${disable ? ': its tokens are refused, and its leases have ended' : ': its tokens work again'}.`
    : `The agent ${name} is already ${state}.`;
  const set = `${name} acts for ${agent.user ?? 'no user'}; its labels: ${agent.labels.join(', ') || 'none'}.`;
  output.result(
    {
      name,
      acts_for: agent.user,
      labels: agent.labels,
      state: (isSwitch ? disable : agent.disabledAt !== null) ? 'disabled' : 'enabled',
      changed: reason !== '' || isSwitched,
    },
    [...(reason === '' ? [] : [set]), ...(isSwitch ? [switched] : [])].join('\n'),
  );
}

export interface RemoveOptions {
  /** Removes only the tokens with this label; the agent stays. */
  readonly tokenLabel?: string;
}

/**
 * `sidekey agent remove`: removes the agent with its tokens, bindings and leases.
 * @throws SidekeyError `not_found`, or `audit_unavailable` if the removal cannot be recorded
 */
export async function removeAgent(
  context: Context,
  name: string,
  { tokenLabel }: RemoveOptions,
): Promise<void> {
  if (tokenLabel !== undefined) {
    await removeTokens(context, name, tokenLabel);
    return;
  }
  const { withState, output } = context;
  await withState(async ({ store, audit }) => {
    pickAgent(await store.agents.list(), name);
    await recordChange(audit, { event: 'agent.removed', agent: name }, async () => {
      if (!(await store.agents.remove(name))) throw unknownAgent(name, []);
    });
  });
  output.result(
    { name, removed: true },
    `Removed the agent ${name}: its tokens and leases are refused from now on.`,
  );
}

async function removeTokens({ withState, output, now }: Context, name: string, label: string): Promise<void> {
  const count = await withState(async ({ store, audit }) => {
    pickAgent(await store.agents.list(), name);
    const tokens = await store.agentTokens.list(name);
    if (!tokens.some((token) => token.label === label && token.revokedAt === null)) {
      throw new SidekeyError('not_found', `The agent ${name} has no live token of that label.`, {
        hint: `sidekey agent show ${name}`,
      });
    }
    const event = { event: 'agent.token_revoked', agent: name, reason: `label ${label}` } as const;
    return recordChange(audit, event, () => store.agentTokens.revoke(name, label, now()));
  });
  output.result(
    { name, label, revoked: count },
    `Revoked ${count === 1 ? 'the token' : `${count} tokens`} ${label} of ${name}.`,
  );
}

/** Reports whether a token of an enabled agent is valid at `now`. */
export function isLive({ expiresAt, revokedAt }: AgentTokenRecord, now: number): boolean {
  return revokedAt === null && (expiresAt === null || expiresAt > now);
}

/** `no end`, `in 3 d`, `ended 2 h ago`, `revoked 2 h ago`. */
function tokenEnd({ expiresAt, revokedAt }: AgentTokenRecord, now: number): string {
  if (revokedAt !== null) return `revoked ${relativeTime(revokedAt, now)}`;
  if (expiresAt === null) return 'no end';
  return `${expiresAt > now ? '' : 'ended '}${relativeTime(expiresAt, now)}`;
}

/** The latest of several last uses; null: never used. */
function lastUseOf(
  used: readonly { readonly usedAt: number | null }[],
  byIdentity: number | undefined,
): number | null {
  const times = [byIdentity, ...used.map(({ usedAt }) => usedAt)].flatMap((at) => at ?? []);
  return times.length === 0 ? null : Math.max(...times);
}
