import { egressHosts, noHost } from '../agents/egress.ts';
import { recordChange } from '../audit/log.ts';
import type { Grant } from '../domain/grant.ts';
import { type Binding, everything } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import { orMeant } from '../lib/text.ts';
import { checkName } from './format.ts';
import type { Changing } from './operation.ts';
import { namedGrant } from './lookup.ts';

/** A choice of grants, and of hosts without a credential, for an agent. */
interface BindingChoice {
  readonly grants?: readonly string[] | undefined;
  readonly providers?: readonly string[] | undefined;
  readonly users?: readonly string[] | undefined;
  readonly labels?: readonly string[] | undefined;
  readonly everything?: boolean | undefined;
  /** Others are refused. */
  readonly egress?: readonly string[] | undefined;
}

/** Names that exist. */
interface BindableFacts {
  readonly grants: readonly Grant[];
  readonly providers: readonly string[];
}

/**
 * Returns the bindings of a choice. Grants and providers must exist; users and labels need not.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`, `provider_unknown`, `input_invalid`
 */
export function bindingsOf(choice: BindingChoice, { grants, providers }: BindableFacts): Binding[] {
  const bindings = namedBindings(choice, (text) => namedGrant(grants, text).id);
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

/** Returns the bindings of a choice; `grantId` resolves grants. @throws SidekeyError `input_invalid` */
export function namedBindings(choice: BindingChoice, grantId: (text: string) => string): Binding[] {
  const { grants = [], providers = [], users = [], labels = [], egress = [] } = choice;
  for (const [what, names] of Object.entries({ provider: providers, user: users, label: labels }))
    for (const name of names) checkName(what, name);
  return [
    ...grants.map((text): Binding => ({ kind: 'grant', value: grantId(text) })),
    ...providers.map((value): Binding => ({ kind: 'provider', value })),
    ...users.map((value): Binding => ({ kind: 'user', value })),
    ...labels.map((value): Binding => ({ kind: 'label', value })),
    ...(choice.everything === true ? [everything] : []),
    ...egressHosts(egress).map((value): Binding => ({ kind: 'egress', value })),
  ];
}

/** Formats bindings for the audit log: kinds and names, ids of grants. */
export function bindingReason(bindings: readonly Binding[]): string {
  return bindings.length === 0
    ? 'nothing'
    : bindings.map(({ kind, value }) => (kind === 'everything' ? kind : `${kind} ${value}`)).join(', ');
}

/**
 * The agent whose leases `sidekey run` creates by default. It has no token, so only a user who can write to
 * the store can act as it. It reaches everything until a user binds it to less.
 */
export const runAgent = 'run';

/** Creates the agent of `sidekey run` if it does not exist. An existing agent is not changed. */
export async function ensureRunAgent(
  { store, audit }: Pick<Changing, 'store' | 'audit'>,
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

/** A list of no host. */
export const nowhere: Binding = { kind: 'egress', value: noHost };

export const isHost = ({ kind, value }: Binding) => kind === 'egress' && value !== noHost;
