import { egressHosts, noHost } from '../agents/egress.ts';
import { type Binding, everything } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import type { Store } from '../store/store.ts';
import { findNamedGrant } from './find.ts';

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

/**
 * Returns the bindings of a choice. Grants and providers must exist; users and labels need not.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`, `provider_unknown`, `input_invalid`
 */
export async function bindingsOf(
  choice: BindingChoice,
  store: Pick<Store, 'grants'>,
  providers: readonly string[],
): Promise<Binding[]> {
  const bindings = await namedBindings(choice, async (text) => (await findNamedGrant(store, text)).id);
  for (const { kind, value } of bindings) {
    if (kind !== 'provider' || providers.includes(value)) continue;
    if ((await store.grants.matching({ provider: value }, 1)).length > 0) continue;
    throw new SidekeyError(
      'provider_unknown',
      `There is no provider of that name${orMeant(value, providers)}`,
      {
        hint: remedy('provider.list'),
      },
    );
  }
  return bindings;
}

/** Returns the bindings of a choice; `grantId` resolves grants. @throws SidekeyError `input_invalid` */
export async function namedBindings(
  choice: BindingChoice,
  grantId: (text: string) => Promise<string>,
): Promise<Binding[]> {
  const bindings: Binding[] = [];
  for (const text of choice.grants ?? []) bindings.push({ kind: 'grant', value: await grantId(text) });
  return [...bindings, ...otherBindings(choice)];
}

/** Returns the bindings of a choice besides those to single grants. @throws SidekeyError `input_invalid` */
export function otherBindings({ egress = [], ...choice }: BindingChoice): Binding[] {
  const { providers = [], users = [], labels = [] } = choice;
  return [
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

/** A list of no host. */
export const nowhere: Binding = { kind: 'egress', value: noHost };

export const isHost = ({ kind, value }: Binding) => kind === 'egress' && value !== noHost;
