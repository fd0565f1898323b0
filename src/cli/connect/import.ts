import { SidekeyError } from '../../errors.ts';
import { readCredential } from '../../grants/credential-input.ts';
import type { OAuth2Credential } from '../../grants/credential.ts';
import { clockOf } from '../../grants/token-clock.ts';
import { scopesIn } from '../../oauth/scopes.ts';
import { refreshGapOf } from '../grant/refresh-gap.ts';
import { renewNow } from './first-token.ts';
import type { Obtain } from './flow.ts';

/**
 * `connect NAME --import`: the refresh token that another tool got, by itself or in its token response. Where no access
 * token comes with it, one is asked for at once.
 *
 * @throws SidekeyError `input_invalid`; what `renewNow` throws
 */
export const importToken: Obtain = async (request) => {
  const { context, provider, scopes } = request;
  const { ask, now, output } = context;
  const text =
    ask === null
      ? await context.readInput()
      : await ask('Paste the refresh token, or the whole token response in one line (it is not shown)', {
          secret: true,
        });
  const credential = read(text, now);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
  output.say(
    'The tool that it came from should not use this refresh token any more: where the provider rotates them, whoever is second loses it.',
  );
  const clock = clockOf(credential, now(), 0);
  // An access token of another tool is bound to no key of Sidekey's.
  if (clock === 'absent' || clock === 'ended' || provider.dpop !== null) return renewNow(request, credential);
  return { credential, scopes: scopesIn(credential.scope) ?? scopes };
};

function read(text: string, now: () => number): OAuth2Credential {
  const bare = text.replace(/^\uFEFF/, '').trim();
  const isToken = /^[\x21-\x7e]+$/.test(bare) && !bare.startsWith('{') && !bare.startsWith('"');
  const { credential } = readCredential(isToken ? JSON.stringify({ refresh_token: bare }) : text, { now });
  if (credential.type === 'oauth2' && credential.refreshToken !== null) return credential;
  throw new SidekeyError('input_invalid', 'There is no refresh token in what was handed over.', {
    hint: 'an access token or a key alone is stored with sidekey grant add NAME --provider PROVIDER < token.json',
  });
}
