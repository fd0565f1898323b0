import type { AwsKeys } from '../../../domain/credential.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import { refused } from '../scheme.ts';
import {
  algorithm,
  parseTimestamp,
  type Scope,
  scopeText,
  type Signer,
  uriDecode,
  uriEncode,
} from './signature.ts';

/** Scope of a signature: by the name of the host, and by the client's own signature. */

/** Services and region that a host may be signed for. */
interface Endpoint {
  readonly services: readonly string[];
  /** Null: any. */
  readonly region: string | null;
}

/** Service and region of a provider's hosts, if their names do not contain them. */
export interface EndpointRule {
  /** Null: derived from the host name, as at AWS. */
  readonly service: string | null;
  /** Null: derived from the host name; with `service` set: any region. */
  readonly region: string | null;
}

const suffixes = [
  '.amazonaws.com',
  '.amazonaws.com.cn',
  '.api.aws',
  '.api.amazonwebservices.com.cn',
  '.on.aws',
];

/** `us-east-1`, `us-gov-west-1`, `eu-isoe-west-1`. */
const region = String.raw`([a-z]{2,4}(?:-[a-z]+)+-\d{1,2})`;
const regionName = new RegExp(`^${region}$`);

/** Services whose hosts name the region first. */
const afterRegion: ReadonlySet<string> = new Set(['es', 'aoss', 'cloudsearch']);

/**
 * Signing names of services whose hosts have another name before the region. Keyed by all labels there, or by
 * the last one. If there are several names, all are in use.
 */
const signedAs: Readonly<Record<string, readonly string[]>> = {
  'a2i-runtime.sagemaker': ['sagemaker'],
  'agreement-marketplace': ['aws-marketplace'],
  'api.tunneling.iot': ['IoTSecuredTunneling', 'iotsecuredtunneling'],
  appconfigdata: ['appconfig'],
  appstream2: ['appstream'],
  'appsync-api': ['appsync'],
  'bedrock-agent': ['bedrock'],
  'bedrock-agent-runtime': ['bedrock'],
  'bedrock-agentcore-control': ['bedrock-agentcore'],
  'bedrock-data-automation': ['bedrock'],
  'bedrock-data-automation-runtime': ['bedrock'],
  'bedrock-runtime': ['bedrock'],
  'cassandra-streams': ['cassandra'],
  cloudhsmv2: ['cloudhsm'],
  'contact-lens': ['connect'],
  'data-ats.iot': ['iotdata', 'iotdevicegateway'],
  'data-signer': ['signer'],
  'data.iotevents': ['ioteventsdata'],
  'data.jobs.iot': ['iot-jobs-data'],
  ddb: ['dynamodb'],
  'deployment-marketplace': ['aws-marketplace'],
  'discovery-marketplace': ['aws-marketplace'],
  email: ['ses'],
  forecastquery: ['forecast'],
  'identity-chime': ['chime'],
  iot: ['iot', 'iotdata', 'iotdevicegateway', 'execute-api'],
  ivsrealtime: ['ivs'],
  'lambda-url': ['lambda'],
  'mail-manager': ['ses'],
  marketplace: ['aws-marketplace'],
  'media-pipelines-chime': ['chime'],
  'meetings-chime': ['chime'],
  'memory-db': ['memorydb'],
  'messaging-chime': ['chime'],
  'migrationhub-config': ['mgh'],
  'models-v2-lex': ['lex'],
  oidc: ['sso-oauth'],
  'participant.connect': ['execute-api'],
  'personalize-events': ['personalize'],
  'personalize-runtime': ['personalize'],
  pinpoint: ['mobiletargeting'],
  'portal.sso': ['awsssoportal'],
  'reporting-marketplace': ['aws-marketplace'],
  'runtime-v2-lex': ['lex'],
  's3-accesspoint': ['s3'],
  's3-control': ['s3'],
  'servicecatalog-appregistry': ['servicecatalog'],
  'sms-voice.pinpoint': ['sms-voice'],
  'voice-chime': ['chime'],
};

