import { createLocalJWKSet, errors, jwtVerify } from 'jose';
import type { IncomingMessage, RequestListener } from 'node:http';
import type { cloudServices } from '../../src/grants/sources/cloud-source.ts';
import type { KeysOfDouble } from './aws/aws-double.ts';
import { requestBody } from './request-body.ts';
import { gitHubClaims, issuerKey, kubernetesClaims } from './token-issuer.ts';
import { type Identity, startPlainUpstream, startUpstream } from './upstream.ts';

/** Names that the stand-ins know. */
export const roleArn = 'arn:aws:iam::123456789012:role/agents';
export const poolProvider = 'projects/12/locations/global/workloadIdentityPools/ci/providers/github';
export const account = 'agents@acme.iam.gserviceaccount.com';
export const azureApp = 'acme.onmicrosoft.com/0f8fad5b-d9cb-469f-a165-70867728950e';
export const vault = 'https://vault.azure.net';
export const issuer = 'https://token.acme.test';

/** Temporary keys that the stand-ins for AWS give out. */
export const temporaryKeys: KeysOfDouble & { readonly token: string } = {
  id: 'ASIATEMPORARYKEYS001',
  secret: 'temporary/secret+of/the/role0123456789ab',
  token: 'session+token/of/the/role/0123456789abcdef==',
};
/** Access tokens that the stand-ins for Google and Microsoft give out. */
export const federatedToken = 'ya29.federated-token-of-the-pool-0123456789';
export const accountToken = 'ya29.token-of-the-service-account-0123456789';
export const azureAccessToken = 'eyJ0.token-of-the-app-0123456789.c2ln';
export const requestToken = 'request-token-of-the-job-0123456789';
export const podToken = 'token-of-the-pod-0123456789';

interface Answer {
  readonly status?: number;
  readonly body: string | object;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Stand-ins for the services of AWS, Google, Microsoft and GitHub. They verify what they get. */
export interface Clouds {
  readonly services: typeof cloudServices;
  /** Port of the services over TLS. */
  readonly port: number;
  /** Environment of a job of GitHub. */
  readonly github: Readonly<Record<string, string>>;
  /** Requests as `METHOD PATH`, without queries. */
  readonly requests: readonly string[];
  /** Answers instead of the next requests whose `METHOD PATH` matches; `drop` closes the connection. */
  readonly instead: [RegExp, Answer | 'drop'][];
  /** Signs a projected token of Kubernetes; `claims` replaces some. */
  sign(claims?: object, audience?: string): Promise<string>;
  /** Awaited before each answer. */
  gate: Promise<void>;
}

const json = (status: number, body: object): Answer => ({ status, body });

const awsError = (status: number, code: string, message: string): Answer => ({
  status,
  body: `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
});

const oauthError = (status: number, error: string, error_description: string): Answer =>
  json(status, { error, error_description });

const isTrusted = (sub: string) => /^(repo:acme\/app:|system:serviceaccount:ci:)/.test(sub);

interface CloudsOptions {
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Loopback address of the metadata services. */
  readonly metadataAddress?: string;
  /** Certificate of the services over TLS. */
  readonly identity?: Identity;
}

export async function startClouds({
  now = Date.now,
  metadataAddress = '127.0.0.1',
  identity,
}: CloudsOptions = {}): Promise<Clouds> {
  const key = await issuerKey('k1');
  const keySet = createLocalJWKSet({ keys: [key.jwk] });
  const requests: string[] = [];
  const instead: Clouds['instead'] = [];
  const ends = () => new Date(now() + 3_600_000).toISOString();
  const seconds = () => Math.floor(now() / 1_000);

  /** Returns the subject of a token, or the name of its fault. */
  async function judge(token: string, audience: string): Promise<{ readonly sub: string } | string> {
    try {
      const { payload } = await jwtVerify(token, keySet, { issuer, audience, currentDate: new Date(now()) });
      return { sub: payload.sub ?? '' };
    } catch (error) {
      return error instanceof errors.JWTExpired ? 'expired' : 'invalid';
    }
  }
  async function sts(form: URLSearchParams): Promise<Answer> {
    if (form.get('Action') !== 'AssumeRoleWithWebIdentity' || form.get('RoleSessionName') === null)
      return awsError(400, 'InvalidAction', 'unknown');
    const token = form.get('WebIdentityToken') ?? '';
    const judged = await judge(token, 'sts.amazonaws.com');
    if (judged === 'expired') return awsError(400, 'ExpiredTokenException', `Token expired: ${token}`);
    if (typeof judged === 'string') return awsError(400, 'InvalidIdentityToken', `Incorrect token audience`);
    if (form.get('RoleArn') !== roleArn || !isTrusted(judged.sub))
      return awsError(403, 'AccessDenied', 'Not authorized to perform sts:AssumeRoleWithWebIdentity');
    const { id, secret, token: session } = temporaryKeys;
    return {
      body: `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>${secret}</SecretAccessKey><SessionToken>${session}</SessionToken><Expiration>${ends()}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
    };
  }

