import { randomUUID } from 'node:crypto';
import { SidekeyError } from '../../errors.ts';
import type { SealedCredential } from '../../grants/credential.ts';
import { readCredential } from '../../grants/credential-input.ts';
import { defaultUser, type Grant } from '../../grants/grant.ts';
import { openRegistry, type Registry } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { isPattern, parsePattern } from '../../policy/pattern.ts';
import { shellWord } from '../../shell-word.ts';
import type { State } from '../../state.ts';
import { audited } from '../audited.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { findProvider } from '../provider/find.ts';
import { details } from '../table.ts';
import { chooseAudience, isWithin } from './audience.ts';
import { domainsOf } from './offered.ts';
import { grantGone } from './pick.ts';
import { refreshGapOf } from './refresh-gap.ts';
import { expiryOf, grantJson, hasEnded, scopesOf, stateNow, titleOf } from './words.ts';

/** What the command line says of the new grant. */
export interface AddOptions {
  readonly provider: string;
  readonly user?: string;
  readonly audience?: readonly string[];
  readonly replace?: boolean;
}

/** `sidekey grant add`: everything is checked before anything on disk is touched. */
export async function addGrant(context: Context, name: string, options: AddOptions): Promise<void> {
  const { output, now } = context;
  const user = options.user ?? defaultUser;
  checkName('name of the grant', name);
  checkName('name of the user', user);
  const { providers } = await context.readConfig();
  const provider = findProvider(providers, options.provider);
  const audience = chooseAudience(options.audience, provider);
  const { credential, scopes } = readCredential(await context.readInput(), { now });

  const warnings: string[] = [];
  const warn = (sentence: string, hint: string) => warnings.push(`${sentence}\n  → ${hint}`);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) {
    const hasToken = credential.type === 'oauth2' && credential.accessToken !== null;
    if (!hasToken) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
    warn(`${gap.sentence} The access token is used until it ends.`, gap.hint);
  }
  const wider = audience.filter((text) => {
    const pattern = parsePattern(text);
    return !isPattern(pattern) || !isWithin(provider.audience, pattern);
  });
  if (wider.length > 0 && provider.audience.length > 0) {
    warn(
      `The credential may now also be sent to ${wider.join(', ')}, which the provider ${provider.name} does not name.`,
      'if that is not meant, add it again with --replace and without --audience',
    );
  }

  const wanted = { name, user, provider: provider.name, scopes };
  const { grant, replaced, domains } = await context.withState(async (state) => {
    const stored = await store(state, wanted, { credential, audience }, options.replace === true, now);
    const uses = domainsOf(stored.grant, await state.grants.list(), state.config.domains);
    return { ...stored, domains: uses.map(({ pattern }) => pattern.text) };
  });

  const at = now();
  if (hasEnded(grant, at) && !grant.refreshable) {
    warn('Its token has ended already, and there is no refresh token.', 'add it again with --replace');
  }
  output.result(
    { ...grantJson(grant, at), audience, domains, replaced, warnings },
    details(replaced ? `Replaced the credential of ${titleOf(grant)}.` : `Stored ${titleOf(grant)}.`, {
      provider: grant.provider,
      user: grant.user,
      type: grant.type,
      state: stateNow(grant, at),
      scopes: scopesOf(grant),
      expires: expiryOf(grant, at),
      'refresh token': grant.refreshable ? 'yes' : 'no',
      audience: audience.join(', '),
    }),
  );
  for (const warning of warnings) output.say(`Note: ${warning}`);
  if (domains.length === 0) {
    const [host = 'HOST'] = audience;
    output.say(`No domain uses it yet:\n  → sidekey domain allow ${shellWord(host)} --grant ${name}`);
  }
}

type Wanted = Pick<Grant, 'name' | 'user' | 'provider' | 'scopes'>;

async function store(
  state: State,
  wanted: Wanted,
  sealed: SealedCredential,
  mayReplace: boolean,
  now: () => number,
): Promise<{ readonly grant: Grant; readonly replaced: boolean }> {
  const { user, provider } = wanted;
  const existing = await findExact(state.grants, wanted);
  if (existing !== null && !mayReplace) {
    throw new SidekeyError('already_exists', `There is a grant ${titleOf(existing)} already.`, {
      hint: replaceCommand(wanted),
    });
  }
  const id = existing?.id ?? randomUUID();
  const event = { event: 'grant.added', grant: id, user, provider } as const;
  if (existing === null) {
    const registry = openRegistry({ store: state.store, vault: state.vault, now, newId: () => id });
    return { grant: await audited(state.audit, event, () => registry.add(wanted, sealed)), replaced: false };
  }
  const grant = await audited(state.audit, { ...event, reason: 'replaced' }, () =>
    replaceWhatever(state.grants, id, wanted, sealed),
  );
  return { grant, replaced: true };
}

async function findExact(grants: Registry, { name, user }: Wanted): Promise<Grant | null> {
  return (await grants.list()).find((grant) => grant.name === name && grant.user === user) ?? null;
}

/** What a person hands over goes before what a refresh stored meanwhile. */
async function replaceWhatever(
  grants: Registry,
  id: string,
  { provider, scopes }: Wanted,
  sealed: SealedCredential,
): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const grant = await grants.replaceCredential(stored.grant, sealed, { provider, scopes });
    if (grant !== null) return grant;
  }
}
