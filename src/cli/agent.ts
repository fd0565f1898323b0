import type { IdentityRule } from '../agents/identity-rules.ts';
import { tokenlessCallers } from '../config/proxy.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import type { Binding } from '../domain/lease.ts';
import { inputInvalid } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import {
  bindAgent,
  changeAgent,
  createAgent,
  getAgent,
  listAgents,
  removeAgent,
  rotateAgent,
} from '../operations/agent.ts';
import { runAgent } from '../operations/run-agent.ts';
import { dateTime, lastUse, relativeTime } from '../operations/format.ts';
import { grantReference } from '../operations/lookup.ts';
import type { AgentTokenRecord } from '../store/store.ts';
import type { ArgumentRow, CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { details, table } from './display.ts';
import { type GivenOptions, optionRows, pageWords, perform, sayNext } from './operation-command.ts';

/** Commands for agents. */

const bindingWords = {
  grants: { summary: 'these grants: name, ID, or USER/NAME', name: 'grant' },
  providers: { summary: 'every grant of these providers', name: 'provider' },
  users: { summary: 'every grant of these users', name: 'user' },
  labels: { summary: 'every grant with one of these labels (sidekey grant set)', name: 'label' },
  everything: { summary: 'every grant of every user' },
  egress: {
    summary: 'only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none',
    value: 'host',
  },
};

const createWords = {
  ...bindingWords,
  acts_for: { summary: 'the user that it acts for', name: 'for', value: 'user' },
  agent_labels: { summary: 'labels of the agent itself, for rules', name: 'agent-label', value: 'label' },
  token_label: { summary: 'label of its token', value: 'label' },
  expires: { summary: 'end of the token: 90d, or a date', value: 'when' },
  token: { none: 'no token: an issuer of agent_issuers gives it tokens' },
};

/** Prints the token, which cannot be retrieved later. */
async function create(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: createWords, options, fixed: { name } };
  const { result, answer } = await perform(context, createAgent, given);
  const { token, bindings, grants, url, proxy } = result;
  const tokenless = tokenlessCallers(proxy);
  context.output.result(answer, `HTTPS_PROXY=${url}`);
  context.output.say(
    [
      token === null
        ? `TOKEN is a token that an issuer of agent_issuers gives ${name}. With a client certificate (proxy.tls), leave ${name}:TOKEN@ out.`
        : `Copy the token of ${name} from that line now: it is shown only once.`,
      ...(bindings.length === 0 ? [] : [`It reaches: ${reachText(bindings, grants)}.`]),
      ...reachWarning(name, bindings, grants),
      ...(proxy.tls === null
        ? []
        : ['On other machines: https, and a name of the certificate of proxy.tls as the host.']),
      ...(tokenless === null ? [] : [`While proxy.authentication is optional, ${tokenless} need no token.`]),
    ].join('\n'),
  );
}

async function list(context: Context, name: string | undefined, options: GivenOptions): Promise<void> {
  if (name !== undefined) return show(context, name);
  const { result, answer, at } = await perform(context, listAgents, { words: pageWords, options });
  const { agents, grants } = result;
  const { output } = context;
  const rows = agents.map(({ bindings, liveTokens, issuers, activeLeases, usedAt, ...agent }) => [
    agent.name,
    agent.disabledAt === null ? 'enabled' : 'disabled',
    agent.user ?? '-',
    reachText(bindings, grants),
    [liveTokens, ...issuers].join(', '),
    String(activeLeases),
    lastUse(usedAt, at),
    relativeTime(agent.createdAt, at),
  ]);
  const headings = ['NAME', 'STATE', 'ACTS FOR', 'REACHES', 'TOKENS', 'LEASES', 'LAST USED', 'CREATED'];
  output.result(
    answer,
    rows.length === 0
      ? 'There are no agents yet.\n  → sidekey agent create NAME --grant GRANT'
      : table(output.display, headings, rows, { least: ['CREATED', 'ACTS FOR', 'REACHES', 'LEASES'] }),
  );
  for (const { name: agent, bindings } of agents)
    for (const line of reachWarning(agent, bindings, grants)) output.say(line);
  sayNext(context, result.next);
}

/** Reached grants that `show` names. */
const maxNames = 20;

