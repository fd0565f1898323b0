import { z } from 'zod';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { grantGone } from '../grants/keep.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import {
  agentHolder,
  anyone,
  type Holder,
  jwtForm,
  leaseHolder,
  placeholderCodes,
  type PlaceholderForm,
  plainForm,
  readForm,
} from '../proxy/placeholders/codes.ts';
import { ownGrants } from './lease-terms.ts';
import { grantReference, grantRemedy, unknownAgent } from './lookup.ts';
import { findAgent, findGrant, findLease } from './find.ts';
import { text, userName } from './members.ts';
import { type Reading, reading } from './operation.ts';

/** Placeholders for programs that read their credential from a file instead of a variable. Not secret. */
export const getPlaceholder = reading({
  id: 'grant.placeholder',
  summary: 'Show a placeholder that a program can hold in place of the credential.',
  scope: 'grants:read',
  input: z.strictObject({
    grant: text,
    user: userName.optional(),
    agent: text.optional(),
    lease: text.optional(),
    form: text.optional(),
  }),
  output: z.strictObject({ placeholder: z.string() }),
  check({ agent, lease }) {
    if (agent === undefined || lease === undefined) return;
    throw new SidekeyError('input_invalid', '--lease has an agent already.', { hint: 'leave out --agent' });
  },
  async run(parts, { grant: reference, user, form, ...holder }) {
    const { caller, config } = parts;
    const grant = await findGrant(parts.store, { grant: reference, user }, caller);
    const vault = await parts.vault();
    if (vault === null) throw grantGone();
    const by = await holderOf(holder, grant, parts);
    return placeholderCodes(vault).make(formOf(form, config.providers.get(grant.provider)), by, grant.id);
  },
  answer: (placeholder) => ({ placeholder }),
});

/** @throws SidekeyError `not_found`, `input_invalid`, `grant_missing` */
async function holderOf(
  { agent, lease: id }: { readonly agent?: string | undefined; readonly lease?: string | undefined },
  grant: Grant,
  { store, config }: Reading,
): Promise<Holder> {
  if (agent === undefined && id === undefined) {
    if (config.proxy.authentication === 'optional') return anyone;
    throw new SidekeyError('input_invalid', 'The proxy requires a token (proxy.authentication).', {
      hint: grantRemedy('placeholder', grant, { agent: null }),
    });
  }
  const lease = id === undefined ? null : await findLease(store ?? null, id);
  const name = lease?.agent ?? agent ?? '';
  if (store === null) throw unknownAgent(name, []);
  const who = await findAgent(store, name);
  const reached = ownGrants(lease ?? { grants: null }, [grant], who);
  if (reached.length === 0) {
    const whose = lease === null ? `The agent ${who.name}` : 'This lease';
    throw new SidekeyError('grant_missing', `${whose} does not reach the grant ${grant.name}.`, {
      hint: remedy('agent.bind', { agent: who.name, grants: [grantReference(grant)] }),
    });
  }
  return lease === null ? agentHolder(who.name) : leaseHolder(lease.id);
}

/** @throws SidekeyError `input_invalid` */
function formOf(form: string | undefined, provider: Provider | undefined): PlaceholderForm {
  const providerForm = provider?.environment.flatMap(({ placeholder }) => {
    const read = placeholder === null ? null : readForm(placeholder);
    return read === null ? [] : [read];
  })[0];
  switch (form) {
    case undefined:
      return providerForm ?? plainForm;
    case 'plain':
      return plainForm;
    case 'jwt':
      return jwtForm;
    case 'provider':
      if (providerForm !== undefined) return providerForm;
      throw inputInvalid(
        'The provider of this grant does not define the form of its credentials.',
        '--form plain, or environment: { NAME: prefix-sidekeyPlaceholder0000 } in the provider',
      );
    default:
      throw inputInvalid(`There is no form ${form}.`, '--form provider, plain or jwt');
  }
}
