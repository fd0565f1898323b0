import type { IncomingMessage, ServerResponse } from 'node:http';
import { consentAs } from '../../examples/helpdesk/consent.ts';
import type { Provider } from 'oidc-provider/lib/provider.js';
import { startOidcProvider } from './oidc-provider.ts';
import { startService } from './service.ts';
import { upstreamCa } from './upstream.ts';

interface OpenIdServer {
  /** `https://api.acme.test:PORT` */
  readonly issuer: string;
  readonly port: number;
  readonly provider: Provider;
  /** The account that the next browser without a session has; changed by tests. */
  readonly account: { sub: string; claims: Readonly<Record<string, unknown>> };
}

interface ServerOptions {
  /** True if claims are in the ID token; otherwise they are only at the userinfo endpoint. */
  readonly inIdToken?: boolean;
  /** Grant types of the client; default: those of a client that signs people in. */
  readonly grantTypes?: readonly string[];
  /** Merged over the settings of oidc-provider. */
  readonly settings?: object;
  /** Answers a request itself, or has the server answer it. */
  readonly serve?: (request: IncomingMessage, response: ServerResponse, pass: () => void) => void;
}

const clientSecret = 'the-secret-of-sidekey-at-the-issuer';

/**
 * Starts an OpenID provider by others (oidc-provider) behind TLS, which signs everybody in without a
 * question.
 */
async function startOpenIdServer({
  inIdToken = true,
  grantTypes,
  settings,
  serve = (_request, _response, pass) => pass(),
}: ServerOptions): Promise<OpenIdServer> {
  const account: OpenIdServer['account'] = { sub: 'a-1', claims: {} };
  const { provider, upstream } = await startOidcProvider({
    settings: {
      clients: [
        {
          client_id: 'sidekey',
          client_secret: clientSecret,
          application_type: 'native',
          redirect_uris: ['http://127.0.0.1/sign-in/oidc/callback'],
          ...(grantTypes && { grant_types: grantTypes }),
        },
      ],
      conformIdTokenClaims: !inIdToken,
      claims: {
        openid: [
          'sub',
          'groups',
          'email',
          'email_verified',
          'preferred_username',
          'realm_access',
          'https://acme.test/role',
        ],
      },
      ttl: { AccessToken: 300, Grant: 3_600, IdToken: 300, Interaction: 600, Session: 3_600 },
      findAccount: (_context: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ ...account.claims, sub: id }),
      }),
      ...settings,
    },
    serve(request, response, pass) {
      if (request.url?.startsWith('/interaction/') === true) void answer(request, response);
      else serve(request, response, pass);
    },
  });
  async function answer(...message: [IncomingMessage, ServerResponse]): Promise<void> {
    const { prompt, session } = await provider.interactionDetails(...message);
    const accountId = session?.accountId ?? account.sub;
    if (prompt.name === 'login') {
      await provider.interactionFinished(...message, { login: { accountId } });
      return;
    }
    const grant = new provider.Grant({ accountId, clientId: 'sidekey' });
    grant.addOIDCScope('openid profile email');
    await provider.interactionFinished(...message, { consent: { grantId: await grant.save() } });
  }
  return { issuer: upstream.url, port: upstream.port, account, provider };
}

interface Options extends ServerOptions {
  readonly now?: () => number;
  /** Merged over `admin.oidc`. */
  readonly oidc?: object;
  /** More of the config. */
  readonly config?: Readonly<Record<string, object>>;
}

/**
 * A service whose people sign in at the server: the group `admins` has the role operator, `staff` the role
 * user.
 */
export async function startWithIssuer({ now = Date.now, oidc = {}, config = {}, ...options }: Options = {}) {
  const server = await startOpenIdServer(options);
  const { issuer, port, account } = server;
  account.claims = { groups: ['admins'], preferred_username: 'alice' };
  const settings = {
    issuer,
    client_id: 'sidekey',
    client_secret: 'command:echo ' + clientSecret,
    name: 'preferred_username',
    roles: { operator: { groups: ['admins'] }, user: { groups: ['staff'], email: ['bob@acme.test'] } },
    ...oidc,
  };
  const admin = { listen: '127.0.0.1:0', oidc: settings };
  const service = await startService({ now, config: { ...config, admin } });
  const { url } = service;

  /** Returns the address of the callback to which the issuer sends a new browser. */
  const askIssuer = async (address: string) => {
    const connection = { issuer, ca: upstreamCa, connectTo: { host: '127.0.0.1', port } };
    return (await consentAs(new URL(address), { user: '', password: '' }, connection)).href;
  };

  /** Returns a new browser, which does what the scripts of the pages do. */
  function browser() {
    const flows = new Map<string | null, string>();
    let session: string | undefined;
    const open = async (request: string, init: { body?: object; headers?: Record<string, string> } = {}) => {
      const [method = '', address = ''] = request.split(' ');
      const own = method === 'GET' ? {} : { origin: url, 'sec-fetch-site': 'same-origin' };
      const response = await fetch(new URL(address, url), {
        method,
        headers: { ...(session && { authorization: `Bearer ${session}` }), ...own, ...init.headers },
        ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, body: JSON.parse(text || '{}') };
    };
    const begin = async (returnTo = '/') => {
      const begun = await open('POST /sign-in/oidc', { body: { return_to: returnTo } });
      const { url: location, flow } = begun.body as { url: string; flow: string };
      flows.set(new URL(location).searchParams.get('state'), flow);
      return location;
    };
    /**
     * Ends a sign-in at the address of the callback, with the state that this browser stored or another one.
     */
    const answer = async (callback: string, flow?: string) => {
      const { search, searchParams } = new URL(callback);
      const stored = flow ?? flows.get(searchParams.get('state')) ?? '';
      flows.delete(searchParams.get('state'));
      const ended = await open('POST /sign-in/oidc/callback', { body: { parameters: search, flow: stored } });
      session = ended.body.session ?? session;
      return ended;
    };
    return {
      open,
      begin,
      askIssuer,
      answer,
      /** The secret of its session. */
      secret: () => session ?? '',
      signIn: async (returnTo?: string) => answer(await askIssuer(await begin(returnTo))),
      me: async () => (await open('GET /v2/me')).body as { name?: string; role?: string; code?: string },
    };
  }
  return { ...service, server, account, settings, browser };
}
