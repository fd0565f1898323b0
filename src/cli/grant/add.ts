import { SidekeyError } from '../../errors.ts';
import type { Credential } from '../../grants/credential.ts';
import { readCredential } from '../../grants/credential-input.ts';
import { defaultUser, type Grant } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { hasEnded, stateNow } from '../../grants/state-now.ts';
import { isRefreshable } from '../../grants/token-clock.ts';
import { isWithin } from '../../policy/audience.ts';
import { isPattern, parsePattern } from '../../policy/pattern.ts';
import { shellWord } from '../../shell-word.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { findProvider } from '../provider/find.ts';
import { details } from '../table.ts';
import { chooseAudience } from './audience.ts';
import { carriageMisfit } from './carriage-misfit.ts';
import { keepGrant } from './keep-grant.ts';
import { certificateJson, certificateMisfit, certificateRows } from './certificate-words.ts';
import { domainsOf } from './offered.ts';
import { refreshGapOf } from './refresh-gap.ts';
import { expiryOf, grantJson, scopesOf, titleOf } from './words.ts';

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
  const read = readCredential(await context.readInput(), { now });
  const { scopes } = read;
  const credential = withoutUnbound(read.credential, provider);

  const warnings: string[] = [];
  const warn = (sentence: string, hint: string) => warnings.push(`${sentence}\n  → ${hint}`);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) {
    const hasToken = credential.type === 'oauth2' && credential.accessToken !== null;
    if (!hasToken) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
    warn(`${gap.sentence} The access token is used until it ends.`, gap.hint);
  }
  const misfit = certificateMisfit(credential, provider);
  const uncarried = misfit === null ? carriageMisfit(credential, provider) : null;
  if (misfit !== null) warn(misfit.sentence, misfit.hint);
  if (uncarried !== null) warn(`No request can carry it: ${uncarried.message}`, uncarried.hint ?? '');
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
    const stored = await keepGrant(
      state,
      wanted,
      { credential, audience },
      {
        event: 'grant.added',
        keepsOut: (existing) => (options.replace === true ? null : alreadyThere(existing, wanted)),
        now,
      },
    );
    const uses = domainsOf(stored.grant, await state.grants.list(), state.config.domains);
    return { ...stored, domains: uses.map(({ pattern }) => pattern.text) };
  });

  const at = now();
  if (hasEnded(grant, at) && !grant.refreshable) {
    warn('Its token has ended already, and there is no refresh token.', 'add it again with --replace');
  }
  output.result(
    { ...grantJson(grant, at), ...certificateJson(credential), audience, domains, replaced, warnings },
    details(replaced ? `Replaced the credential of ${titleOf(grant)}.` : `Stored ${titleOf(grant)}.`, {
      provider: grant.provider,
      user: grant.user,
      type: grant.type,
      ...certificateRows(credential, at),
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

/**
 * An access token of elsewhere is bound to no key of Sidekey's. Where the provider is to bind its tokens, the first one is
 * asked for when it is needed.
 *
 * @throws SidekeyError `input_invalid`: nothing could ask for it
 */
function withoutUnbound(credential: Credential, provider: Provider): Credential {
  if (credential.type !== 'oauth2' || provider.dpop === null) return credential;
  if (isRefreshable(credential)) return { ...credential, accessToken: null };
  throw new SidekeyError(
    'input_invalid',
    `The tokens of ${provider.name} are bound to a key that is made here, and this one is bound to none.`,
    { hint: `sidekey connect ${provider.name}, or add "refresh_token" to the JSON` },
  );
}

function alreadyThere(existing: Grant, wanted: Pick<Grant, 'name' | 'user' | 'provider'>): SidekeyError {
  return new SidekeyError('already_exists', `There is a grant ${titleOf(existing)} already.`, {
    hint: replaceCommand(wanted),
  });
}
