import { z } from 'zod';
import type { Config } from '../config/config.ts';
import type { Provider } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { withHint } from '../lib/hint.ts';
import { assertScopes, type Caller } from './caller.ts';
import { allowOrWarn } from './connect/domains.ts';
import { assertOwnForm, credentialOf, doubtsOf, type PastedParts, pastedToken } from './connect/pasted.ts';
import { hostPattern, prepare, type Prepared } from './credential-entry.ts';
import {
  type AddedGrant,
  addedAnswer,
  addedGrant,
  choices,
  prepareAll,
  storePrepared,
} from './grant-import.ts';
import { findProvider } from './lookup.ts';
import { name } from './members.ts';
import { type Changing, changing } from './operation.ts';

/** One credential that exists, as a new grant. */

/** Members of the input, without the credential. */
export const addChoices = {
  name: name.optional(),
  provider: name,
  user: name.optional(),
  ...choices,
  domains: z
    .boolean()
    .optional()
    .describe('True: also let requests to its hosts use it. Needs the scope `config:write`.'),
};

const input = z.strictObject({
  ...addChoices,
  credential: z
    .union([z.string().min(1), z.record(z.string(), z.unknown())])
    .describe('A key, token or PEM; JSON as `sidekey grant import` takes it; or the parts of `token`.'),
});

export const addGrant = changing({
  id: 'grant.add',
  summary: 'Store a credential that exists, after it was verified.',
  scope: 'grants:write',
  input,
  output: addedGrant,
  run: addOne,
  answer: addedAnswer,
});

/** @throws SidekeyError `scope_missing`; errors of `prepare` and `storePrepared` */
export async function addOne(
  parts: Changing,
  { credential, domains = false, ...asked }: z.output<typeof input>,
  at: number,
): Promise<AddedGrant> {
  const { caller, config } = parts;
  if (domains) assertMayAllow(caller);
  const wanted = { ...asked, name: asked.name ?? asked.provider, user: caller.user ?? asked.user };
  const provider = findProvider(config.providers, wanted.provider);
  const values = pastedParts(credential, provider);
  const credentials = typeof credential === 'string' ? credential : JSON.stringify(credential);
  const prepared =
    values === null
      ? prepareAll({ ...wanted, credentials }, config, at)
      : [preparePasted(values, wanted, config.providers)];
  const { added } = await storePrepared(parts, prepared, wanted);
  const stored = added[0]!;
  if (!domains) return stored;
  const entries = wanted.audience?.map((text) => hostPattern('audience', text).text) ?? provider.domains;
  const { edits } = await allowOrWarn(parts, stored.grant, { entries, named: false }, (sentence, hint) => {
    stored.warnings.push(withHint(sentence, hint));
  });
  return { ...stored, domains: [...new Set([...stored.domains, ...edits.map(({ pattern }) => pattern)])] };
}

/** @throws SidekeyError `scope_missing` */
function assertMayAllow(caller: Caller): void {
  assertScopes(['config:write'], caller);
  if (caller.user === null) return;
  throw new SidekeyError('scope_missing', `${caller.name} may only change what belongs to its user.`, {
    hint: 'store it without domains; an operator lets requests to its hosts use it',
  });
}

/** Returns the parts of a pasted key, as `connect --token` takes them; null: it has another form. */
function pastedParts(credential: unknown, { token, flows }: Provider): PastedParts | null {
  const names = token?.parts.map((part) => part.name) ?? (flows.length === 0 ? ['token'] : []);
  const values = new Map(typeof credential === 'object' ? Object.entries(credential ?? {}) : []);
  const isPasted =
    values.size === names.length && names.every((each) => typeof values.get(each) === 'string');
  if (!isPasted || names.length === 0) return null;
  return Object.fromEntries([...values].map(([part, value]) => [part, String(value).trim()]));
}

/** @throws SidekeyError `input_invalid` */
function preparePasted(
  values: PastedParts,
  wanted: Parameters<typeof prepare>[2] & { readonly name: string },
  providers: Config['providers'],
): Prepared {
  const provider = findProvider(providers, wanted.provider ?? '');
  const token = pastedToken(provider);
  assertOwnForm(values, provider, providers);
  const entry = {
    name: null,
    user: null,
    provider: null,
    scopes: [],
    credential: credentialOf(values, token),
  };
  const prepared = prepare(entry, wanted.name, wanted, providers);
  prepared.warnings.push(...doubtsOf(values, token));
  return prepared;
}
