import { z } from 'zod';
import { identityRules } from '../agents/identity-rules.ts';
import { recordChange } from '../audit/log.ts';
import type { AuditEvent } from '../domain/event.ts';
import { type Binding, leaseStanding } from '../domain/lease.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { AgentRecord, Store } from '../store/store.ts';
import { isLive, newToken } from './agent-token.ts';
import { bindingReason, bindingsOf, isHost, namedBindings, nowhere, otherBindings } from './bindings.ts';
import { findAgent, findNamedGrant } from './find.ts';
import {
  duration,
  egress,
  enabledState,
  grants,
  membersOf,
  name,
  named,
  text,
  texts,
  time,
  timeOrNull,
  userName,
} from './members.ts';
import { isoOrNull, isoTime, proxyUrl, readEnd, spanText } from './format.ts';
import { changing, type Changing, reading } from './operation.ts';
import { namePlace, pageInput, pageOf } from './paging.ts';
import { unknownAgent } from './lookup.ts';
import { boundGrants, maxGrants, readReach } from './reach.ts';

/** Agents: callers of the proxy, their tokens, and the grants that each may use. */

const binding = named('Binding', {
  kind: z.enum(['grant', 'provider', 'user', 'label', 'everything', 'egress']),
  value: z.string().nullable(),
});

const members = {
  name: z.string(),
  state: z.enum(['enabled', 'disabled']),
  acts_for: z.string().nullable(),
  labels: texts,
  bindings: z.array(binding),
};

const listMembers = {
  ...members,
  live_tokens: z.int(),
  issuers: texts.describe('The entries of agent_issuers whose tokens identify it.'),
  active_leases: z.int().describe('Among the 100 of its leases that end last.'),
  used_at: timeOrNull,
  created_at: time,
};

const tokenMembers = {
  id: z.uuid(),
  label: z.string(),
  live: z.boolean(),
  created_at: time,
  expires_at: timeOrNull,
  revoked_at: timeOrNull,
  used_at: timeOrNull,
};

const choice = {
  grants,
  providers: z.array(name).min(1).optional().describe('Every grant of these providers.'),
  users: z.array(userName).min(1).optional().describe('Every grant of these users.'),
  labels: z.array(name).min(1).optional().describe('Every grant with one of these labels.'),
  everything: z.boolean().optional().describe('Every grant of every user.'),
  egress,
};

const tokenEnd = text.optional().describe('90d, or a date.');

/** Returns the values of an agent for answers. */
function valuesOf<Agent extends AgentRecord>(agent: Agent, bindings: readonly Binding[]) {
  const bound = bindings.map(bindingAnswer);
  return { ...agent, state: enabledState(agent), actsFor: agent.user, bindings: bound };
}

function bindingAnswer({ kind, value }: Binding): Binding {
  return { kind, value };
}

export const listAgents = reading({
  id: 'agent.list',
  summary: 'List the agents.',
  scope: 'access:read',
  input: z.strictObject(pageInput),
  output: z.array(named('AgentInList', listMembers)),
  async run({ store, config }, page, at) {
    const { rows, next } = await pageOf(page, {
      place: namePlace,
      read: async ({ after, limit }) => (await store?.agents.inList(at, { after: after?.name, limit })) ?? [],
    });
    const agents = rows.map((agent) => ({
      ...agent,
      issuers: [...new Set(identityRules(config, agent.name).map(({ issuer }) => issuer))],
    }));
    const bound = agents.flatMap(({ bindings }) => bindings);
    return { agents, grants: store === null ? [] : await boundGrants(store, bound), next };
  },
  next: ({ next }) => next,
  answer: ({ agents }) => agents.map((agent) => membersOf(listMembers, valuesOf(agent, agent.bindings))),
});

