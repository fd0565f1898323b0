import type { View } from '../../app/state.ts';
import type { Context } from '../context.ts';
import { ownGrants } from '../../operations/lease-terms.ts';
import { pickAgent, pickGrant, pickLease } from '../../operations/lookup.ts';
import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import {
  agentHolder,
  anyone,
  type Holder,
  jwtForm,
  leaseHolder,
  type PlaceholderForm,
  placeholderCodes,
  plainForm,
  readForm,
} from '../../proxy/placeholders/codes.ts';
import { grantGone } from '../../grants/keep.ts';

export interface PlaceholderOptions {
  readonly user?: string;
  readonly agent?: string;
  readonly lease?: string;
  readonly form?: string;
}

/**
 * `sidekey grant show --placeholder`: for programs that read their credential from a file, not a variable.
 * The placeholder is not secret. Stores nothing.
 */
export async function showPlaceholder(
  { withView, output }: Context,
  reference: string,
  { user, agent, lease, form }: PlaceholderOptions,
): Promise<void> {
  if (agent !== undefined && lease !== undefined) {
    throw new SidekeyError('input_invalid', '--lease has an agent already.', { hint: 'leave out --agent' });
  }
  const placeholder = await withView(async (view) => {
    const grant = pickGrant(await view.grants(), { grant: reference, user });
    const vault = await view.vault();
    if (vault === null) throw grantGone();
    const holder = await holderOf(agent, lease, grant, view);
    const shape = formOf(form, view.config.providers.get(grant.provider));
    return placeholderCodes(vault).make(shape, holder, grant.id);
  });
  output.result({ placeholder }, placeholder);
}

/** @throws SidekeyError `not_found`, `input_invalid`, `grant_missing` */
async function holderOf(
  agent: string | undefined,
  id: string | undefined,
  grant: Grant,
  { store, config }: View,
): Promise<Holder> {
  if (agent === undefined && id === undefined) {
    if (config.proxy.authentication === 'optional') return anyone;
    throw new SidekeyError('input_invalid', 'The proxy requires a token (proxy.authentication).', {
      hint: `sidekey grant show ${grant.name} --placeholder --agent NAME`,
    });
  }
  const rights = await store?.rights.read();
  const lease = id === undefined ? null : pickLease((await store?.leases.list()) ?? [], id);
  const who = pickAgent(rights?.agents ?? [], lease?.agent ?? agent ?? '');
  const reached = ownGrants(lease ?? { agent: who.name, grants: null }, [grant], rights!);
  if (reached.length === 0) {
    const whose = lease === null ? `The agent ${who.name}` : 'This lease';
    throw new SidekeyError('grant_missing', `${whose} does not reach the grant ${grant.name}.`, {
      hint: `sidekey agent bind ${who.name} --grant ${grant.name}`,
    });
  }
  return lease === null ? agentHolder(who.name) : leaseHolder(lease.id);
}

/** @throws SidekeyError `input_invalid` */
function formOf(name: string | undefined, provider: Provider | undefined): PlaceholderForm {
  const own = provider?.environment.flatMap(({ placeholder }) => {
    const form = placeholder === null ? null : readForm(placeholder);
    return form === null ? [] : [form];
  })[0];
  switch (name) {
    case undefined:
      return own ?? plainForm;
    case 'plain':
      return plainForm;
    case 'jwt':
      return jwtForm;
    case 'provider':
      if (own !== undefined) return own;
      throw new SidekeyError(
        'input_invalid',
        'The provider of this grant does not define the form of its credentials.',
        {
          hint: '--form plain, or environment: { NAME: prefix-sidekeyPlaceholder0000 } in the provider',
        },
      );
    default:
      throw new SidekeyError('input_invalid', `There is no form ${name}.`, {
        hint: '--form provider, plain or jwt',
      });
  }
}
