/**
 * Temporary keys of an AWS role: STS AssumeRole. Not OAuth: the request is signed with other keys.
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
 */
import { isAccessKeyId, isAwsSecret, keysText, type Renewal } from '../../domain/credential.ts';
import {
  algorithm,
  canonicalRequest,
  createSigner,
  scopeText,
  sha256,
} from '../../proxy/schemes/sigv4/signature.ts';
import { askEndpoint, type EndpointAnswer, later, type TokenIo } from './http.ts';
import { describe } from './description.ts';
import type { RefreshOutcome } from './refresh.ts';

export interface AssumeRoleRequest extends Omit<Extract<Renewal, { kind: 'aws_role' }>, 'kind'> {
  /** HTTPS URL of STS. The global URL is replaced by that of the region. */
  readonly endpoint: string;
}

/** STS AssumeRoleWithWebIdentity: a token of an issuer that the role trusts, instead of a signature. */
interface WebIdentityRequest extends Omit<AssumeRoleRequest, 'keys'> {
  readonly token: string;
}

/** Signing region of the global host, used if none is named. */
const globalRegion = 'us-east-1';
const globalEndpoint = 'https://sts.amazonaws.com/';

/** Prefers the regional STS, which may be up when us-east-1 is down. Its keys are valid anywhere. */
function endpointFor({ endpoint, region }: Pick<AssumeRoleRequest, 'endpoint' | 'region'>): URL | null {
  const url = URL.parse(endpoint);
  if (url?.href !== globalEndpoint || region === null) return url;
  return URL.parse(`https://sts.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`);
}

/**
 * Requests keys. Never rejects because of AWS or the network. If AWS does not accept the signing keys,
 * returns a refusal that ends the grant: a person must provide others.
 */
export async function assumeRole(
  request: AssumeRoleRequest | WebIdentityRequest,
  io: TokenIo,
): Promise<RefreshOutcome> {
  const obtainedAt = io.now();
  const body = new URLSearchParams({
    ...('keys' in request
      ? { Action: 'AssumeRole' }
      : { Action: 'AssumeRoleWithWebIdentity', WebIdentityToken: request.token }),
    Version: '2011-06-15',
    RoleArn: request.roleArn,
    RoleSessionName: request.sessionName,
    ...(request.externalId === null ? {} : { ExternalId: request.externalId }),
    ...(request.durationSeconds === null ? {} : { DurationSeconds: String(request.durationSeconds) }),
  }).toString();
  const url = endpointFor(request);
  const isSigned = 'keys' in request && url !== null;
  const answer = await askEndpoint(
    {
      name: 'STS',
      url: url?.href ?? request.endpoint,
      method: 'POST',
      headers: isSigned ? signedFields(request, url, body, obtainedAt) : { 'content-type': formType },
      body,
    },
    io,
  );
  switch (answer.kind) {
    case 'answer':
      return outcomeOf(answer, 'keys' in request ? Object.values(request.keys) : [request.token], obtainedAt);
    case 'error':
      return { ...answer, kind: 'refused' };
    case 'later':
      return answer;
  }
}

const formType = 'application/x-www-form-urlencoded; charset=utf-8';

function signedFields(
  { keys, region }: AssumeRoleRequest,
  url: URL,
  body: string,
  now: number,
): Record<string, string> {
  const signer = createSigner(keys, { region: region ?? globalRegion, service: 'sts' }, now);
  const fields: Record<string, string> = {
    'content-type': formType,
    'x-amz-date': signer.timestamp,
    ...(keys.sessionToken === null ? {} : { 'x-amz-security-token': keys.sessionToken }),
  };
  const { text, signedHeaders } = canonicalRequest({
    method: 'POST',
    path: `${url.pathname}${url.search}`,
    fields: ['host', url.host, ...Object.entries(fields).flat()],
    signed: new Set(['host', ...Object.keys(fields)]),
    payload: sha256(body),
    service: 'sts',
  });
  const credential = `${keys.accessKeyId}/${scopeText(signer.scope)}`;
  const signature = signer.sign(algorithm, sha256(text));
  return {
    ...fields,
    authorization: `${algorithm} Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`,
  };
}

/** AWS errors for keys that are invalid or have expired. */
const unknownKeys: ReadonlySet<string> = new Set([
  'InvalidClientTokenId',
  'ExpiredToken',
  'UnrecognizedClientException',
]);

/** Temporary errors. */
const passing: ReadonlySet<string> = new Set([
  'Throttling',
  'ThrottlingException',
  'RequestLimitExceeded',
  'IDPCommunicationError',
]);

function outcomeOf(
  { status, text, retryAfterMs }: EndpointAnswer,
  secrets: readonly (string | null)[],
  obtainedAt: number,
): RefreshOutcome {
  if (status < 200 || status >= 300) {
    const error = element(text, 'Code') ?? `http_${status}`;
    const description = describe(
      element(text, 'Message') ?? '',
      secrets.filter((secret) => secret !== null),
    );
    if (passing.has(error)) return later(`STS answered with ${error}`, retryAfterMs);
    if (unknownKeys.has(error)) return { kind: 'refused', ends: 'grant', description };
    return {
      kind: 'refused',
      error: /^[A-Za-z_0-9]{1,64}$/.test(error) ? error : `http_${status}`,
      description,
    };
  }
  const keys = {
    accessKeyId: element(text, 'AccessKeyId') ?? '',
    secretAccessKey: element(text, 'SecretAccessKey') ?? '',
    sessionToken: element(text, 'SessionToken'),
  };
  const expiresAt = Date.parse(element(text, 'Expiration') ?? '');
  const isWhole =
    isAccessKeyId(keys.accessKeyId) &&
    isAwsSecret(keys.secretAccessKey) &&
    keys.sessionToken !== null &&
    isAwsSecret(keys.sessionToken) &&
    !Number.isNaN(expiresAt);
  if (!isWhole) return later('STS sent an answer without keys', retryAfterMs);
  return {
    kind: 'renewed',
    accessToken: keysText(keys),
    refreshToken: null,
    expiresAt,
    obtainedAt,
    scope: null,
  };
}

/** Returns the text of the first element of a name. STS sends elements without attributes or entities. */
function element(xml: string, name: string): string | null {
  return new RegExp(`<${name}>([^<&]*)</${name}>`).exec(xml)?.[1]?.trim() ?? null;
}