  async function google(form: URLSearchParams): Promise<Answer> {
    const rfc8693 = 'urn:ietf:params:oauth:';
    const isExchange =
      form.get('grant_type') === `${rfc8693}grant-type:token-exchange` &&
      form.get('requested_token_type') === `${rfc8693}token-type:access_token` &&
      form.get('subject_token_type') === `${rfc8693}token-type:jwt` &&
      form.get('scope') === 'https://www.googleapis.com/auth/cloud-platform';
    if (!isExchange) return oauthError(400, 'invalid_request', 'Invalid exchange');
    if (form.get('audience') !== `//iam.googleapis.com/${poolProvider}`)
      return oauthError(
        400,
        'invalid_target',
        'The target service indicated by the "audience" parameters is invalid.',
      );
    const judged = await judge(form.get('subject_token') ?? '', `https://iam.googleapis.com/${poolProvider}`);
    if (judged === 'expired') return oauthError(400, 'invalid_grant', 'ID Token is stale to sign-in.');
    if (typeof judged === 'string')
      return oauthError(400, 'invalid_grant', 'The audience in ID Token does not match.');
    if (!isTrusted(judged.sub))
      return oauthError(
        400,
        'unauthorized_client',
        'The given credential is rejected by the attribute condition.',
      );
    return {
      body: {
        access_token: federatedToken,
        issued_token_type: `${rfc8693}token-type:access_token`,
        token_type: 'Bearer',
        expires_in: 3_599,
      },
    };
  }

  function impersonate(request: IncomingMessage, body: string): Answer {
    if (request.headers.authorization !== `Bearer ${federatedToken}`)
      return json(401, { error: { code: 401, message: 'Invalid credentials' } });
    const { scope, lifetime } = JSON.parse(body) as { readonly scope: string[]; readonly lifetime: string };
    if (!Array.isArray(scope) || lifetime !== '3600s')
      return json(400, { error: { code: 400, message: 'Invalid argument' } });
    return request.url === `/v1/projects/-/serviceAccounts/${account}:generateAccessToken`
      ? { body: { accessToken: accountToken, expireTime: ends() } }
      : json(403, {
          error: { code: 403, message: "Permission 'iam.serviceAccounts.getAccessToken' denied on resource" },
        });
  }

  async function entra(path: string, form: URLSearchParams): Promise<Answer> {
    const [tenant, client] = azureApp.split('/');
    if (path !== `/${tenant}/oauth2/v2.0/token` || form.get('client_id') !== client)
      return oauthError(401, 'invalid_client', 'AADSTS700016: Application was not found in the directory.');
    const isAssertion =
      form.get('grant_type') === 'client_credentials' &&
      form.get('client_assertion_type') === 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' &&
      form.get('client_secret') === null;
    const judged = isAssertion
      ? await judge(form.get('client_assertion') ?? '', 'api://AzureADTokenExchange')
      : '';
    if (judged === 'expired')
      return oauthError(
        401,
        'invalid_client',
        'AADSTS700024: Client assertion is not within its valid time range.',
      );
    if (typeof judged === 'string' || !isTrusted(judged.sub))
      return oauthError(
        401,
        'invalid_client',
        'AADSTS700213: No matching federated identity record found for presented assertion.',
      );
    if (form.get('scope') !== `${vault}/.default`)
      return oauthError(401, 'invalid_client', 'AADSTS500011: The resource principal was not found.');
    return { body: { token_type: 'Bearer', expires_in: 3_599, access_token: azureAccessToken } };
  }

