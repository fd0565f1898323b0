import { generateKeyPairSync, randomBytes } from 'node:crypto';
// Not from the package's index: that one warns on every Node.js line that does not call itself LTS (yet).
import { InvalidRequest } from 'oidc-provider/lib/helpers/errors.js';
import { Provider } from 'oidc-provider/lib/provider.js';
import type { StateAdapter } from './oauth-state.ts';
import { errorPage, pageHeaders } from './pages.ts';
import { findUser } from './users.ts';

/** The scopes that a person can be asked for, with what the consent page says of them. */
export const scopes: Readonly<Record<string, string>> = {
  openid: 'Know who you are at Acme',
  profile: 'See your name',
  email: 'See your email address',
  'read:tickets': 'Read helpdesk tickets',
  'write:tickets': 'Create and change helpdesk tickets',
  offline_access: 'Keep this access while you are away',
};

/** Client metadata as OpenID Connect Dynamic Client Registration 1.0 §2 names it. */
export type ClientMetadata = Readonly<Record<string, unknown>> & { readonly client_id: string };

/** The client that stands for Sidekey: confidential, on this machine (RFC 8252), any loopback port. */
export function sidekeyClient(secret: string, redirectUris: readonly string[]): ClientMetadata {
  return {
    client_id: 'sidekey',
    client_secret: secret,
    client_name: 'Sidekey',
    application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    response_types: ['code'],
    redirect_uris: [
      'http://127.0.0.1/callback',
      'http://127.0.0.1/connect/callback',
      'http://[::1]/callback',
      'http://localhost/callback',
      ...redirectUris,
    ],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}

/**
 * The same without a secret, as an app is that anybody may install (RFC 8252 §8.4): PKCE alone protects its
 * codes.
 */
export function publicClient(redirectUris: readonly string[]): ClientMetadata {
  const { client_secret: _secret, ...client } = sidekeyClient('', redirectUris);
  return {
    ...client,
    client_id: 'sidekey-public',
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
  };
}

interface ProviderParts {
  readonly issuer: string;
  readonly clients: readonly ClientMetadata[];
  readonly adapter: (kind: string) => StateAdapter;
  /** Lifetime of access tokens from now on, in seconds. */
  readonly accessTokenTtl: () => number;
  readonly onError: (error: unknown) => void;
}

const hour = 3600;
const fortnight = 14 * 24 * hour;

/**
 * The OAuth server: authorization code with PKCE, refresh tokens that rotate and work once, client
 * credentials.
 */
export function createProvider(parts: ProviderParts): Provider {
  const provider = new Provider(parts.issuer, {
    adapter: parts.adapter,
    clients: parts.clients,
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    routes: {
      authorization: '/authorize',
      token: '/token',
      revocation: '/revoke',
      registration: '/register',
      userinfo: '/userinfo',
      jwks: '/jwks',
    },
    features: {
      clientCredentials: { enabled: true },
      revocation: {
        enabled: true,
        allowedPolicy: (_context: unknown, client: { clientId: string }, token: { clientId: string }) => {
          // RFC 7009 §2.1: the client is told.
          if (client.clientId !== token.clientId)
            throw new InvalidRequest('the token belongs to another client');
          return true;
        },
      },
      // RFC 7591, open to everybody: a client that registers itself still needs a person's consent.
      registration: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      resourceIndicators: { enabled: false },
      rpInitiatedLogout: { enabled: false },
    },
    scopes: Object.keys(scopes),
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    responseTypes: ['code'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async (_context: unknown, client: { grantTypeAllowed(type: string): boolean }) =>
      client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async () => false,
    clientBasedCORS: () => false,
    clockTolerance: 0,
    ttl: {
      AccessToken: () => parts.accessTokenTtl(),
      ClientCredentials: () => parts.accessTokenTtl(),
      AuthorizationCode: 60,
      IdToken: hour,
      Interaction: hour,
      Session: 12 * hour,
      RefreshToken: fortnight,
      Grant: fortnight,
    },
    findAccount: async (_context: unknown, id: string) => {
      const user = findUser(id);
      if (user === undefined) return undefined;
      const { name, email } = user;
      return {
        accountId: user.id,
        claims: async () => ({
          sub: user.id,
          name,
          preferred_username: user.id,
          email,
          email_verified: true,
        }),
      };
    },
    interactions: {
      url: async (_context: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}`,
    },
    renderError: async (context: PageContext, out: { error: string; error_description?: string }) => {
      context.set(pageHeaders());
      context.body = errorPage(out.error_description ?? 'The request could not be completed.', out.error);
    },
  });
  provider.on('server_error', (_context, error) => parts.onError(error));
  provider.on('error', parts.onError);
  return provider;
}

interface PageContext {
  set(headers: Readonly<Record<string, string>>): void;
  body: string;
}

function signingKey(): Readonly<Record<string, unknown>> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'acme-1' };
}
