import type { Credential } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';

/** Why a credential could never be refreshed though it has a refresh token, and what would help. */
export interface RefreshGap {
  readonly sentence: string;
  readonly hint: string;
}

/** Null: nothing is missing, or there is nothing to refresh. The client secret is looked for when it is needed. */
export function refreshGapOf(credential: Credential, provider: Provider): RefreshGap | null {
  if (credential.type !== 'oauth2' || credential.refreshToken === null) return null;
  const { name } = provider;
  if ((credential.tokenEndpoint ?? provider.tokenEndpoint) === null) {
    return {
      sentence: `The refresh token is of no use: nothing says where the provider ${name} issues tokens.`,
      hint: `add "token_endpoint" to the JSON, or set providers.${name}.token_endpoint in the config file`,
    };
  }
  if ((credential.clientId ?? provider.clientId) === null) {
    return {
      sentence: `The refresh token is of no use: nothing says for which client the provider ${name} issued it.`,
      hint: `add "client_id" (and "client_secret") to the JSON, or set providers.${name}.client_id in the config file`,
    };
  }
  return null;
}
