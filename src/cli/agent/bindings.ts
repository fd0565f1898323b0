import { noHost } from '../../agents/egress.ts';
import { type Binding, everything } from '../../domain/lease.ts';
import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import type { Context } from '../context.ts';
import { checkName } from '../format.ts';
import { grantReference, namedGrant, pickAgent, unknownAgent } from '../pick.ts';
import type { Grant } from '../../domain/grant.ts';
import { orMeant } from '../../lib/text.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { isPattern, parsePattern } from '../../policy/domain-map.ts';

/** Bindings of an agent, as options of the command line. */
export interface BindOptions {
  readonly grant?: readonly string[];
  readonly provider?: readonly string[];
  readonly user?: readonly string[];
  readonly label?: readonly string[];
  readonly everything?: boolean;
  /** Hosts without a credential. All other hosts are refused. */
  readonly egress?: readonly string[];
}

/** Existing names. */
interface BindableFacts {
  readonly grants: readonly Grant[];
  readonly providers: readonly string[];
}

/**
 * Returns the bindings of the options. Grants and providers must exist; users and labels need not.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`, `provider_unknown`, `input_invalid`
 */
export function bindingsOf(options: BindOptions, { grants, providers }: BindableFacts): Binding[] {
  const bindings = namedBindings(options, (text) => namedGrant(grants, text).id);
  for (const { kind, value } of bindings) {
    if (kind !== 'provider' || providers.includes(value) || grants.some((grant) => grant.provider === value))
      continue;
    throw new SidekeyError(
      'provider_unknown',
      `There is no provider of that name${orMeant(value, providers)}`,
      {
        hint: 'sidekey provider list',
      },
    );
  }
  return bindings;
}

/** Returns the bindings of the options; `grantId` resolves grants. @throws SidekeyError `input_invalid` */
export function namedBindings(options: BindOptions, grantId: (text: string) => string): Binding[] {
  const { grant = [], provider = [], user = [], label = [], egress = [] } = options;
  for (const [what, names] of Object.entries({ provider, user, label }))
    for (const name of names) checkName(what, name);
  return [
    ...grant.map((text): Binding => ({ kind: 'grant', value: grantId(text) })),
    ...provider.map((value): Binding => ({ kind: 'provider', value })),
    ...user.map((value): Binding => ({ kind: 'user', value })),
    ...label.map((value): Binding => ({ kind: 'label', value })),
    ...(options.everything === true ? [everything] : []),
    ...egressHosts(egress).map((value): Binding => ({ kind: 'egress', value })),
  ];
}

/** Returns the hosts of `--egress` as canonical patterns. @throws SidekeyError `input_invalid` */
export function egressHosts(hosts: readonly string[]): readonly string[] {
  return hosts.map((host) => {
    const pattern = parsePattern(host);
    if (isPattern(pattern)) return pattern.text;
    throw new SidekeyError('input_invalid', `A host of --egress ${pattern.problem}.`, {
      hint: "--egress pypi.org '*.npmjs.org'",
    });
  });
}

/** `grant work`, `provider github`, `every grant`. */
export function bindingText({ kind, value }: Binding, grants: readonly Grant[]): string {
  if (kind === 'everything') return 'everything';
  if (kind !== 'grant') return `${kind} ${value}`;
  const grant = grants.find(({ id }) => id === value);
  return grant === undefined ? `grant ${value} (removed)` : `grant ${grantReference(grant)}`;
}

/** Formats bindings for the audit log: kinds with names, grants with ids. */
export function bindingReason(bindings: readonly Binding[]): string {
  return bindings.length === 0
    ? 'nothing'
    : bindings.map(({ kind, value }) => (kind === 'everything' ? kind : `${kind} ${value}`)).join(', ');
}

/** Returns warning lines for an agent that reaches nothing or everything; none for others. */
export function reachWarning(
  agent: string,
  bindings: readonly Binding[],
  grants: readonly Grant[],
): string[] {
  const [first] = grants;
  const grant = first === undefined ? 'GRANT' : grantReference(first);
  if (bindings.every(({ kind }) => kind === 'egress')) {
    return [
      `${agent} reaches nothing: no grant is bound to it.`,
      `  → sidekey agent bind ${agent} --grant ${grant}`,
    ];
  }
  if (bindings.some(({ kind }) => kind === 'everything')) {
    const who = agent === runAgent ? `The agent ${agent} (of "sidekey run")` : `The agent ${agent}`;
    return [
      `${who} may use all grants in the domain map, of every user.`,
      `  → sidekey agent bind ${agent} --grant ${grant}, then: sidekey agent bind ${agent} --remove --everything`,
    ];
  }
  return [];
}

/**
 * Default agent for the leases of `sidekey run`. It has no token, so only a user who can write to the store
 * can act as it. It reaches everything until a user binds it.
 */
export const runAgent = 'run';

