/**
 * Which service and region a host of AWS is. A request is signed for these and no other, whatever scope its client
 * chose: else whoever may call one host could have signatures made that are meant for another.
 */
import { authorityText, type Authority } from '../../policy/authority.ts';
import { refused } from '../scheme.ts';
import type { Scope } from './signature.ts';

/** What a host may be signed for. */
interface Endpoint {
  readonly services: readonly string[];
  /** Null: any. */
  readonly region: string | null;
}

/** What a provider says of its hosts, where their names do not. */
export interface EndpointRule {
  /** Null: the name of the host says it, as AWS has it. */
  readonly service: string | null;
  /** Null: the name of the host says it, or with a service any. */
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
const regionName = /^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$/;

/** In these the region stands before the service. */
const afterRegion: ReadonlySet<string> = new Set(['es', 'aoss', 'cloudsearch']);

/**
 * Services that are signed by another name than the one before the region in their hosts, by all labels there or the last
 * one. Where two are written, both are in use.
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

/** Null: the name of the host does not say it. */
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
  // A bucket of any region answers to S3's one name, where the name server knows it.
  if (region === null && label !== 's3') region = suffix.endsWith('.cn') ? 'cn-north-1' : 'us-east-1';
  return { services, region };
}

/**
 * The scope that a request is signed for.
 *
 * @param asked what the client signed for; null: it did not sign
 * @param own the one region that the credential is for; null: any
 * @throws SidekeyError `policy_violation`: it is not the one of the host, or nothing says which it is
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
    throw refused(
      `Nothing says which service ${place} is, so nothing can be signed for it.`,
      'in the provider: inject: { aws_sigv4: { service: s3, region: us-east-1 } }',
    );
  }
  const at = rule.region ?? (rule.service === null ? (named?.region ?? null) : null);
  const service = asked?.service ?? services[0]!;
  if (!services.includes(service)) {
    throw refused(
      `The client signed for the service ${service}, and ${place} is ${services.join(' or ')}.`,
      'sign for the service that is called',
    );
  }
  const region = asked?.region ?? at ?? own ?? 'us-east-1';
  if (at !== null && region !== at) {
    throw refused(
      `The client signed for the region ${region}, and ${place} is in ${at}.`,
      `set AWS_REGION=${at} for the client`,
    );
  }
  if (own !== null && region !== own) {
    throw refused(
      `The credential of this grant is for the region ${own}, not for ${region}.`,
      `set AWS_REGION=${own} for the client, or add the grant again with --replace`,
    );
  }
  return { region, service };
}
