import type { Obtained } from '../../grants/keep.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { signInOf } from '../kept-sign-in.ts';
import { keptReference } from './provider-settings.ts';
import { type ConnectOptions, type ConnectRequest, firstToken, type TokenAsking } from './request.ts';
import { typeOf } from './without-person.ts';

/** Value of `--via` for the sign-in at the issuer of `admin.oidc`. */
export const signInName = 'oidc';

interface SignInRequest extends TokenAsking, Pick<ConnectRequest, 'user'> {
  readonly state: Parameters<typeof signInOf>[1];
  readonly options: Pick<ConnectOptions, 'actorToken' | 'actorTokenType'>;
}

/**
 * `connect NAME --via oidc`: a token of the service for the user who signed in at the issuer of `admin.oidc`,
 * without a consent page.
 *
 * @throws SidekeyError `sign_in_required`, `input_invalid`; errors of `firstToken`
 */
export async function bySignIn(request: SignInRequest): Promise<Obtained> {
  const { provider, user, scopes, state, options } = request;
  const { oidc } = state.config.admin;
  if (provider.idJag === null) {
    throw inputInvalid(
      `${provider.title} takes no assertion of an identity provider.`,
      `where its authorization server takes ID-JAG, set providers.${provider.name}.id_jag: docs/sign-in.md`,
    );
  }
  if (oidc === null || oidc.keepSignInMs === null) {
    const what = oidc === null ? 'admin.oidc' : 'admin.oidc.keep_sign_in';
    throw inputInvalid(`No sign-in is kept: the config file has no ${what}.`, 'set it: docs/sign-in.md');
  }
  const kept = await signInOf(user, state);
  if (kept === null) {
    throw new SidekeyError('sign_in_required', `No sign-in of the user ${user} is kept.`, {
      hint: `let ${user} sign in at the pages of Sidekey with the account at ${new URL(oidc.issuer).host}; --user names another user`,
    });
  }
  const { actorToken, actorTokenType } = options;
  const actor = actorToken === undefined ? null : { reference: keptReference('--actor-token', actorToken) };
  const actorType = typeOf('--actor-token-type', actorTokenType) ?? typeOf('--actor-token-type', 'jwt');
  const obtained = await firstToken(request, {
    kind: 'id_jag',
    user,
    identity: kept.identity,
    scope: scopes.length === 0 ? null : scopes.join(' '),
    actorToken: actor,
    actorTokenType: actor === null ? null : actorType,
  });
  return { ...obtained, identity: kept.account };
}