/** Parses the name of an AWS host; null if it is not one. */
export function endpointOf(host: string): Endpoint | null {
  const suffix = suffixes.find((each) => host.endsWith(each));
  if (suffix === undefined) return null;
  const labels = host.slice(0, -suffix.length).split('.');
  let region: string | null = null;
  const last = labels.at(-1)!;
  const before = labels.at(-2) ?? '';
  if (regionName.test(last)) region = labels.pop()!;
  else if (afterRegion.has(last) && regionName.test(before)) {
    region = before;
    labels.splice(-2, 1);
  } else if (last === 'us-gov') {
    labels.pop();
    region = 'us-gov-west-1';
  }
  if (labels.at(-1) === 'dualstack') labels.pop();
  const own = labels.pop();
  if (own === undefined || own === '') return null;
  // `s3-eu-west-1`, as S3 once named its hosts.
  const [, oldRegion] = /^s3-(.+)$/.exec(own) ?? [];
  if (region === null && oldRegion !== undefined && regionName.test(oldRegion)) {
    return { services: ['s3'], region: oldRegion };
  }
  // S3 Express has the zone in the name.
  const label = own.replace(/-fips$|^fips-/, '').replace(/^s3express-.+/, 's3express');
  const services = signedAs[[...labels, label].join('.')] ?? signedAs[label] ?? [label];
  // DNS resolves a bucket of any region under S3's one global name.
  if (region === null && label !== 's3') region = suffix.endsWith('.cn') ? 'cn-north-1' : 'us-east-1';
  return { services, region };
}

const clusterName = new RegExp(
  String.raw`^(?:[a-z0-9-]+\.)+(?:${region}\.eks\.amazonaws\.com(?:\.cn)?|eks-cluster\.${region}\.api\.(?:aws|amazonwebservices\.com\.cn))(?::\d+)?$`,
  'i',
);

/** Returns the region in the name of an EKS cluster's endpoint; null: the text is no such name. */
export function regionOfCluster(host: string): string | null {
  const [, usual, ofDualStack] = clusterName.exec(host) ?? [];
  return usual ?? ofDualStack ?? null;
}

/**
 * Returns the scope that a request is signed for. The region is always the host's, not the one that the
 * client signed for: otherwise a caller of one host could obtain signatures for another.
 *
 * @param asked scope that the client signed for; null: it did not sign
 * @param own the one region of the credential; null: any
 * @throws SidekeyError `policy_violation` if the scope is not that of the host, or is unknown
 */
export function scopeFor(
  authority: Authority,
  rule: EndpointRule,
  asked: Pick<Scope, 'region' | 'service'> | null,
  own: string | null,
): Pick<Scope, 'region' | 'service'> {
  const place = authorityText(authority);
  const named = endpointOf(authority.host);
  const services = rule.service === null ? named?.services : [rule.service];
  if (services === undefined) {
    const sentence = `Nothing says which service ${place} is, so nothing can be signed for it.`;
    throw refused(sentence, 'in the provider: inject: { aws_sigv4: { service: s3, region: us-east-1 } }');
  }
  const at = rule.region ?? (rule.service === null ? (named?.region ?? null) : null);
  const service = asked?.service ?? services[0]!;
  if (!services.includes(service)) {
    const sentence = `The client signed for the service ${service}, and ${place} is ${services.join(' or ')}.`;
    throw refused(sentence, 'sign for the service that is called');
  }
  const region = asked?.region ?? at ?? own ?? 'us-east-1';
  if (at !== null && region !== at) {
    const sentence = `The client signed for the region ${region}, and ${place} is in ${at}.`;
    throw refused(sentence, `set AWS_REGION=${at} for the client`);
  }
  if (own !== null && region !== own) {
    const sentence = `The credential of this grant is for the region ${own}, not for ${region}.`;
    throw refused(sentence, `set AWS_REGION=${own} for the client, or add the grant again with --replace`);
  }
  return { region, service };
}

/** Scope and fields of a client's signature, which is not checked itself: its keys are worthless. */
export interface ClientSignature {
  readonly scope: Pick<Scope, 'region' | 'service'>;
  /** Names in lower case. */
  readonly signedHeaders: readonly string[];
}

const scopeName = /^[A-Za-z0-9-]{1,64}$/;

/**
 * Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
 *
 * @throws SidekeyError `policy_violation`: the field is invalid, or of another scheme
 */
export function parseAuthorization(value: string): ClientSignature {
  const space = value.indexOf(' ');
  const scheme = space < 0 ? value : value.slice(0, space);
  if (scheme !== algorithm) throw notSigned(scheme);
  const parts = new Map<string, string>();
  for (const part of value.slice(space + 1).split(',')) {
    const [, key, text] = /^\s*(\w+)=(\S+)\s*$/.exec(part) ?? [];
    if (key === undefined || text === undefined || parts.has(key)) throw authorizationUnreadable();
    parts.set(key, text);
  }
  return readSignature(parts.get('Credential'), parts.get('SignedHeaders'));
}

/** Parses the parts of a field or a query. @throws SidekeyError as `parseAuthorization` */
function readSignature(credential: string | undefined, signedHeaders: string | undefined): ClientSignature {
  const [id, date, region, service, end, ...more] = credential?.split('/') ?? [];
  const isScope = end === 'aws4_request' && more.length === 0 && /^\d{8}$/.test(date ?? '');
  if (!isScope || id === '' || region === undefined || service === undefined) throw authorizationUnreadable();
  if (!scopeName.test(region) || !scopeName.test(service) || signedHeaders === undefined)
    throw authorizationUnreadable();
  return { scope: { region, service }, signedHeaders: signedHeaders.toLowerCase().split(';') };
}