export const getAgent = reading({
  id: 'agent.get',
  summary: 'Show an agent, and the grants that it reaches.',
  scope: 'access:read',
  input: z.strictObject({ agent: text }),
  output: named('Agent', {
    ...members,
    reaches: z
      .array(z.strictObject({ id: z.uuid(), name: z.string(), user: z.string(), provider: z.string() }))
      .describe(`At most ${maxGrants}.`),
    tokens: z.array(z.strictObject(tokenMembers)),
    identities: z.array(z.strictObject({ issuer: z.string(), claims: z.record(z.string(), z.string()) })),
    active_leases: texts,
    used_at: timeOrNull,
    created_at: time,
  }),
  async run({ config, ...parts }, { agent: of }, at) {
    const agent = await findAgent(parts.store, of);
    const store = parts.store!;
    const bindings = await store.bindings.list(agent.name);
    const tokens = await store.agentTokens.list(agent.name);
    const leases = await store.leases.find({ agent: agent.name });
    const last = await store.agents.identityUse(agent.name);
    const used = [...tokens, ...leases].reduce((at, { usedAt }) => Math.max(at, usedAt ?? 0), last ?? 0);
    const reach = await readReach(store, { agent: agent.name, grants: null });
    return {
      agent,
      bindings,
      tokens,
      leases,
      activeLeases: leases.filter((lease) => leaseStanding(lease, at).state === 'active'),
      usedAt: used || null,
      grants: await boundGrants(store, bindings, agent.user),
      identities: identityRules(config, agent.name),
      reached: reach.grants.slice(0, maxGrants),
    };
  },
  answer: ({ agent, bindings, reached, tokens, identities, activeLeases, usedAt }, at) => ({
    ...membersOf(members, valuesOf(agent, bindings)),
    reaches: reached.map(({ id, name: grant, user, provider }) => ({ id, name: grant, user, provider })),
    tokens: tokens.map((token) => membersOf(tokenMembers, { ...token, live: isLive(token, at) })),
    identities: identities.map(({ issuer, claims }) => ({ issuer, claims: { ...claims } })),
    active_leases: activeLeases.map(({ id }) => id),
    used_at: isoOrNull(usedAt),
    created_at: isoTime(agent.createdAt),
  }),
});

export const createAgent = changing({
  id: 'agent.create',
  summary: 'Create an agent. The answer has its token, once.',
  scope: 'access:write',
  input: z.strictObject({
    ...choice,
    name,
    acts_for: userName.optional().describe('The user that it acts for.'),
    agent_labels: z.array(name).optional(),
    token_label: name.optional(),
    expires: tokenEnd,
    token: z.boolean().optional().describe('False: no token, because an issuer gives it tokens.'),
  }),
  output: named('CreatedAgent', {
    name: z.string(),
    token: z.string().nullable().describe('Shown only once. Null: it has none.'),
    proxy_url: z.string().nullable(),
    expires_at: timeOrNull,
    acts_for: z.string().nullable(),
    labels: texts,
    bindings: z.array(binding),
  }),
  check(input, at) {
    if (input.token !== false) tokenOf(input.name, input, at);
  },
  async run({ store, audit, config }, input, at) {
    const agent: AgentRecord = {
      name: input.name,
      user: input.acts_for ?? null,
      labels: [...new Set(input.agent_labels)],
      disabledAt: null,
      createdAt: at,
    };
    const token = input.token === false ? null : tokenOf(agent.name, input, at);
    if ((await store.agents.get(agent.name)) !== null) {
      throw new SidekeyError('already_exists', `The agent ${agent.name} exists already.`, {
        hint: hintOf`its token cannot be shown again; for a new one: ${remedy('agent.rotate', { agent: agent.name })}`,
      });
    }
    const bindings = await bindingsOf(input, store, config.providers.names);
    const event = { event: 'agent.added', agent: agent.name, reason: bindingReason(bindings) } as const;
    await recordChange(audit, event, () =>
      store.agents.insert(agent, { tokens: token === null ? [] : [token.record], bindings }),
    );
    const url = proxyUrl(config.proxy.listen, `${agent.name}:${token?.secret ?? 'TOKEN'}`);
    const grants = await boundGrants(store, bindings, agent.user);
    return { agent, token, bindings, grants, url, proxy: config.proxy };
  },
  answer: ({ agent, token, bindings, url }) => ({
    name: agent.name,
    token: token?.secret ?? null,
    proxy_url: token === null ? null : url,
    expires_at: isoOrNull(token?.record.expiresAt ?? null),
    acts_for: agent.user,
    labels: [...agent.labels],
    bindings: bindings.map(bindingAnswer),
  }),
});

/** Returns a new token. @throws SidekeyError `input_invalid` for its label or its end */
function tokenOf(
  agent: string,
  { token_label: label, expires }: { token_label?: string | undefined; expires?: string | undefined },
  at: number,
) {
  const expiresAt = expires === undefined ? null : readEnd('--expires', expires, at);
  return newToken(agent, { label, expiresAt, at });
}

