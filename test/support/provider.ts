import { plainDialect } from '../../src/config/provider-dialect.ts';
import type { Provider } from '../../src/domain/provider.ts';

/** A provider that conforms to the RFCs, with the given keys. */
export function aProvider(over: Partial<Provider> = {}): Provider {
  const audience = over.audience ?? ['api.acme.test'];
  return {
    name: 'acme',
    title: 'Acme',
    category: 'sample',
    docs: [],
    authorizationEndpoint: null,
    deviceAuthorizationEndpoint: null,
    tokenEndpoint: null,
    revocationEndpoint: null,
    userinfoEndpoint: null,
    issuer: null,
    namesIssuer: false,
    clientId: null,
    clientSecret: null,
    clientAuth: 'none',
    redirectUri: null,
    redirectUriType: 'loopback',
    flows: [],
    scopes: [],
    knownScopes: [],
    audience,
    domains: audience,
    inject: [{ hosts: null, paths: null, as: { kind: 'bearer' } }],
    placeholders: [],
    unexpectedPlaceholders: 'refuse',
    methodOverrideParameters: [],
    dpop: null,
    echoPaths: [],
    token: null,
    dialect: plainDialect,
    clientRegistration: null,
    probe: null,
    notes: [],
    environment: [],
    baseUrls: {},
    operations: [],
    logins: [],
    capturesLogins: false,
    lease: { defaultMs: null, maxMs: null },
    settings: [],
    ...over,
  };
}
