import { parseConfigDocument } from '../../config/document.ts';
import { plainDialect } from '../../config/provider-dialect.ts';
import { parseKeys, secretText, type SourceForm } from '../../domain/credential.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { packageText, shippedFile } from '../../lib/package-files.ts';
import { withoutStop } from '../../lib/text.ts';
import { defaultLimits } from '../../proxy/policy/limits.ts';
import { createUpstreamClient } from '../../proxy/upstream/client.ts';
import { tokenExchangeGrantType, typePrefix } from '../oauth/assertions.ts';
import { assumeRole } from '../oauth/aws-role.ts';
import { describe, withDescription } from '../oauth/description.ts';
import {
  askEndpoint,
  type EndpointFailure,
  type EndpointRequest,
  jsonObject,
  jwtPart,
  memberAt,
  type TokenIo,
} from '../oauth/http.ts';
import type { RefreshOutcome } from '../oauth/refresh.ts';
import { askTokenEndpoint, type TokenQuestion } from '../oauth/token-endpoint.ts';
import { awsEndpoint, type CloudSource } from './cloud-source.ts';
import type { SourceParts, SourceValue } from './source.ts';
import { readValue } from './value.ts';

/** Hosts of container endpoints: this machine, the agent of ECS, the Pod Identity Agent of EKS. */
const containerHost = /^(?:localhost|127\.0\.0\.1|\[::1\]|169\.254\.170\.(?:2|23)|\[fd00:ec2::23\])$/;
/** Milliseconds for an answer of this machine, and of another. */
const [localMs, remoteMs] = [5_000, 30_000];
const googleScope = 'https://www.googleapis.com/auth/cloud-platform';

/** Rows of `config/cloud-failures.yaml`, which explains the members. */
type CloudFailures = readonly Readonly<Record<'at' | 'answer' | 'says' | 'do', string>>[];
let failures: CloudFailures | undefined;

export function cloudFailures(): CloudFailures {
  const file = shippedFile('cloud-failures.yaml');
  return (failures ??= parseConfigDocument(packageText(file)).value as CloudFailures);
}

/** Returns the error for an answer without a credential. `token`: the token that was sent; empty: none. */
function failed(
  at: string,
  trouble: string | EndpointFailure | Exclude<RefreshOutcome, { readonly kind: 'renewed' }>,
  token = '',
): SidekeyError {
  const reported = typeof trouble === 'string' ? { reason: trouble, retryAfterMs: null } : trouble;
  const answer =
    'reason' in reported
      ? reported.reason
      : withDescription('error' in reported ? reported.error : 'refused', reported.description);
  const row = cloudFailures().find(
    (each) => new RegExp(`^(?:${each.at})$`).test(at) && new RegExp(each.answer).test(answer),
  );
  const claims = jwtPart(token, 1) ?? {};
  const named = ['iss', 'aud', 'sub'].map((name) => `${name} ${JSON.stringify(claims[name] ?? null)}`);
  const says = row?.says ?? 'The source gave no credential';
  return new SidekeyError('source_failed', `${says}: ${withoutStop(answer)}.`, {
    hint: row?.do.replace('TOKEN', () => describe(named.join(', '), [])),
    retryAfterMs: 'retryAfterMs' in reported ? (reported.retryAfterMs ?? undefined) : undefined,
  });
}

/** Requests of one read of a source. */
interface CloudAsking extends SourceParts {
  readonly signal: AbortSignal;
  /** Reads a secret file. @throws SidekeyError `source_failed` */
  readonly readFile: (path: string) => string;
}

