import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { grantGone } from '../grants/keep.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { withHint } from '../lib/hint.ts';
import { assertScopes } from './caller.ts';
import { allowOrWarn } from './connect/domains.ts';
import { assertOwnForm, credentialOf, doubtsOf, pastedToken } from './connect/pasted.ts';
import { hostPattern, prepare, type Prepared } from './credential-entry.ts';
import {
  type AddedGrant,
  addedAnswer,
  addedGrant,
  choices,
  prepareAll,
  storePrepared,
} from './grant-import.ts';
import { findGrant } from './find.ts';
import { findProvider } from './lookup.ts';
import { grantOwner, name, text, userName } from './members.ts';
import { type Changing, changing } from './operation.ts';

/** One credential that exists, as a new grant. */

/** Members of the input, without the credential. */
export const addChoices = {
  name: name.optional(),
  provider: name,
  user: userName.optional(),
  ...choices,
  domains: z
    .boolean()
    .optional()
    .describe('True: also let requests to its hosts use it. Needs the scope `config:write`.'),
};

const credential = z
  .union([z.string().min(1), z.record(z.string(), z.unknown())])
  .describe('A key, token or PEM; JSON as `sidekey grant import` takes it; or the parts of `token`.');

const input = z.strictObject({ ...addChoices, credential });

export const addGrant = changing({
  id: 'grant.add',
  summary: 'Store a credential that exists, after it was verified.',
  scope: 'grants:write',
  input,
  output: addedGrant,
  run: addOne,
  answer: addedAnswer,
});

export const replaceGrant = changing({
  id: 'grant.replace',
  summary: 'Replace the credential of a grant, which keeps its ID, its hosts and its settings.',
  scope: 'grants:write',
  input: z.strictObject({ grant: text, user: grantOwner, credential, verify: choices.verify }),
  output: addedGrant,
  async run(parts, { grant: reference, user, ...given }, at) {
    const { id } = await findGrant(parts.store, { grant: reference, user }, parts.caller);
    const opened = await parts.grants.read(id);
    if (opened === null) throw grantGone();
    const { name, provider, user: owner } = opened.grant;
    // A revoked grant has no hosts left, and gets those of its provider.
    const audience = opened.sealed.audience.length === 0 ? undefined : [...opened.sealed.audience];
    return addOne(parts, { ...given, name, provider, user: owner, audience, replace: true }, at);
  },
  answer: addedAnswer,
});

/** @throws SidekeyError `scope_missing`, `input_invalid`; errors of `prepare` and `storePrepared` */
export async function addOne(
  parts: Changing,
  { credential, domains = false, ...asked }: z.output<typeof input>,
  at: number,
): Promise<AddedGrant> {
  const { caller, config } = parts;
  if (domains) assertScopes(['config:write'], caller);
  if (domains && caller.user !== null) {
    throw new SidekeyError('scope_missing', `${caller.name} may only change what belongs to its user.`);
  }
  const wanted = { ...asked, name: asked.name ?? asked.provider, user: caller.user ?? asked.user };
  const credentials = typeof credential === 'string' ? credential : JSON.stringify(credential);
  const pasted = preparePasted(credential, wanted, config.providers);
  const prepared = pasted === null ? prepareAll({ ...wanted, credentials }, config, at) : [pasted];
  if (prepared[0]?.wanted.provider !== wanted.provider)
    throw inputInvalid('The credential names another provider.', 'leave out its "provider"');
  const stored = (await storePrepared(parts, prepared, wanted)).added[0]!;
  if (!domains) return stored;
  const { domains: usual } = findProvider(config.providers, wanted.provider);
  const entries = wanted.audience?.map((text) => hostPattern('audience', text).text) ?? usual;
  const { edits } = await allowOrWarn(parts, stored.grant, { entries, named: false }, (sentence, hint) => {
    stored.warnings.push(withHint(sentence, hint));
  });
  return { ...stored, domains: [...new Set([...stored.domains, ...edits.map(({ pattern }) => pattern)])] };
}

/**
 * Prepares a key in its parts, which `connect --token` takes too; null: the credential has another form.
 *
 * @throws SidekeyError `input_invalid`, `provider_unknown`
 */
function preparePasted(
  credential: unknown,
  wanted: Parameters<typeof prepare>[2] & { readonly name: string; readonly provider: string },
  providers: Config['providers'],
): Prepared | null {
  const provider = findProvider(providers, wanted.provider);
  if (typeof credential !== 'object' || (provider.token === null && provider.flows.length > 0)) return null;
  const token = pastedToken(provider);
  const given = Object.entries(credential ?? {}).map(
    ([part, value]) => [part, String(value).trim()] as const,
  );
  const names = new Set(token.parts.map((part) => part.name));
  if (given.length !== names.size || !given.every(([part]) => names.has(part))) return null;
  const values = Object.fromEntries(given);
  assertOwnForm(values, provider, providers);
  const entry = {
    name: null,
    user: null,
    provider: null,
    scopes: [],
    settings: {},
    credential: credentialOf(values, token),
  };
  const prepared = prepare(entry, wanted.name, wanted, providers);
  prepared.warnings.push(...doubtsOf(values, token));
  return prepared;
}
