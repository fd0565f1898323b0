import { startOidcProvider } from './oidc-provider.ts';

interface DeviceCode {
  accountId?: string;
  grantId?: string;
  error?: string;
  errorDescription?: string;
  scope?: string;
  readonly params: { readonly scope?: string };
  save(): Promise<string>;
}

declare module 'oidc-provider/lib/provider.js' {
  interface Provider {
    use(
      serve: (
        context: { readonly oidc?: { readonly route: string }; readonly body: object },
        next: () => Promise<void>,
      ) => Promise<void>,
    ): void;
    readonly DeviceCode: { findByUserCode(code: string): Promise<DeviceCode | undefined> };
  }
}

/** An authorization server by others (oidc-provider) behind TLS: device codes and client credentials. */
export interface OAuthServer {
  /** `https://api.acme.test:PORT` */
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Enters a user code and gives consent, as a person does; default: alice. */
  readonly approve: (userCode: string, person?: string) => Promise<void>;
  readonly deny: (userCode: string) => Promise<void>;
}

const client = {
  client_id: 'robot',
  client_secret: 'the-secret-of-the-robot',
  application_type: 'native',
  grant_types: ['client_credentials', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: 'client_secret_basic',
};

/**
 * Starts the server; closed when the test ends.
 *
 * @param interval seconds between two questions of a device; default: none is named, so they are five
 */
export async function startOAuthServer({ interval }: { interval?: number } = {}): Promise<OAuthServer> {
  const { provider, upstream } = await startOidcProvider({
    settings: {
      clients: [client],
      features: { clientCredentials: { enabled: true }, deviceFlow: { enabled: true } },
      scopes: ['openid', 'offline_access', 'read', 'write'],
      ttl: {
        AccessToken: 300,
        ClientCredentials: 300,
        DeviceCode: 600,
        Grant: 3_600,
        IdToken: 300,
        RefreshToken: 3_600,
      },
    },
  });
  provider.use(async (context, next) => {
    await next();
    if (context.oidc?.route === 'device_authorization') Object.assign(context.body, { interval });
  });

  async function codeOf(userCode: string): Promise<DeviceCode> {
    // The page ignores dashes in the code, too.
    const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll('-', ''));
    if (code === undefined) throw new Error(`Nobody was given the code ${userCode}.`);
    return code;
  }
  return {
    issuer: upstream.url,
    clientId: client.client_id,
    clientSecret: client.client_secret,
    async approve(userCode, person = 'alice') {
      const code = await codeOf(userCode);
      const grant = new provider.Grant({ accountId: person, clientId: client.client_id });
      code.scope = code.params.scope ?? '';
      grant.addOIDCScope(code.scope);
      code.accountId = person;
      code.grantId = await grant.save();
      await code.save();
    },
    async deny(userCode) {
      const code = await codeOf(userCode);
      Object.assign(code, { error: 'access_denied', errorDescription: 'alice said no' });
      await code.save();
    },
  };
}
