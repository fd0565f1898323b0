/**
 * Two authorization servers by others (oidc-provider): the identity provider where people sign in, which
 * issues assertions for services (ID-JAG), and that of a service, which exchanges them for access tokens.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { createLocalJWKSet, jwtVerify, SignJWT } from 'jose';
import { CustomOIDCProviderError, InvalidGrant } from 'oidc-provider/lib/helpers/errors.js';
import { run } from '../../src/cli/index.ts';
import { startOidcProvider } from './oidc-provider.ts';
import { startWithIssuer } from './open-id-server.ts';
import { proxiedGet } from './proxied-get.ts';

declare module 'oidc-provider/lib/helpers/errors.js' {
  export class CustomOIDCProviderError extends Error {
    constructor(error: string, description: string);
  }
}

type Form = Readonly<Record<string, string | undefined>>;

interface TokenContext {
  readonly oidc: {
    readonly client: { readonly clientId: string };
    readonly params: Form;
  };
  body: object;
  /** Returns a header field; empty: none. */
  get(name: string): string;
}

declare module 'oidc-provider/lib/provider.js' {
  interface Provider {
    registerGrantType(
      name: string,
      handler: (context: TokenContext) => Promise<void>,
      parameters: readonly string[],
    ): void;
  }
}

const type = (name: string) => `urn:ietf:params:oauth:token-type:${name}`;
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** Deviations of the servers from the draft, changed by tests. */
export interface Deviations {
  /** Header and claims of the assertion, merged over those of the draft. */
  header?: object;
  claims?: (draft: { readonly aud: string }) => object;
  /** Replaces the assertion. */
  assertion?: string;
  /** Merged over the answer of the identity provider. */
  answer?: object;
  /** Error of the exchange, and of the service. */
  exchangeError?: string;
  serviceError?: string;
  /** Merged over the answer of the service. */
  serviceAnswer?: object;
  /** Paths at which the servers answer with 503. */
  down?: 'identity provider' | 'service';
  /** Error of the identity provider's refresh. */
  refreshError?: string;
  /** Called before the answer to a refresh is sent. */
  duringRefresh?: () => Promise<unknown>;
  /** Merged over the answer to a refresh. */
  refreshAnswer?: object;
}

export const serviceClient = 'sidekey-at-the-desk';
export const serviceSecret = 'the-secret-of-sidekey-at-the-desk';

/** Returns the parameters of a request. */
function given(params: Form): Form {
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}

interface Options {
  readonly now?: () => number;
  /** Seconds for which an ID token is valid. */
  readonly idTokenS?: number;
  /** True if the identity provider gives refresh tokens, which it rotates. */
  readonly refreshes?: boolean;
  /** Merged over `admin.oidc`. */
  readonly oidc?: object;
  /** Merged over the provider `desk`. */
  readonly desk?: object;
}

/**
 * Starts both servers, and a Sidekey whose people sign in at the one and have the other as the provider
 * `desk`.
 */
