import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';
import type { LookupFunction } from 'node:net';
import { text } from 'node:stream/consumers';
import { requestBody } from './request-body.ts';
import { startUpstream, upstreamCa, upstreamHost } from './upstream.ts';

/** Metadata of a client as sent and as answered (RFC 7591 §2). */
export type ClientMetadata = Readonly<Record<string, unknown>>;

/** Response of the registration endpoint. */
export interface RegistrationAnswer {
  readonly status?: number;
  /** Members besides those of the usual response; a text: the whole body. */
  readonly body?: ClientMetadata | string;
}

/** Differences of an authorization server from the usual one. */
export interface Deviation {
  /** Merged over the metadata (RFC 8414). */
  readonly metadata?: object;
  readonly register?: (sent: ClientMetadata, authorization: string) => RegistrationAnswer;
  /** Scopes of the API; default: none are named. */
  readonly scopes?: readonly string[];
  /** Response of the authorization endpoint to an unknown client; default: a page with status 400. */
  readonly unknownClient?: { readonly page: number } | { readonly error: string };
  /** Client ID metadata documents by their path. */
  readonly documents?: Readonly<Record<string, { readonly body: object }>>;
}

function json(response: ServerResponse, status: number, body: object | string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

/** An API with an authorization server that registers clients, and gives every consent at once. */
export async function startRegisteringServer(deviation: Deviation = {}) {
  const clients = new Map<string, ClientMetadata>([
    ['by-hand', { redirect_uris: ['http://127.0.0.1/callback'], token_endpoint_auth_method: 'none' }],
  ]);
  const registrations: ClientMetadata[] = [];
  /** Clients by their codes and refresh tokens. */
  const owners = new Map<string, string>();
  let present = deviation;

  const upstream = await startUpstream((incoming, response) => void serve(incoming, response));
  const issuer = upstream.url;
  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', issuer);
    const body = await requestBody(incoming);
    const authorization = incoming.headers.authorization ?? '';
    const document = present.documents?.[url.pathname];
    if (document !== undefined) {
      const described = { client_id: url.href, token_endpoint_auth_method: 'none', ...document.body };
      return json(response, 200, described);
    }
    switch (url.pathname) {
      case '/.well-known/oauth-authorization-server':
        return json(response, 200, metadata());
      case '/.well-known/oauth-protected-resource':
        if (present.scopes === undefined) return json(response, 404, {});
        return json(response, 200, {
          resource: `${issuer}/`,
          authorization_servers: [issuer],
          scopes_supported: present.scopes,
        });
      case '/register':
        return register(JSON.parse(body) as ClientMetadata, authorization, response);
      case '/authorize':
        return authorize(url.searchParams, response);
      case '/token':
        return token(new URLSearchParams(body), authorization, response);
      default:
        return json(response, 404, {});
    }
  }

  const metadata = () => ({
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/register`,
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none', 'client_secret_basic', 'client_secret_post'],
    ...present.metadata,
  });

  function register(sent: ClientMetadata, authorization: string, response: ServerResponse): void {
    registrations.push(sent);
    const { status = 201, body = {} } = present.register?.(sent, authorization) ?? {};
    if (typeof body === 'string' && status >= 300) return json(response, status, body);
    const isPublic = sent['token_endpoint_auth_method'] === 'none';
    const usual = {
      client_id: `client-${registrations.length}`,
      ...sent,
      ...(isPublic ? {} : { client_secret: randomBytes(16).toString('hex'), client_secret_expires_at: 0 }),
    };
    const given =
      typeof body === 'string' ? (JSON.parse(body.replace(/^\uFEFF/, '')) as object) : { ...usual, ...body };
    if (status >= 300) return json(response, status, body);
    const client = { ...usual, ...given } as ClientMetadata;
    clients.set(String(client['client_id']), client);
    json(response, status, typeof body === 'string' ? body : given);
  }

  function authorize(parameters: URLSearchParams, response: ServerResponse): void {
    const back = new URL(parameters.get('redirect_uri') ?? '');
    const clientId = parameters.get('client_id') ?? '';
    const redirect = (answer: Record<string, string>) => {
      for (const [name, value] of Object.entries({ ...answer, state: parameters.get('state') ?? '' }))
        back.searchParams.set(name, value);
      response.writeHead(302, { location: back.href }).end();
    };
    if (!isKnown(clientId, back)) {
      const { unknownClient = { page: 400 } } = present;
      if ('error' in unknownClient) return redirect({ error: unknownClient.error });
      response.writeHead(unknownClient.page, { 'content-type': 'text/html' });
      response.end('<p>Unknown client</p>');
      return;
    }
    redirect({ code: issue(clientId) });
  }

  function isKnown(clientId: string, redirectUri: URL): boolean {
    // The server would read the document now.
    if (clientId.startsWith('https:')) return true;
    const uris = (clients.get(clientId)?.['redirect_uris'] ?? []) as string[];
    return uris.some((uri) => {
      const registered = new URL(uri);
      registered.port = redirectUri.port;
      return registered.href === redirectUri.href;
    });
  }

  function issue(clientId: string): string {
    const value = randomBytes(24).toString('base64url');
    owners.set(value, clientId);
    return value;
  }

  function token(form: URLSearchParams, authorization: string, response: ServerResponse): void {
    const basic = Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
      .toString()
      .split(':');
    const [id, secret] =
      authorization === '' ? [form.get('client_id'), form.get('client_secret') ?? undefined] : basic;
    const clientId = id ?? '';
    const client = clients.get(clientId);
    const isDocument = clientId.startsWith('https:') && secret === undefined;
    const method = client?.['token_endpoint_auth_method'] ?? 'client_secret_basic';
    const isBasic = authorization !== '';
    const isOwn =
      method === 'none'
        ? secret === undefined
        : secret === client?.['client_secret'] && isBasic === (method === 'client_secret_basic');
    if (!isDocument && (client === undefined || !isOwn))
      return json(response, 401, { error: 'invalid_client' });
    if (owners.get(form.get('code') ?? form.get('refresh_token') ?? '') !== clientId)
      return json(response, 400, { error: 'invalid_grant' });
    json(response, 200, {
      access_token: randomBytes(16).toString('hex'),
      token_type: 'Bearer',
      expires_in: 3600,
      refresh_token: issue(clientId),
    });
  }

  return {
    issuer,
    authority: upstream.authority,
    /** Requests of the registration endpoint. */
    registrations,
    clients,
    deviate(more: Deviation) {
      present = { ...present, ...more };
    },
    /** Config with access to the server. `upstream-ca.pem` beside it has the CA. */
    settings: {
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
    },
    ca: upstreamCa,
  };
}

/**
 * Opens an address of an upstream as a browser does, follows redirects of its host, and returns the last one.
 */
export async function openAtUpstream(address: string): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = new URL(address);
  for (let step = 0; step < 12 && url.hostname === upstreamHost; step += 1) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const options = { ca: upstreamCa, lookup: local, agent: false, headers: { cookie } } as const;
    request(url, options, resolve).on('error', reject).end();
    const answer = await promise;
    const { statusCode, headers } = answer;
    for (const set of headers['set-cookie'] ?? []) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      cookies.set(name, value);
    }
    if (headers.location === undefined)
      throw new Error(`${url.pathname} answered ${statusCode}: ${await text(answer)}`);
    url = new URL(headers.location, url);
  }
  return url;
}

const local: LookupFunction = (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);
