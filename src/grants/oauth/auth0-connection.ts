import { type AccountTokenRequest, loginHasEnded } from './auth0.ts';
import { type TokenIo } from './http.ts';
import { withDescription } from './description.ts';
import type { RefreshOutcome } from './refresh.ts';
import { askTokenEndpoint } from './token-endpoint.ts';

/**
 * Auth0 Token Vault: the access token of an account that a user has connected at Auth0, in exchange for the
 * refresh token of the user's Auth0 login.
 * https://auth0.com/docs/secure/call-apis-on-users-behalf/token-vault/refresh-token-exchange-with-token-vault
 */

export interface ConnectionTokenRequest extends AccountTokenRequest {
  /** Name of the connection at the tenant, such as `google-oauth2`. */
  readonly connection: string;
  /** Account, if the connection has several; null: only one. */
  readonly loginHint: string | null;
}

const grantType = 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token';
const refreshTokenType = 'urn:ietf:params:oauth:token-type:refresh_token';
const connectionTokenType = 'http://auth0.com/oauth/token-type/federated-connection-access-token';

/** Errors about the account instead of the login. */
const accountGone = new Set([
  'unauthorized_client',
  'access_denied',
  'federated_connection_refresh_token_flow_failed',
]);

/** Requests the token of a connected account. Never rejects because of Auth0 or the network. */
export async function askForConnectionToken(
  request: ConnectionTokenRequest,
  io: TokenIo,
): Promise<RefreshOutcome> {
  const { connection, loginHint } = request;
  const seen = { status: 0 };
  const answer = await askTokenEndpoint(
    {
      endpoint: request.endpoint,
      client: request.client,
      dialect: request.dialect,
      grantType,
      parameters: {
        subject_token: request.refreshToken,
        subject_token_type: refreshTokenType,
        requested_token_type: connectionTokenType,
        connection,
        ...(loginHint === null ? {} : { login_hint: loginHint }),
      },
      secrets: [request.refreshToken],
    },
    {
      ...io,
      fetch: async (url, init) => {
        const response = await io.fetch(url, init);
        seen.status = response.status;
        return response;
      },
    },
  );
  switch (answer.kind) {
    case 'tokens': {
      const { accessToken, expiresAt, obtainedAt, scope, issuedTokenType } = answer;
      if (issuedTokenType !== null && issuedTokenType !== connectionTokenType) {
        // RFC 8693 §2.2.1: another token must not be sent to the account's provider.
        return {
          kind: 'refused',
          error: 'unexpected_token_type',
          description: 'Auth0 sent a token that is not one of the connected account',
        };
      }
      // A refresh token would be that of the account or the login. The grant keeps neither.
      return { kind: 'renewed', accessToken, refreshToken: null, expiresAt, obtainedAt, scope };
    }
    case 'error': {
      const reason = withDescription(answer.error, answer.description);
      if (loginHasEnded(answer.error)) return { kind: 'refused', ends: 'login', description: reason };
      // Auth0 sends 401 if it finds no account. RFC 6749 §5.2 has 401 for a wrong client, too.
      const isGone = seen.status === 401 && answer.error !== 'invalid_client';
      if (accountGone.has(answer.error) || isGone)
        return { kind: 'refused', ends: 'grant', description: reason };
      return { kind: 'refused', error: answer.error, description: answer.description };
    }
    case 'later':
      return seen.status === 401 ? { kind: 'refused', ends: 'grant', description: answer.reason } : answer;
  }
}

/** Names of Auth0's connections and their special cases, as data, so that no flow has code for one. */

/** A connection in Auth0's default setup. A tenant may rename it. */
export interface KnownConnection {
  readonly name: string;
  /** Scopes to add to the requested scopes, if any are requested. */
  readonly alwaysScopes: readonly string[];
  /** False: scopes are set where the app is registered, and cannot be requested. */
  readonly takesScopes: boolean;
}

/**
 * Keyed by the host of the provider's authorization endpoint.
 * Names: https://auth0.com/ai/docs/integrations/overview, a page for each. Google's scopes:
 * https://auth0.com/docs/secure/call-apis-on-users-behalf/token-vault/connected-accounts-for-token-vault
 */
const connections: Readonly<Record<string, KnownConnection>> = {
  'accounts.google.com': { name: 'google-oauth2', alwaysScopes: ['openid', 'profile'], takesScopes: true },
  'github.com': { name: 'github', alwaysScopes: [], takesScopes: false },
  'slack.com': plain('sign-in-with-slack'),
  'login.microsoftonline.com': plain('windowslive'),
  'account.box.com': plain('box'),
  'www.dropbox.com': plain('dropbox'),
  'bitbucket.org': plain('bitbucket'),
  'login.salesforce.com': plain('salesforce'),
  'discord.com': plain('discord'),
  'www.figma.com': plain('figma'),
  'id.twitch.tv': plain('twitch'),
  'cloud.digitalocean.com': plain('digitalocean'),
  'accounts.spotify.com': plain('spotify'),
  'huggingface.co': plain('hugging-face'),
  'x.com': plain('twitter'),
  'twitter.com': plain('twitter'),
};

/** Returns the connection for a provider with this authorization endpoint; null: Auth0 documents none. */
export function knownConnection(authorizationEndpoint: string | null): KnownConnection | null {
  const host = URL.parse(authorizationEndpoint ?? '')?.hostname ?? '';
  return Object.hasOwn(connections, host) ? (connections[host] ?? null) : null;
}

function plain(name: string): KnownConnection {
  return { name, alwaysScopes: [], takesScopes: true };
}
