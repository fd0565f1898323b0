import { egressHosts, noHost } from '../agents/egress.ts';
import type { Grant } from '../domain/grant.ts';
import { type Binding, everything } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
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

/**
 * Returns the bindings of a choice. Grants and providers must exist; users and labels need not.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`, `provider_unknown`, `input_invalid`
 */
export function bindingsOf(
  choice: BindingChoice,
  { grants, providers }: { readonly grants: readonly Grant[]; readonly providers: readonly string[] },
): Binding[] {
  const bindings = namedBindings(choice, (text) => namedGrant(grants, text).id);
  for (const { kind, value } of bindings) {
    if (kind !== 'provider' || providers.includes(value) || grants.some((grant) => grant.provider === value))
      continue;
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
export function namedBindings(choice: BindingChoice, grantId: (text: string) => string): Binding[] {
  const { grants = [], providers = [], users = [], labels = [], egress = [] } = choice;
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

/** A list of no host. */
export const nowhere: Binding = { kind: 'egress', value: noHost };

export const isHost = ({ kind, value }: Binding) => kind === 'egress' && value !== noHost;
