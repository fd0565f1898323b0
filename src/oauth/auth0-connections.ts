/** What the connections of Auth0 are called, and what is special about some. Data, so that no flow knows one by name. */

/** A connection as Auth0 sets it up; a tenant may give it another name. */
export interface KnownConnection {
  readonly name: string;
  /** Asked for together with whatever else is asked for, where anything is. */
  readonly alwaysScopes: readonly string[];
  /** False: what a token may do is settled where the app is registered, and scopes are not taken. */
  readonly takesScopes: boolean;
}

/**
 * By the host of the authorization endpoint of the provider whose accounts are connected.
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

/** The connection for the accounts of a provider with this authorization endpoint; null: Auth0 documents none. */
export function knownConnection(authorizationEndpoint: string | null): KnownConnection | null {
  const host = URL.parse(authorizationEndpoint ?? '')?.hostname ?? '';
  return Object.hasOwn(connections, host) ? (connections[host] ?? null) : null;
}

function plain(name: string): KnownConnection {
  return { name, alwaysScopes: [], takesScopes: true };
}