/** Asks a cloud for a credential. @throws SidekeyError `source_failed` */
export async function askCloud(source: CloudSource, asking: CloudAsking): Promise<SourceValue> {
  const { services } = asking;
  switch (source.cloud) {
    case 'aws-web-identity': {
      const { name: roleArn, audience = 'sts.amazonaws.com', region = null } = source;
      const token = await subjectToken(source.token, audience, asking);
      const place = { endpoint: services.sts, region, externalId: null, durationSeconds: null };
      const outcome = await assumeRole({ ...place, roleArn, sessionName: 'sidekey', token }, ioOf(asking));
      if (outcome.kind !== 'renewed') throw failed('sts', outcome, token);
      const { accessToken, expiresAt } = outcome;
      return { credential: { type: 'aws', ...parseKeys(accessToken)!, region: null }, expiresAt };
    }
    case 'aws-instance': {
      const container = containerRequest(asking);
      const at = container === null ? 'ec2' : 'container';
      const text = await (container === null ? instanceKeys(asking) : ask(at, container, asking));
      const { Code: code = 'Success', Message: message, Token: token, ...rest } = jsonObject(text) ?? {};
      if (code !== 'Success') throw failed(at, describe([code, message].join(': '), []));
      return valueOf(at, JSON.stringify({ ...rest, Version: 1, SessionToken: token }), 'aws', asking);
    }
    case 'gcp-federation': {
      const { name, audience = `https://iam.googleapis.com/${name}`, service_account: account } = source;
      const token = await subjectToken(source.token, audience, asking);
      const parameters = {
        audience: `//iam.googleapis.com/${name}`,
        scope: googleScope,
        requested_token_type: `${typePrefix}access_token`,
        subject_token: token,
        subject_token_type: `${typePrefix}jwt`,
      };
      const endpoint = `${services.google}/v1/token`;
      const question = { endpoint, client: null, grantType: tokenExchangeGrantType, parameters };
      const federated = await askToken('google', question, token, asking);
      if (account === undefined) return federated;
      const url = `${services.account}/v1/projects/-/serviceAccounts/${account}:generateAccessToken`;
      const authorization = `Bearer ${secretText(federated.credential)}`;
      const headers = { authorization, 'content-type': 'application/json' };
      const body = JSON.stringify({ scope: [googleScope], lifetime: '3600s' });
      const text = await ask('account', { url, method: 'POST', headers, body }, asking, token);
      return valueOf('account', text, 'json', asking);
    }
    case 'gcp-instance': {
      const text = await fromGce(`${source.service_account ?? 'default'}/token`, asking);
      return valueOf('gce', text, 'json', asking);
    }
    case 'azure-federation': {
      const { name, audience = 'api://AzureADTokenExchange', resource } = source;
      const [tenant, clientId = ''] = name.split('/');
      const token = await subjectToken(source.token, audience, asking);
      const client = { clientId, clientSecret: null, auth: 'none' as const };
      const parameters = {
        scope: `${resource}/.default`,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: token,
      };
      const endpoint = `${services.entra}/${tenant}/oauth2/v2.0/token`;
      const question = { endpoint, client, grantType: 'client_credentials', parameters };
      return askToken('entra', question, token, asking);
    }
    case 'azure-instance': {
      const { resource, client_id } = source;
      const text = await fromAzure({ resource, ...(client_id === undefined ? {} : { client_id }) }, asking);
      return valueOf('azure', text, 'json', asking);
    }
  }
}

/** Checks what needs no request. @throws SidekeyError `source_failed` */
export function checkCloud(source: CloudSource, asking: Pick<CloudAsking, 'env' | 'readFile'>): void {
  const token = 'token' in source ? source.token : '';
  if (token === 'github') githubRequest('', asking);
  else if (token.startsWith('file:')) fileToken(token, asking);
}

/** Returns the token that names this workload, for an audience. */
async function subjectToken(token: string, audience: string, asking: CloudAsking): Promise<string> {
  if (token === 'gcp-instance')
    return fromGce(`default/identity?audience=${encodeURIComponent(audience)}&format=full`, asking);
  if (token !== 'github' && token !== 'azure-instance') return fileToken(token, asking);
  const text = await (token === 'github'
    ? ask(token, githubRequest(audience, asking), asking)
    : fromAzure({ resource: audience }, asking));
  return secretText(valueOf(token === 'github' ? token : 'azure', text, 'json', asking).credential);
}

/** Reads `file:PATH` anew, because Kubernetes replaces the token before it expires. */
function fileToken(token: string, { readFile }: Pick<CloudAsking, 'readFile'>): string {
  try {
    return readFile(token.slice('file:'.length)).trim();
  } catch (error) {
    if (error instanceof SidekeyError && /ENOENT|ENOTDIR/.test(error.message))
      throw failed('file', error.message);
    throw error;
  }
}

/** https://docs.github.com/en/actions/reference/security/oidc */
function githubRequest(audience: string, { env }: Pick<CloudAsking, 'env'>): CloudRequest {
  const url = URL.parse(env['ACTIONS_ID_TOKEN_REQUEST_URL'] ?? '');
  const secret = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'] ?? '';
  if (url === null || secret === '') throw failed('github', 'ACTIONS_ID_TOKEN_REQUEST_URL is not set');
  url.searchParams.set('audience', audience);
  return { url: url.href, headers: { authorization: `Bearer ${secret}` } };
}

/** Only version 2: version 1 also answers a GET that some program was tricked to send. */
async function instanceKeys(asking: CloudAsking): Promise<string> {
  const base = `${asking.services.metadata}/latest`;
  const ttl = { 'x-aws-ec2-metadata-token-ttl-seconds': '300' };
  const token = await ask('ec2', { url: `${base}/api/token`, method: 'PUT', headers: ttl }, asking);
  const headers = { 'x-aws-ec2-metadata-token': token };
  const url = `${base}/meta-data/iam/security-credentials/`;
  const role = await ask('ec2', { url, headers }, asking);
  return ask('ec2', { url: url + encodeURIComponent(role), headers }, asking);
}