async function show(context: Context, name: string): Promise<void> {
  const { result, answer, at } = await perform(context, getAgent, { fixed: { agent: name } });
  const { agent, bindings, grants, reached, identities, tokens, leases, activeLeases, usedAt } = result;
  const names = reached.slice(0, maxNames).map(titleOf).join(', ');
  const { output } = context;
  output.result(
    answer,
    [
      details(output.display, name, {
        state: agent.disabledAt === null ? 'enabled' : `disabled ${relativeTime(agent.disabledAt, at)}`,
        'acts for': agent.user ?? 'no user',
        labels: agent.labels.length === 0 ? null : agent.labels.join(', '),
        'bound to': reachText(bindings, grants),
        'reaches now': `${names || 'no grant'}${reached.length > maxNames ? ' and more' : ''}`,
        'identified by': identities.map(ruleText).join('; ') || null,
        leases: `${activeLeases.length} active of ${leases.length}`,
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
          tokenEndText(token, at),
          lastUse(token.usedAt, at),
        ]),
      ),
    ].join('\n'),
  );
  for (const line of reachWarning(name, bindings, grants)) output.say(line);
}

const bindWords = {
  ...bindingWords,
  remove: { summary: 'remove these bindings, from the next request on' },
  all: { summary: 'with --remove: all bindings, but not --egress' },
};

async function bind(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: bindWords, options, fixed: { agent: name } };
  const { result, answer } = await perform(context, bindAgent, given);
  const { count, isRemoval, bindings, grants } = result;
  const unchanged = isRemoval ? ' It had none of these bindings.' : ' Nothing changed.';
  const { output } = context;
  output.result(answer, `${name} reaches ${reachText(bindings, grants)}.${count === 0 ? unchanged : ''}`);
  if (!isRemoval) for (const line of reachWarning(name, bindings, grants)) output.say(line);
}

const setWords = {
  acts_for: { summary: 'the user that it acts for', none: 'no user', name: 'for', value: 'user' },
  agent_labels: {
    summary: 'its labels; they replace those that it has',
    none: 'no labels',
    name: 'agent-label',
    value: 'label',
  },
};

async function set(context: Context, name: string, options: GivenOptions): Promise<void> {
  const { disable, enable } = options;
  if (disable === true && enable === true) {
    throw inputInvalid('Give --disable or --enable, not both.', 'sidekey agent set --help');
  }
  const isSwitch = disable === true || enable === true;
  const fixed = { agent: name, ...(isSwitch ? { disabled: disable === true } : {}) };
  const { result, answer } = await perform(context, changeAgent, { words: setWords, options, fixed });
  const { agent, isChanged, isSwitched } = result;
  const consequence =
    disable === true ? 'its tokens are refused, and its leases have ended' : 'its tokens work again';
  const labels = agent.labels.join(', ') || 'none';
  context.output.result(
    answer,
    [
      ...(isChanged ? [`${name} acts for ${agent.user ?? 'no user'}; its labels: ${labels}.`] : []),
      ...(isSwitched ? [`The agent ${name} is ${answer.state}: ${consequence}.`] : []),
      ...(isSwitch && !isSwitched ? [`The agent ${name} is already ${answer.state}.`] : []),
    ].join('\n'),
  );
}

const rotateWords = {
  overlap: { summary: 'time for which the old token stays valid, such as 1h', value: 'span' },
  token_label: { summary: 'replace the tokens of this label; a new label replaces none', value: 'label' },
  all: { summary: 'replace every token of the agent' },
  expires: { summary: 'end of the new token: 90d, or a date', value: 'when' },
};

async function rotate(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: rotateWords, options, fixed: { agent: name } };
  const { result, answer } = await perform(context, rotateAgent, given);
  const { replaced, url } = result;
  const overlap = options['overlap'] as string | undefined;
  const old = replaced === 1 ? 'The previous token' : `The ${replaced} previous tokens`;
  context.output.result(answer, `HTTPS_PROXY=${url}`);
  context.output.say(
    [
      `Copy the new token of ${name} from that line now: it is shown only once.`,
      replaced === 0
        ? 'It replaces no other token.'
        : `${old} ${overlap === undefined ? 'ended' : `will end in ${overlap}`}.`,
    ].join('\n'),
  );
}

const removeWords = {
  token_label: { summary: 'only the tokens of this label; the agent stays', value: 'label' },
};

async function remove(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: removeWords, options, fixed: { agent: name } };
  const { result, answer } = await perform(context, removeAgent, given);
  const { tokens } = result;
  const count = tokens?.revoked === 1 ? 'the token' : `${tokens?.revoked} tokens`;
  context.output.result(
    answer,
    tokens === null
      ? `Removed the agent ${name}: its tokens and leases are refused from now on.`
      : `Revoked ${count} ${tokens.label} of ${name}.`,
  );
}

