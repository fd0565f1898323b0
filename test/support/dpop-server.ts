import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startOidcProvider } from './oidc-provider.ts';

/** A request as the server received it. */
export interface ProvedRequest {
  readonly path: string;
  readonly authorization: string;
  readonly proof: string;
  readonly status: number;
}

/**
 * An authorization server by others (oidc-provider) that binds all tokens to keys and requires a nonce in
 * every proof. Its userinfo endpoint is the API (`/me`). Opening a consent page gives consent.
 */
export interface DpopServer {
  /** `https://api.acme.test:PORT` */
  readonly issuer: string;
  readonly port: number;
  /** A public client, whose refresh tokens are bound to the key too. */
  readonly publicClient: string;
  /** A confidential client: `robot`. */
  readonly clientSecret: string;
  readonly asked: readonly ProvedRequest[];
  /** Enters a user code and gives consent, as a person does. */
  readonly approve: (userCode: string) => Promise<void>;
}

const common = { redirect_uris: [], response_types: [], dpop_bound_access_tokens: true };
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const clients = [
  {
    ...common,
    client_id: 'desk-app',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', deviceGrant],
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
  },
  {
    ...common,
    client_id: 'robot',
    client_secret: 'the-secret-of-the-robot',
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_basic',
  },
];

/** Starts the server; closed when the test ends. */
export async function startDpopServer(): Promise<DpopServer> {
  const asked: ProvedRequest[] = [];
  const { provider, upstream } = await startOidcProvider({
    settings: {
      clients,
      features: {
        clientCredentials: { enabled: true },
        deviceFlow: { enabled: true },
        dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      },
      scopes: ['openid', 'offline_access', 'read'],
      ttl: {
        AccessToken: 300,
        AuthorizationCode: 60,
        ClientCredentials: 300,
        DeviceCode: 600,
        Grant: 3_600,
        IdToken: 300,
        Interaction: 600,
        RefreshToken: 3_600,
        Session: 600,
      },
    },
    serve(request, response, pass) {
      const { url: path = '', headers } = request;
      response.once('finish', () =>
        asked.push({
          path,
          authorization: headers.authorization ?? '',
          proof: String(headers['dpop'] ?? ''),
          status: response.statusCode,
        }),
      );
      if (path.startsWith('/interaction/')) void consent(request, response);
      else pass();
    },
  });
  const grant = async (clientId: string) => {
    const given = new provider.Grant({ accountId: 'alice', clientId });
    given.addOIDCScope('openid offline_access read');
    return given.save();
  };
  const consent = async (request: IncomingMessage, response: ServerResponse) => {
    const grantId = await grant('desk-app');
    const result = { login: { accountId: 'alice' }, consent: { grantId } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  };
  return {
    issuer: upstream.url,
    port: upstream.port,
    publicClient: 'desk-app',
    clientSecret: 'the-secret-of-the-robot',
    asked,
    async approve(userCode) {
      const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll('-', ''));
      if (code === undefined) throw new Error(`Nobody was given the code ${userCode}.`);
      code.scope = code.params.scope ?? '';
      code.accountId = 'alice';
      code.grantId = await grant('desk-app');
      await code.save();
    },
  };
}