export const changeAgent = changing({
  id: 'agent.change',
  summary: 'Change the user and the labels of an agent; disable or enable it.',
  scope: 'access:write',
  input: z.strictObject({
    agent: text,
    acts_for: userName.nullable().optional(),
    agent_labels: z.array(name).optional(),
    disabled: z.boolean().optional(),
  }),
  output: z.strictObject({
    name: z.string(),
    acts_for: z.string().nullable(),
    labels: texts,
    state: z.enum(['enabled', 'disabled']),
    changed: z.boolean(),
  }),
  check({ acts_for: user, agent_labels: labels, disabled }) {
    if (user !== undefined || labels !== undefined || disabled !== undefined) return;
    throw inputInvalid(
      'The command names nothing to change.',
      hintOf`${remedy('agent.change', { agent: null, disabled: false })}, or ${remedy('agent.change', { agent: null, agent_labels: null })}`,
    );
  },
  async run({ store, audit }, { agent: of, acts_for: user, agent_labels: labels, disabled }, at) {
    const before = await findAgent(store, of);
    const change = {
      ...(user === undefined ? {} : { user }),
      ...(labels === undefined ? {} : { labels: [...new Set(labels)] }),
    };
    const reason = Object.entries(change)
      .map(([key, value]) => `${key} ${value === null || value.length === 0 ? 'none' : String(value)}`)
      .join(', ');
    const record = (event: AuditEvent, changed: Partial<AgentRecord>) =>
      recordChange(audit, event, async () => {
        if (!(await store.agents.change(before.name, changed))) throw unknownAgent(before.name, []);
      });
    if (reason !== '') await record({ event: 'agent.changed', agent: before.name, reason }, change);
    const isSwitched = disabled !== undefined && (before.disabledAt !== null) !== disabled;
    const disabledAt = isSwitched ? (disabled ? at : null) : before.disabledAt;
    if (isSwitched) {
      const event = disabled ? 'agent.disabled' : 'agent.enabled';
      await record({ event, agent: before.name }, { disabledAt });
    }
    return { agent: { ...before, ...change, disabledAt }, isChanged: reason !== '', isSwitched };
  },
  answer: ({ agent, isChanged, isSwitched }) => ({
    name: agent.name,
    acts_for: agent.user,
    labels: [...agent.labels],
    state: enabledState(agent),
    changed: isChanged || isSwitched,
  }),
});

export const bindAgent = changing({
  id: 'agent.bind',
  summary: 'Let an agent use more grants, or fewer with `remove`.',
  scope: 'access:write',
  input: z.strictObject({
    agent: text,
    ...choice,
    remove: z.boolean().optional(),
    all: z.boolean().optional().describe('With `remove`: all bindings.'),
  }),
  output: named('BoundAgent', { name: z.string(), changed: z.boolean(), bindings: z.array(binding) }),
  check({ agent: _agent, remove = false, all = false, ...wanted }) {
    if (all && !remove) {
      throw inputInvalid('--all needs --remove.', remedy('agent.bind', { agent: null, everything: true }));
    }
    if (all || (wanted.grants?.length ?? 0) + otherBindings(wanted).length > 0) return;
    throw new SidekeyError('input_invalid', 'The command names no grants.', {
      hint: hintOf`${remedy('agent.bind', { agent: null, remove: remove || undefined, grants: null })}; in place of grants: providers, users, labels, everything, or hosts of egress`,
    });
  },
  async run(parts, { agent: of, remove = false, all = false, ...wanted }, at) {
    const { name: agent, user } = await findAgent(parts.store, of);
    const { store, config } = parts;
    const count = remove
      ? await unbind(parts, agent, unwantedOf(wanted, all, store), at)
      : await bind(parts, agent, await bindingsOf(wanted, store, config.providers.names), at);
    const bindings = await store.bindings.list(agent);
    return { agent, count, isRemoval: remove, bindings, grants: await boundGrants(store, bindings, user) };
  },
  answer: ({ agent, count, bindings }) => ({
    name: agent,
    changed: count > 0,
    bindings: bindings.map(bindingAnswer),
  }),
});

/** Adds bindings; returns how many are new. */
async function bind(
  { store, audit }: Changing,
  agent: string,
  bindings: readonly Binding[],
  at: number,
): Promise<number> {
  const event = { event: 'agent.bound', agent, reason: bindingReason(bindings) } as const;
  return recordChange(audit, event, async () => {
    const count = await store.bindings.add(agent, bindings, at);
    if (count === null) throw unknownAgent(agent, []);
    if (bindings.some(isHost)) await store.bindings.remove(agent, [nowhere]);
    return count;
  });
}

/** Returns a function that chooses the bindings to remove from those of an agent. */
function unwantedOf(wanted: Parameters<typeof namedBindings>[0], all: boolean, store: Store) {
  return async (before: readonly Binding[]): Promise<readonly Binding[]> => {
    const bound = new Set(before.filter(({ kind }) => kind === 'grant').map(({ value }) => value));
    // A removed grant is known only by its ID.
    const named = await namedBindings(wanted, async (grant) =>
      bound.has(grant) ? grant : (await findNamedGrant(store, grant)).id,
    );
    return all ? before.filter(({ kind }) => kind !== 'egress') : named;
  };
}