/** Returns the request for the keys of a task of ECS or a pod of EKS; null: Sidekey runs in neither. */
function containerRequest({ env, services, readFile }: CloudAsking): CloudRequest | null {
  const path = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'];
  const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI'];
  if (path === undefined && full === undefined) return null;
  const url = URL.parse(path ?? full ?? '', path === undefined ? undefined : services.container);
  if (url?.protocol !== 'http:' || !containerHost.test(url.hostname))
    throw failed('container', 'its host is no container endpoint');
  // Placeholders from there open no service.
  if (url.pathname === awsEndpoint) throw failed('container', 'it is the endpoint of a Sidekey');
  const file = env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'];
  const authorization = file === undefined ? env['AWS_CONTAINER_AUTHORIZATION_TOKEN'] : readFile(file).trim();
  return { url: url.href, headers: authorization === undefined ? {} : { authorization } };
}

/** https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys */
function fromGce(path: string, asking: CloudAsking): Promise<string> {
  const url = `${asking.services.metadata}/computeMetadata/v1/instance/service-accounts/${path}`;
  return ask('gce', { url, headers: { 'metadata-flavor': 'Google' } }, asking);
}

/** https://learn.microsoft.com/en-us/entra/identity/managed-identities-azure-resources/how-to-use-vm-token */
function fromAzure(parameters: Readonly<Record<string, string>>, asking: CloudAsking): Promise<string> {
  const query = new URLSearchParams({ 'api-version': '2018-02-01', ...parameters }).toString();
  const url = `${asking.services.metadata}/metadata/identity/oauth2/token?${query}`;
  return ask('azure', { url, headers: { metadata: 'true' } }, asking);
}

type CloudRequest = Pick<EndpointRequest, 'url' | 'headers'> & Partial<EndpointRequest>;

/** The address guard is for requests of agents, and a metadata service is behind no proxy. */
const local = { ca: [], resolve: new Map(), privateAddresses: ['0.0.0.0/0', '::/0'], limits: defaultLimits };

/** Returns the text of a 2xx answer. @throws SidekeyError `source_failed` */
async function ask(at: string, request: CloudRequest, asking: CloudAsking, token = ''): Promise<string> {
  const isLocal = ['ec2', 'container', 'gce', 'azure'].includes(at);
  const client = isLocal ? createUpstreamClient({ ...local, ownPorts: () => [] }) : null;
  const answer = await askEndpoint(
    { name: 'the service', method: 'GET', body: null, isLocal, ...request },
    ioOf(client === null ? asking : { ...asking, fetch: () => client.fetch }, isLocal ? localMs : remoteMs),
  );
  await client?.close();
  if (answer.kind !== 'answer') throw failed(at, answer, token);
  const { status, text } = answer;
  if (status >= 200 && status < 300) return text.trim();
  const body = jsonObject(text) ?? {};
  const said = ['error_description', 'error.message', 'message'].map((path) => memberAt(body, path));
  const secrets = [token, ...Object.values(request.headers)];
  const words = describe(said.find((each) => typeof each === 'string') ?? '', secrets);
  throw failed(at, withDescription(`HTTP ${status}`, words), token);
}

/** Asks a token endpoint. @throws SidekeyError `source_failed` */
async function askToken(
  at: string,
  question: Pick<TokenQuestion, 'endpoint' | 'client' | 'grantType' | 'parameters'>,
  token: string,
  asking: CloudAsking,
): Promise<SourceValue> {
  const whole = { ...question, dialect: plainDialect, secrets: [token] };
  const answer = await askTokenEndpoint(whole, ioOf(asking));
  if (answer.kind !== 'tokens') throw failed(at, answer, token);
  return { credential: { type: 'api_key', value: answer.accessToken }, expiresAt: answer.expiresAt };
}

function ioOf({ fetch, now, signal }: CloudAsking, ms = remoteMs): TokenIo {
  return { fetch: fetch(), now, signal: AbortSignal.any([signal, AbortSignal.timeout(ms)]) };
}

/** Reads an answer as the output of a helper. @throws SidekeyError `source_failed` */
function valueOf(at: string, text: string, form: SourceForm, { now }: Pick<CloudAsking, 'now'>): SourceValue {
  try {
    return readValue(text, form, now);
  } catch (error) {
    if (error instanceof SidekeyError) throw failed(at, error.message);
    throw error;
  }
}
