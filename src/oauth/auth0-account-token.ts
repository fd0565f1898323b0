/**
 * A token of Auth0's My Account API, for the refresh token of a user's login.
 * https://auth0.com/docs/secure/call-apis-on-users-behalf/token-vault/connected-accounts-for-token-vault
 */
import type { Dialect } from '../grants/dialect.ts';
import { loginHasEnded } from './auth0-errors.ts';
import { withDescription } from './description.ts';
import { askTokenEndpoint, type TokenClient, type TokenIo } from './token-endpoint.ts';

/** What the My Account API is asked for here. */
export const accountScopes: readonly string[] = [
  'create:me:connected_accounts',
  'read:me:connected_accounts',
  'delete:me:connected_accounts',
];

/** Asks for a token of the My Account API, with the refresh token of a login. */
export interface AccountTokenRequest {
  /** `https://DOMAIN/oauth/token`. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  readonly refreshToken: string;
}

/** What came of it. Descriptions are cut, and without any piece of a secret. */
export type AccountTokenOutcome =
  | {
      readonly kind: 'token';
      /** Kept nowhere. */
      readonly accessToken: string;
      /** Null: the one that was used stays good. Otherwise that one may be used up, and this one must not be lost. */
      readonly refreshToken: string | null;
      /** Of `accountScopes`, those that it was not given. */
      readonly missingScopes: readonly string[];
    }
  | { readonly kind: 'login_ended'; readonly description: string }
  | { readonly kind: 'refused'; readonly error: string; readonly description: string }
  | { readonly kind: 'transient'; readonly reason: string };

/**
 * Never rejects for what Auth0 or a network may do. Auth0 leaves out an audience that the client may not use in silence
 * and answers with a token for another API, which shows by its scopes.
 */
export async function askForAccountToken(
  request: AccountTokenRequest,
  io: TokenIo,
): Promise<AccountTokenOutcome> {
  const { endpoint, client, dialect, refreshToken } = request;
  const answer = await askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: 'refresh_token',
      parameters: {
        refresh_token: refreshToken,
        audience: new URL('/me/', endpoint).href,
        scope: accountScopes.join(' '),
      },
      secrets: [refreshToken],
    },
    io,
  );
  switch (answer.kind) {
    case 'tokens': {
      const granted = answer.scopes ?? accountScopes;
      return {
        kind: 'token',
        accessToken: answer.accessToken,
        refreshToken: answer.refreshToken,
        missingScopes: accountScopes.filter((scope) => !granted.includes(scope)),
      };
    }
    case 'error': {
      const { error, description } = answer;
      return loginHasEnded(error)
        ? { kind: 'login_ended', description: withDescription(error, description) }
        : { kind: 'refused', error, description };
    }
    case 'transient':
      return { kind: 'transient', reason: answer.reason };
  }
}