/** Removes bindings from the next request on, also for the leases of the agent. Returns their number. */
async function unbind(
  { store, audit }: Changing,
  agent: string,
  choose: ReturnType<typeof unwantedOf>,
  at: number,
): Promise<number> {
  const before = await store.bindings.list(agent);
  const unwanted = await choose(before);
  const event = { event: 'agent.unbound', agent, reason: bindingReason(unwanted) } as const;
  const stays = ({ kind, value }: Binding) =>
    !unwanted.some((each) => each.kind === kind && each.value === value);
  // An agent without a list of hosts could use all: it keeps an empty list until that is removed by its name.
  const isEmptied = before.some(isHost) && !before.filter(({ kind }) => kind === 'egress').some(stays);
  return recordChange(audit, event, async () => {
    if (isEmptied) await store.bindings.add(agent, [nowhere], at);
    return store.bindings.remove(agent, unwanted);
  });
}

/** Milliseconds after which an ended token is deleted. */
const forgetAfterMs = 90 * 86_400_000;

/** A new token replaces those with its label, at once or after an overlap. A new label replaces none. */
export const rotateAgent = changing({
  id: 'agent.rotate',
  summary: 'Create a token that replaces the one before. The answer has it, once.',
  scope: 'access:write',
  input: z.strictObject({
    agent: text,
    overlap: duration.describe('Time for which the old token stays valid.').optional(),
    token_label: name.optional(),
    all: z.boolean().optional(),
    expires: tokenEnd,
  }),
  output: z.strictObject({
    name: z.string(),
    token: z.string(),
    proxy_url: z.string(),
    label: z.string(),
    expires_at: timeOrNull,
    replaced: z.int(),
  }),
  check: (input, at) => void tokenOf('', input, at),
  async run({ store, audit, config }, { agent: of, overlap, all = false, ...input }, at) {
    const { name: agent } = await findAgent(store, of);
    const token = tokenOf(agent, input, at);
    const { label } = token.record;
    const reason = `label ${label}${all ? ', instead of all' : ''}, overlap ${overlap === undefined ? 'none' : spanText(overlap)}`;
    const replaced = await recordChange(audit, { event: 'agent.rotated', agent, reason }, async () => {
      const takeOver = { label: all ? null : label, at: at + (overlap ?? 0) };
      const count = await store.agentTokens.add(token.record, takeOver);
      if (count === null) throw unknownAgent(agent, []);
      return count;
    });
    await store.agentTokens.removeEnded(at - forgetAfterMs);
    return { agent, token, replaced, url: proxyUrl(config.proxy.listen, `${agent}:${token.secret}`) };
  },
  answer: ({ agent, token: { secret, record }, replaced, url }) => ({
    name: agent,
    token: secret,
    proxy_url: url,
    label: record.label,
    expires_at: isoOrNull(record.expiresAt),
    replaced,
  }),
});

export const removeAgent = changing({
  id: 'agent.remove',
  summary: 'Remove an agent with its tokens, bindings and leases; or only its tokens of a label.',
  scope: 'access:write',
  input: z.strictObject({ agent: text, token_label: name.optional() }),
  output: z.union([
    z.strictObject({ name: z.string(), removed: z.literal(true) }),
    z.strictObject({ name: z.string(), label: z.string(), revoked: z.int() }),
  ]),
  async run({ store, audit }, { agent: of, token_label: label }, at) {
    const { name: agent } = await findAgent(store, of);
    if (label === undefined) {
      await recordChange(audit, { event: 'agent.removed', agent }, async () => {
        if (!(await store.agents.remove(agent))) throw unknownAgent(agent, []);
      });
      return { agent, tokens: null };
    }
    const tokens = await store.agentTokens.list(agent);
    if (!tokens.some((token) => token.label === label && token.revokedAt === null)) {
      throw new SidekeyError('not_found', `The agent ${agent} has no live token of that label.`, {
        hint: remedy('agent.get', { agent }),
      });
    }
    const event = { event: 'agent.token_revoked', agent, reason: `label ${label}` } as const;
    const revoked = await recordChange(audit, event, () => store.agentTokens.revoke(agent, label, at));
    return { agent, tokens: { label, revoked } };
  },
  answer: ({ agent, tokens }) =>
    tokens === null ? { name: agent, removed: true as const } : { name: agent, ...tokens },
});