/** `grant work, provider github`; `nothing`. */
function reachText(bindings: readonly Binding[], grants: readonly Grant[]): string {
  const texts = bindings.map(({ kind, value }) => {
    if (kind !== 'grant') return kind === 'everything' ? kind : `${kind} ${value}`;
    const grant = grants.find(({ id }) => id === value);
    return grant === undefined ? `grant ${value} (removed)` : `grant ${grantReference(grant)}`;
  });
  return texts.join(', ') || 'nothing';
}

/** Returns warning lines for an agent that reaches nothing or everything; none for any other agent. */
function reachWarning(agent: string, bindings: readonly Binding[], grants: readonly Grant[]): string[] {
  const [first] = grants;
  const grant = first === undefined ? 'GRANT' : shellWord(grantReference(first));
  if (bindings.every(({ kind }) => kind === 'egress')) {
    return [
      `${agent} reaches nothing: no grant is bound to it.`,
      `  → sidekey agent bind ${agent} --grant ${grant}`,
    ];
  }
  if (!bindings.some(({ kind }) => kind === 'everything')) return [];
  const who = agent === runAgent ? `The agent ${agent} (of "sidekey run")` : `The agent ${agent}`;
  return [
    `${who} may use all grants in the domain map, of every user.`,
    `  → sidekey agent bind ${agent} --grant ${grant}, then: sidekey agent bind ${agent} --remove --everything`,
  ];
}

/** `github: sub repo:acme/app:ref:refs/heads/main, repository_id 74` */
function ruleText({ issuer, claims }: IdentityRule): string {
  const texts = Object.entries(claims).map(([claim, value]) => `${claim} ${value}`);
  return `${issuer}: ${texts.join(', ')}`;
}

/** `no end`, `in 3 d`, `ended 2 h ago`, `revoked 2 h ago`. */
function tokenEndText({ expiresAt, revokedAt }: AgentTokenRecord, now: number): string {
  if (revokedAt !== null) return `revoked ${relativeTime(revokedAt, now)}`;
  if (expiresAt === null) return 'no end';
  return `${expiresAt > now ? '' : 'ended '}${relativeTime(expiresAt, now)}`;
}

const oneAgent: readonly ArgumentRow[] = [['<name>', 'its name']];

export const agentCommands: readonly CommandRow[] = [
  {
    name: 'create',
    summary: 'create an agent, and show its token once',
    arguments: [['<name>', 'its name in the audit log']],
    options: optionRows(createAgent, createWords),
    examples: [
      'sidekey agent create ci-bot --grant github --egress pypi.org files.pythonhosted.org',
      'sidekey agent create helper --for alice --provider google slack --expires 90d',
    ],
    load: async () => create,
  },
  {
    name: 'list',
    alias: 'show',
    summary: 'list the agents and the grants that each reaches, or show one in full',
    arguments: [['[name]', 'its name']],
    options: optionRows(listAgents, pageWords),
    examples: ['sidekey agent list', 'sidekey agent show ci-bot'],
    load: async () => list,
  },
  {
    name: 'bind',
    summary: 'let an agent use more grants, or fewer with --remove',
    arguments: oneAgent,
    options: optionRows(bindAgent, bindWords),
    examples: [
      'sidekey agent bind ci-bot --grant github alice/google',
      'sidekey agent bind ci-bot --remove --provider github',
    ],
    load: async () => bind,
  },
  {
    name: 'set',
    summary: 'change the user and the labels of an agent; disable or enable it',
    arguments: oneAgent,
    options: [
      ...optionRows(changeAgent, setWords),
      ['--disable', 'refuse its tokens until it is enabled, and end its leases'],
      ['--enable', 'accept its tokens and leases again'],
    ],
    examples: ['sidekey agent set ci-bot --for alice', 'sidekey agent set ci-bot --disable'],
    load: async () => set,
  },
  {
    name: 'check',
    summary: 'verify a token of an OIDC issuer from standard input, as the proxy does',
    examples: ['sidekey agent check < token.jwt'],
    load: async () => (await import('./agent-check.ts')).checkToken,
  },
  {
    name: 'rotate',
    summary: 'show a new token once; it replaces the one before',
    arguments: oneAgent,
    options: optionRows(rotateAgent, rotateWords),
    examples: [
      'sidekey agent rotate ci-bot --overlap 1h',
      'sidekey agent rotate ci-bot --token-label laptop --expires 90d',
    ],
    load: async () => rotate,
  },
  {
    name: 'remove',
    summary: 'remove an agent with its tokens, bindings and leases',
    arguments: oneAgent,
    options: optionRows(removeAgent, removeWords),
    examples: ['sidekey agent remove ci-bot', 'sidekey agent remove ci-bot --token-label laptop'],
    load: async () => remove,
  },
];
