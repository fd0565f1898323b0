import type { InjectPlan, Provider } from '../../grants/provider.ts';

/** The field that carries a token, with the token left out. */
export function carriedAs(plan: InjectPlan): string {
  return plan.kind === 'bearer' ? 'Authorization: Bearer …' : `${plan.name}: ${plan.prefix}…`;
}

/** A provider for programs, in the words of the config file. Says whether there is a client secret, and not which. */
export function providerJson(provider: Provider): Readonly<Record<string, unknown>> {
  const { inject } = provider;
  return {
    name: provider.name,
    title: provider.title,
    authorization_endpoint: provider.authorizationEndpoint,
    token_endpoint: provider.tokenEndpoint,
    revocation_endpoint: provider.revocationEndpoint,
    issuer: provider.issuer,
    client_id: provider.clientId,
    has_client_secret: provider.clientSecret !== null,
    client_auth: provider.clientAuth,
    scopes: provider.scopes,
    audience: provider.audience,
    inject: inject.kind === 'bearer' ? 'bearer' : { header: inject.name, prefix: inject.prefix },
  };
}
