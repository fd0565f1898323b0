import type { IncomingMessage } from 'node:http';
import type { Provider } from 'oidc-provider/lib/provider.js';
import { startOidcProvider } from '../support/oidc-provider.ts';
import { startUpstream, upstreamLeaf } from '../support/upstream.ts';
import { shared } from './network.ts';

interface Context {
  readonly req: IncomingMessage;
  readonly oidc: { readonly entities: { readonly Account?: { readonly accountId: string } } };
}

type Models = Provider & {
  on(
    event: 'grant.success' | 'grant.error',
    listener: (context: Context, error?: { readonly error_detail?: string }) => void,
  ): unknown;
};

/** A use of a refresh token. */
interface Use {
  /** Whose consent it is. */
  readonly person: string;
  /** The address that the request came from. */
  readonly from: string;
}

/** Tokens of a consent. */
interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

/** The name of the API. */
export const apiHost = 'items.acme.test';

/**
 * An authorization server by others (oidc-provider) whose refresh tokens work once, and an API that takes its
 * access tokens. A second use of a refresh token ends the grant.
 */
export interface RotatingProvider {
  /** `HOST:PORT` of the API. */
  readonly authority: string;
  readonly tokenEndpoint: string;
  /** Gives consent as a person. */
  readonly consent: (person: string) => Promise<Tokens>;
  /** Lets the API refuse this token from this time on. */
  readonly end: (accessToken: string, at: number) => void;
  /** First uses of refresh tokens, in order. */
  readonly uses: readonly Use[];
  /** Later uses. */
  readonly reuses: readonly Use[];
  /** Returns whether this refresh token is valid and not used. */
  readonly isCurrent: (refreshToken: string) => Promise<boolean>;
  /** Awaited with the address of each token request, before it is read. */
  onRequest: (from: string) => Promise<void> | void;
  /** Called with the address of each new connection, before its TLS handshake. */
  onConnection: (from: string) => void;
}

const client = {
  client_id: 'robot',
  client_secret: 'the-secret-of-the-robot',
  application_type: 'native',
  grant_types: ['refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: [],
  redirect_uris: [],
};

/** Starts both on their shared addresses; closed when the test ends. */
export async function startRotatingProvider(): Promise<RotatingProvider> {
  const scope = 'openid offline_access';
  const started = await startOidcProvider({
    address: shared.provider,
    settings: {
      clients: [client],
      features: { deviceFlow: { enabled: true } },
      rotateRefreshToken: true,
      ttl: { AccessToken: 3_600, Grant: 86_400, IdToken: 300, RefreshToken: 86_400 },
    },
    serve: (request, _response, pass) => void Promise.resolve(found.onRequest(addressOf(request))).then(pass),
  });
  const provider = started.provider as Models;
  const api = await startUpstream(
    ({ headers }, response) => {
      const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
      void provider.AccessToken.find(token).then((known) => {
        response.statusCode = known !== undefined && Date.now() < (ends.get(token) ?? Infinity) ? 200 : 401;
        response.end(known?.accountId ?? 'no');
      });
    },
    upstreamLeaf(apiHost),
    shared.api,
  );
  const [uses, reuses]: [Use[], Use[]] = [[], []];
  provider.on('grant.success', (context) => uses.push(useOf(context)));
  provider.on('grant.error', (context, error) => {
    if (/already used|not found/.test(error?.error_detail ?? '')) reuses.push(useOf(context));
  });
  const ends = new Map<string, number>();
  const found: RotatingProvider = {
    authority: `${apiHost}:${api.port}`,
    tokenEndpoint: `${started.upstream.url}/token`,
    async consent(person) {
      const grant = new provider.Grant({ accountId: person, clientId: client.client_id });
      grant.addOIDCScope(scope);
      const robot = await provider.Client.find(client.client_id);
      const fields = {
        accountId: person,
        client: robot!,
        grantId: await grant.save(),
        scope,
        gty: 'device_code',
      };
      const access = new provider.AccessToken(fields);
      const refresh = new provider.RefreshToken(fields);
      return { access_token: await access.save(), refresh_token: await refresh.save() };
    },
    end: (token, at) => void ends.set(token, at),
    uses,
    reuses,
    async isCurrent(token) {
      const stored = await provider.RefreshToken.find(token);
      return stored !== undefined && stored.consumed === undefined;
    },
    onRequest: () => {},
    onConnection: () => {},
  };
  started.upstream.server.on('connection', ({ remoteAddress = '' }) => found.onConnection(remoteAddress));
  return found;
}

function useOf({ req, oidc }: Context): Use {
  return { person: oidc.entities.Account?.accountId ?? '', from: addressOf(req) };
}

function addressOf({ socket }: IncomingMessage): string {
  return socket.remoteAddress ?? '';
}
