import { SidekeyError } from '../errors.ts';
import type { RefreshRequest } from '../oauth/refresh.ts';
import type { OAuth2Credential } from './credential.ts';
import type { Provider } from './provider.ts';

/** What to ask of the token endpoint, or why it cannot be asked. */
export type RefreshPlan =
  | { readonly kind: 'ask'; readonly request: RefreshRequest }
  | { readonly kind: 'impossible'; readonly reason: string; readonly hint: string };

/**
 * Puts the request together from the credential and the provider definition. What the credential brings overrides the
 * definition, and never mixes with its secret: the provider's client secret goes to the provider's own token endpoint
 * alone, together with the provider's own client id.
 */
export async function planRefresh(
  credential: OAuth2Credential,
  provider: Provider | undefined,
  providerName: string,
): Promise<RefreshPlan> {
  const { refreshToken } = credential;
  const endpoint = credential.tokenEndpoint ?? provider?.tokenEndpoint ?? null;
  const clientId = credential.clientId ?? provider?.clientId ?? null;
  if (refreshToken === null)
    return impossible('there is no refresh token', 'add the grant again with --replace');
  if (endpoint === null) {
    return impossible(
      `the provider "${providerName}" has no token endpoint`,
      `set providers.${providerName}.token_endpoint`,
    );
  }
  if (clientId === null) {
    return impossible(
      `the provider "${providerName}" has no client id`,
      `set providers.${providerName}.client_id`,
    );
  }
  const ownClient = endpoint === provider?.tokenEndpoint && clientId === provider.clientId;
  let clientSecret = credential.clientSecret;
  if (clientSecret === null && ownClient) {
    try {
      clientSecret = (await provider.clientSecret?.()) ?? null;
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      return impossible(error.message, error.hint ?? `check providers.${providerName}.client_secret`);
    }
  }
  // A secret that came with the credential is used even where the definition knows of a public client.
  const auth = provider?.clientAuth === 'post' ? 'post' : 'basic';
  return {
    kind: 'ask',
    request: {
      endpoint,
      client: { clientId, clientSecret, auth: clientSecret === null ? 'none' : auth },
      refreshToken,
    },
  };
}

function impossible(reason: string, hint: string): RefreshPlan {
  return { kind: 'impossible', reason, hint };
}