/** Creates the agent of `sidekey run` if it does not exist. Never changes an existing agent. */
export async function ensureRunAgent(
  { store, audit }: Pick<State, 'store' | 'audit'>,
  at: number,
): Promise<void> {
  if ((await store.agents.get(runAgent)) !== null) return;
  const agent = { name: runAgent, user: null, labels: [], disabledAt: null, createdAt: at };
  const event = { event: 'agent.added', agent: runAgent, reason: 'everything' } as const;
  try {
    await recordChange(audit, event, () => store.agents.insert(agent, { bindings: [everything] }));
  } catch (error) {
    // Another process may have created it concurrently.
    if (!(error instanceof SidekeyError) || error.code !== 'already_exists') throw error;
  }
}

/** A list without hosts. */
const nowhere: Binding = { kind: 'egress', value: noHost };

const isHost = ({ kind, value }: Binding) => kind === 'egress' && value !== noHost;

export interface ChangeOptions extends BindOptions {
  /** Removes the bindings instead of adding them. */
  readonly remove?: boolean;
  /** With `remove`: removes all bindings. */
  readonly all?: boolean;
}

/** `sidekey agent bind`: adds bindings to the agent, or removes them. */
export async function bindAgent(context: Context, name: string, options: ChangeOptions): Promise<void> {
  if (options.remove === true) {
    await unbindAgent(context, name, options);
    return;
  }
  if (options.all === true) {
    throw new SidekeyError('input_invalid', '--all needs --remove.', {
      hint: `sidekey agent bind ${name} --everything`,
    });
  }
  const { withState, output, now } = context;
  const { added, bindings, grants } = await withState(async ({ store, audit, config, ...state }) => {
    pickAgent(await store.agents.list(), name);
    const known = await state.grants.list();
    const wanted = bindingsOf(options, { grants: known, providers: config.providers.names });
    if (wanted.length === 0) throw namesNothing('');
    const event = { event: 'agent.bound', agent: name, reason: bindingReason(wanted) } as const;
    const count = await recordChange(audit, event, async () => {
      const answer = await store.bindings.add(name, wanted, now());
      if (answer === null) throw unknownAgent(name, []);
      if (wanted.some(isHost)) await store.bindings.remove(name, [nowhere]);
      return answer;
    });
    return { added: count, bindings: await store.bindings.list(name), grants: known };
  });
  output.result(
    { name, changed: added > 0, bindings: bindings.map(bindingJson) },
    `${name} reaches ${reachText(bindings, grants)}.${added === 0 ? ' Nothing changed.' : ''}`,
  );
  for (const line of reachWarning(name, bindings, grants)) output.say(line);
}

/** Removes bindings from the next request on, also for its leases. */
async function unbindAgent(
  { withState, output, now }: Context,
  name: string,
  options: ChangeOptions,
): Promise<void> {
  const { removed, bindings, grants } = await withState(async ({ store, audit, ...state }) => {
    pickAgent(await store.agents.list(), name);
    const known = await state.grants.list();
    const before = await store.bindings.list(name);
    const bound = new Set(before.filter(({ kind }) => kind === 'grant').map(({ value }) => value));
    // Of a removed grant, only the id is left.
    const named = namedBindings(options, (text) => (bound.has(text) ? text : namedGrant(known, text).id));
    const unwanted = options.all === true ? before.filter(({ kind }) => kind !== 'egress') : named;
    if (named.length === 0 && options.all !== true) throw namesNothing(' --remove');
    const event = { event: 'agent.unbound', agent: name, reason: bindingReason(unwanted) } as const;
    const stays = ({ kind, value }: Binding) =>
      !unwanted.some((each) => each.kind === kind && each.value === value);
    // Without a list the agent could use all hosts. Only the removal of `none` allows that.
    const isEmptied = before.some(isHost) && !before.filter(({ kind }) => kind === 'egress').some(stays);
    const count = await recordChange(audit, event, async () => {
      if (isEmptied) await store.bindings.add(name, [nowhere], now());
      return store.bindings.remove(name, unwanted);
    });
    return { removed: count, bindings: await store.bindings.list(name), grants: known };
  });
  output.result(
    { name, changed: removed > 0, bindings: bindings.map(bindingJson) },
    `${name} reaches ${reachText(bindings, grants)}.${removed === 0 ? ' It had none of these bindings.' : ''}`,
  );
}

export function bindingJson({ kind, value }: Binding): Binding {
  return { kind, value };
}

function reachText(bindings: readonly Binding[], grants: readonly Grant[]): string {
  return bindings.length === 0 ? 'nothing' : bindings.map((each) => bindingText(each, grants)).join(', ');
}

function namesNothing(action: string): SidekeyError {
  return new SidekeyError('input_invalid', 'The command names no grants.', {
    hint: `sidekey agent bind NAME${action} --grant GRANT | --provider PROVIDER | --user USER | --label LABEL | --everything | --egress HOST`,
  });
}