export async function startIdJag({ now, idTokenS = 300, refreshes = false, oidc, desk }: Options = {}) {
  const deviations: Deviations = {};
  const asked: {
    readonly at: 'identity provider' | 'service';
    readonly form: Form;
    readonly proof?: string;
  }[] = [];
  const refreshTokens: string[] = [];
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'idp-1' };
  const { d: _d, ...publicKey } = key as Record<string, unknown>;
  const keys = createLocalJWKSet({ keys: [{ kty: 'EC', ...publicKey }] });
  const trusted = { issuer: '' };

  const service = await startOidcProvider({
    settings: {
      clients: [
        {
          client_id: serviceClient,
          client_secret: serviceSecret,
          grant_types: [bearer],
          response_types: [],
          redirect_uris: [],
        },
      ],
      scopes: ['openid', 'read', 'write'],
      ttl: { AccessToken: 300, Grant: 3_600 },
    },
    serve(request, response, pass) {
      if (deviations.down === 'service' && request.url === '/token') response.writeHead(503).end();
      else if (request.url?.startsWith('/api') === true) void api(request.headers.authorization, response);
      else pass();
    },
  });
  async function api(
    authorization = '',
    response: { writeHead(status: number): { end(text?: string): void } },
  ) {
    const found = await service.provider.AccessToken.find(authorization.replace('Bearer ', ''));
    if (found === undefined) response.writeHead(401).end();
    else response.writeHead(200).end(`${found.accountId} ${found.scope ?? ''}`.trim());
  }
  const used = new Set<string>();
  service.provider.registerGrantType(
    bearer,
    async (context) => {
      const { client, params } = context.oidc;
      asked.push({ at: 'service', form: given(params) });
      if (deviations.serviceError !== undefined)
        throw new CustomOIDCProviderError(deviations.serviceError, 'the desk says no');
      const { payload } = await jwtVerify(params['assertion'] ?? '', keys, {
        issuer: trusted.issuer,
        audience: service.upstream.url,
        typ: 'oauth-id-jag+jwt',
        requiredClaims: ['sub', 'jti', 'exp', 'client_id'],
      }).catch(() => {
        throw new InvalidGrant('the assertion is not valid');
      });
      if (payload['client_id'] !== client.clientId) throw new InvalidGrant('it is of another client');
      if (used.has(payload.jti ?? '')) throw new InvalidGrant('it was used before');
      used.add(payload.jti ?? '');
      const { AccessToken } = service.provider as unknown as {
        AccessToken: new (input: object) => { save(): Promise<string>; expiration: number };
      };
      const scope = payload['scope'];
      const token = new AccessToken({ accountId: payload.sub, client, scope });
      const answer = {
        access_token: await token.save(),
        token_type: 'Bearer',
        expires_in: token.expiration,
        scope,
      };
      context.body = { ...answer, ...deviations.serviceAnswer };
    },
    ['assertion', 'scope'],
  );

  const { url, authority } = service.upstream;
  const idJag = { audience: url, resource: `${url}/api` };
  const definition = {
    token_endpoint: `${url}/token`,
    client_id: serviceClient,
    client_secret: `command:echo ${serviceSecret}`,
    scopes: ['read'],
    audience: [authority],
  };
  const at = await startWithIssuer({
    ...(now === undefined ? {} : { now }),
    oidc: { keep_sign_in: '8h', ...oidc },
    settings: {
      jwks: { keys: [key] },
      issueRefreshToken: async () => refreshes,
      rotateRefreshToken: true,
      ttl: {
        AccessToken: 300,
        Grant: 3_600,
        IdToken: idTokenS,
        Interaction: 600,
        RefreshToken: 3_600,
        Session: 3_600,
      },
    },
    grantTypes: ['authorization_code', 'refresh_token', exchange],
    serve(request, response, pass) {
      if (deviations.down === 'identity provider' && request.url === '/token') response.writeHead(503).end();
      else pass();
    },
    config: {
      providers: {
        desk: { ...definition, title: 'The Desk', id_jag: idJag, ...desk },
        // The identity provider names people differently to this one.
        pairwise: { ...definition, title: 'The Pairwise', id_jag: { ...idJag, pairwise_subjects: true } },
      },
    },
  });
  const { issuer, provider } = at.server;
  trusted.issuer = issuer;

  const { RefreshToken: stored } = provider as unknown as {
    RefreshToken: { find(value: string): Promise<{ readonly accountId?: string } | undefined> };
  };
  /** Returns the person of a subject token of this identity provider. */
  async function subjectOf({ oidc: { client, params } }: TokenContext): Promise<string | undefined> {
    const { subject_token: token = '', subject_token_type: written } = params;
    if (written === type('refresh_token')) return (await stored.find(token))?.accountId;
    if (written !== type('id_token')) return undefined;
    const checks = { issuer, audience: client.clientId };
    const verified = await jwtVerify(token, keys, checks).catch(() => null);
    return verified?.payload.sub;
  }
  provider.registerGrantType(
    exchange,
    async (context) => {
      const { params } = context.oidc;
      asked.push({ at: 'identity provider', form: given(params), proof: context.get('dpop') });
      if (deviations.exchangeError !== undefined)
        throw new CustomOIDCProviderError(deviations.exchangeError, 'the company says no');
      const sub = await subjectOf(context);
      if (sub === undefined) throw new InvalidGrant('the subject token is not valid');
      const { audience = '', resource, scope, actor_token: actor } = params;
      const claims = {
        client_id: serviceClient,
        resource,
        scope,
        ...(actor === undefined ? {} : { act: { sub: actor } }),
      };
      const seconds = Math.floor(Date.now() / 1000);
      const draft = {
        ...claims,
        iss: issuer,
        sub,
        aud: audience,
        jti: randomUUID(),
        iat: seconds,
        exp: seconds + 300,
      };
      const signed = await new SignJWT({ ...draft, ...deviations.claims?.(draft) })
        .setProtectedHeader({ alg: 'ES256', kid: 'idp-1', typ: 'oauth-id-jag+jwt', ...deviations.header })
        .sign(privateKey);
      context.body = {
        issued_token_type: type('id-jag'),
        access_token: deviations.assertion ?? signed,
        token_type: 'N_A',
        expires_in: 300,
        ...deviations.answer,
      };
    },
    [
      'subject_token',
      'subject_token_type',
      'requested_token_type',
      'audience',
      'resource',
      'scope',
      'actor_token',
      'actor_token_type',
    ],
  );
  provider.use(async (context, next) => {
    await next();
    const { oidc, body } = context as unknown as { oidc?: { params?: Form }; body: object };
    if (oidc?.params?.['grant_type'] !== 'refresh_token') return;
    asked.push({ at: 'identity provider', form: given(oidc.params) });
    const { refreshError: error, duringRefresh } = deviations;
    await duringRefresh?.();
    if (error !== undefined) Object.assign(context, { status: 400, body: { error } });
    else Object.assign(context, { body: { ...body, ...deviations.refreshAnswer } });
    refreshTokens.push(String((body as Form)['refresh_token']));
  });

  return {
    ...at,
    /** Replaces the deviations, and forgets the requests so far. */
    deviate(next: Deviations) {
      for (const name of Object.keys(deviations)) delete deviations[name as keyof Deviations];
      Object.assign(deviations, next);
      asked.length = 0;
    },
    deviations,
    /** Refresh tokens that the identity provider gave for others. */
    refreshTokens,
    /** Token requests so far: to the identity provider the exchanges and refreshes, to the service all. */
    asked,
    service: service.upstream,
    /** Changes `admin.oidc` in the config file. */
    reconfigure: (changes: object) =>
      at.sidekey.configure({ admin: { listen: '127.0.0.1:0', oidc: { ...at.settings, ...changes } } }),
    /** Signs alice in at the identity provider, in a new browser. */
    async signIn() {
      const browser = at.browser();
      await browser.signIn();
      return browser;
    },
    /** Runs a command at this machine. */
    async command(...args: readonly string[]) {
      const written = { stdout: '', stderr: '' };
      const to = (name: keyof typeof written) => ({
        write: (text: string | Uint8Array) => {
          written[name] += Buffer.from(text).toString();
          return true;
        },
      });
      const exit = await run([...args, '--config', at.sidekey.configFile], {
        env: { HOME: at.sidekey.folder },
        stdin: Readable.from([]),
        stdout: to('stdout'),
        stderr: to('stderr'),
      });
      return { exit, ...written };
    },
    /** Requests the API of the service through the proxy, with a grant. */
    get: (grant: string) =>
      proxiedGet(at.sidekey.url, `${service.upstream.url}/api`, { 'sidekey-grant': grant }),
  };
}
