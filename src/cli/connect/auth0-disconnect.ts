import { SidekeyError } from '../../errors.ts';
import { deleteAccount, listAccounts } from '../../oauth/auth0-accounts.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { accountDetail } from './auth0.ts';
import { connectionOf, findLogin, openAccountApi, type LoginParts } from './auth0-login.ts';

/** What came of disconnecting an account. */
export type Disconnected =
  /** Auth0 has forgotten its tokens. The account's own provider is not told: Auth0 does not revoke them there. */
  | { readonly kind: 'disconnected' }
  /** It was not connected any more. */
  | { readonly kind: 'gone' };

/**
 * Disconnects the account of such a grant at Auth0: the upstream half of revoking it. Other grants of the same account
 * end with it. The grant itself is left alone.
 *
 * @throws SidekeyError `input_invalid`: the grant is of no such account, or it is not known which; `grant_missing`: the
 * login was removed; as `openAccountApi` and the functions of the My Account API
 */
export async function disconnectAccount(
  opened: OpenedGrant,
  parts: LoginParts,
  signal: AbortSignal,
): Promise<Disconnected> {
  const renewal = connectionOf(opened);
  if (renewal === null) {
    throw new SidekeyError('input_invalid', `The grant "${opened.grant.name}" is of no account at Auth0.`);
  }
  const login = await findLogin(parts, { via: renewal.via, user: opened.grant.user });
  const opening = await openAccountApi(login, parts, signal);
  const api = { ...opening, io: { ...opening.io, signal } };
  const accounts = await listAccounts(api, renewal.connection);
  const known = opened.sealed.details?.[accountDetail];
  const [only, ...others] = known === undefined ? accounts : accounts.filter(({ id }) => id === known);
  if (only === undefined) return { kind: 'gone' };
  if (others.length > 0) {
    throw new SidekeyError(
      'input_invalid',
      `Several accounts of ${renewal.connection} are connected, and it is not known which is that of the grant "${opened.grant.name}".`,
      { hint: 'disconnect it in the dashboard of Auth0' },
    );
  }
  await deleteAccount(api, only.id);
  return { kind: 'disconnected' };
}
