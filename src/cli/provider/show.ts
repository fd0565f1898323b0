import type { Context } from '../context.ts';
import { details } from '../table.ts';
import { findProvider } from './find.ts';
import { carriedAs, providerJson } from './words.ts';

/** `sidekey provider show`. Rejects with SidekeyError `provider_unknown`. */
export async function showProvider({ readConfig, output }: Context, name: string): Promise<void> {
  const provider = findProvider((await readConfig()).providers, name);
  const { clientId, clientSecret, clientAuth, scopes } = provider;
  const secret = clientSecret === null ? 'without a secret' : `with a secret, sent as ${clientAuth}`;
  output.result(
    providerJson(provider),
    details(`${name} (${provider.title})`, {
      audience: provider.audience.join(', '),
      'carried as': carriedAs(provider.inject),
      'consent at': provider.authorizationEndpoint,
      'tokens from': provider.tokenEndpoint,
      'revoked at': provider.revocationEndpoint,
      issuer: provider.issuer,
      client: provider.tokenEndpoint === null ? null : clientId === null ? 'none' : `${clientId}, ${secret}`,
      scopes: scopes.length === 0 ? null : scopes.join(' '),
    }),
  );
  if (provider.tokenEndpoint !== null && clientId === null) {
    output.say(
      `  → to refresh tokens it needs a client: set providers.${name}.client_id, or put client_id into the token's JSON`,
    );
  }
}