  async function metadata(request: IncomingMessage, url: URL): Promise<Answer> {
    const { headers } = request;
    if (headers['x-forwarded-for'] !== undefined) return json(403, {});
    if (url.pathname === '/latest/api/token')
      return request.method === 'PUT' && headers['x-aws-ec2-metadata-token-ttl-seconds'] === '300'
        ? { body: 'token-of-imds' }
        : json(400, {});
    if (url.pathname.startsWith('/latest/meta-data/iam/security-credentials/')) {
      if (headers['x-aws-ec2-metadata-token'] !== 'token-of-imds') return json(401, {});
      const { id, secret, token } = temporaryKeys;
      const keys = { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: ends() };
      return url.pathname.endsWith('/agents') ? { body: { Code: 'Success', ...keys } } : { body: 'agents\n' };
    }
    if (url.pathname === '/v1/credentials') {
      if (headers.authorization !== podToken) return json(401, { message: 'no token' });
      const { id, secret, token } = temporaryKeys;
      return { body: { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: ends() } };
    }
    if (url.pathname.startsWith('/computeMetadata/v1/instance/service-accounts/')) {
      if (headers['metadata-flavor'] !== 'Google') return json(403, {});
      if (url.pathname.endsWith('/default/identity'))
        return { body: await sign({}, url.searchParams.get('audience') ?? '') };
      if (!/\/(default|agents@.*)\/token$/.test(url.pathname)) return json(404, {});
      return { body: { access_token: accountToken, expires_in: 3_599, token_type: 'Bearer' } };
    }
    if (url.pathname !== '/metadata/identity/oauth2/token' || headers['metadata'] !== 'true')
      return json(400, {});
    const [resource, client] = ['resource', 'client_id'].map((name) => url.searchParams.get(name));
    if (client !== null)
      return json(400, { error: 'invalid_request', error_description: 'Identity not found' });
    const at = { expires_in: '3599', expires_on: String(seconds() + 3_599), resource, token_type: 'Bearer' };
    const access_token = resource === vault ? azureAccessToken : await sign({}, resource ?? '');
    return { body: { access_token, ...at } };
  }

  const sign = (claims: object = {}, audience = 'sts.amazonaws.com') =>
    key.sign({ ...kubernetesClaims(issuer, audience, seconds()), ...claims });

  const serve =
    (
      answer: (request: IncomingMessage, url: URL, body: string) => Promise<Answer> | Answer,
    ): RequestListener =>
    async (request, response) => {
      const url = new URL(request.url ?? '', 'http://stand-in.test');
      const line = `${request.method} ${url.pathname}`;
      requests.push(line);
      const body = await requestBody(request);
      await clouds.gate;
      const [, given] = instead.find(([pattern]) => pattern.test(line)) ?? [];
      if (given === 'drop') {
        request.socket.destroy();
        return;
      }
      const { status = 200, body: answered, headers = {} } = given ?? (await answer(request, url, body));
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(typeof answered === 'string' ? answered : JSON.stringify(answered));
    };

  const remote = await startUpstream(
    serve(async (request, url, body) => {
      const form = new URLSearchParams(body);
      if (url.pathname === '/') return sts(form);
      if (url.pathname === '/v1/token') return google(form);
      if (url.pathname.startsWith('/v1/projects/')) return impersonate(request, body);
      if (url.pathname !== '/github') return entra(url.pathname, form);
      if (request.headers.authorization !== `Bearer ${requestToken}`) return json(401, {});
      const claims = gitHubClaims(issuer, url.searchParams.get('audience') ?? '', seconds());
      return json(200, { count: 1, value: await key.sign(claims) });
    }),
    identity,
  );
  const local = await startPlainUpstream(
    serve((request, url) => metadata(request, url)),
    metadataAddress,
  );
  const base = `http://${metadataAddress}:${local.port}`;
  const clouds: Clouds = {
    services: {
      sts: `${remote.url}/`,
      google: remote.url,
      account: remote.url,
      entra: remote.url,
      metadata: base,
      container: base,
    },
    port: remote.port,
    github: {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${remote.url}/github?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
    },
    requests,
    instead,
    sign,
    gate: Promise.resolve(),
  };
  return clouds;
}