/** Returns the reason why a request of another scheme is not signed. */
function notSigned(scheme: string): Error {
  if (scheme.startsWith('AWS4-ECDSA-')) {
    return refused(
      'The request is signed with Signature Version 4a (AWS4-ECDSA-P256-SHA256), and Sidekey signs with AWS4-HMAC-SHA256 alone.',
      'call one region: multi-Region access points are signed in no other way',
    );
  }
  if (scheme === 'AWS') {
    return refused(
      'The request is signed with Signature Version 2, which Sidekey does not sign.',
      'set the signature version of the client to s3v4 (boto3: Config(signature_version="s3v4"); AWS CLI: aws configure set default.s3.signature_version s3v4)',
    );
  }
  const sentence = `The request brings another Authorization than ${algorithm}, and the grant has nothing else to put in its place.`;
  return refused(sentence, 'have the client sign with any AWS keys, or send no Authorization');
}

function authorizationUnreadable(): Error {
  const sentence = `The client's ${algorithm} signature cannot be read.`;
  return refused(sentence, 'Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…');
}

/** A presigned URL. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
export interface PresignedQuery extends ClientSignature {
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Other parameters, unchanged. */
  readonly rest: readonly string[];
}

const signatureParameters = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Security-Token',
  'X-Amz-Signature',
] as const;
type SignatureParameter = (typeof signatureParameters)[number];

/**
 * Parses a query with a signature; null: it has none.
 *
 * @param path origin-form
 * @throws SidekeyError `policy_violation`: the signature is invalid
 */
export function parsePresigned(path: string): PresignedQuery | null {
  const mark = path.indexOf('?');
  if (mark < 0) return null;
  const found = new Map<SignatureParameter, string>();
  const rest: string[] = [];
  let isVersion2 = false;
  for (const parameter of path.slice(mark + 1).split('&')) {
    const [written = ''] = parameter.split('=', 1);
    const decoded = uriDecode(written).toString('latin1').toLowerCase();
    const name = signatureParameters.find((each) => each.toLowerCase() === decoded);
    if (decoded === 'awsaccesskeyid') isVersion2 = true;
    if (name === undefined) rest.push(parameter);
    else if (found.has(name)) throw refused(`The query has ${name} more than once.`);
    else found.set(name, uriDecode(parameter.slice(written.length + 1)).toString('latin1'));
  }
  if (isVersion2) throw notSigned('AWS');
  if (!found.has('X-Amz-Signature') && !found.has('X-Amz-Algorithm')) {
    if (found.size > 0) throw queryUnreadable();
    return null;
  }
  const scheme = found.get('X-Amz-Algorithm') ?? '';
  if (scheme !== algorithm) throw notSigned(scheme);
  const signature = readSignature(found.get('X-Amz-Credential'), found.get('X-Amz-SignedHeaders'));
  const from = parseTimestamp(found.get('X-Amz-Date') ?? '');
  const expires = found.get('X-Amz-Expires') ?? '';
  if (from === null || !/^\d{1,6}$/.test(expires)) throw queryUnreadable();
  return { ...signature, expiresAt: from + Number(expires) * 1000, rest };
}

/** Longest lifetime of a signed URL, in seconds. It is used at once. */
const maxLifetimeS = 300;

/**
 * Returns the query with all but the signature itself, which is signed.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `policy_violation`: the client's URL has expired
 */
export function unsignedQuery(
  presigned: PresignedQuery,
  { keys, now }: { readonly keys: AwsKeys; readonly now: number },
  { scope, timestamp }: Signer,
  signedHeaders: string,
): string {
  const left = Math.floor((presigned.expiresAt - now) / 1000);
  if (left <= 0) throw refused('The presigned URL has expired.', 'make a new one');
  const parameters: [SignatureParameter, string][] = [
    ['X-Amz-Algorithm', algorithm],
    ['X-Amz-Credential', `${keys.accessKeyId}/${scopeText(scope)}`],
    ['X-Amz-Date', timestamp],
    ['X-Amz-Expires', String(Math.min(left, maxLifetimeS))],
    ['X-Amz-SignedHeaders', signedHeaders],
  ];
  if (keys.sessionToken !== null) parameters.push(['X-Amz-Security-Token', keys.sessionToken]);
  return [...presigned.rest, ...parameters.map(([name, value]) => `${name}=${uriEncode(value)}`)].join('&');
}

function queryUnreadable(): Error {
  return refused(
    'The signature in the query cannot be read.',
    'a presigned URL has X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature',
  );
}
