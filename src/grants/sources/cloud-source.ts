import { z } from 'zod';

/** Sources that exchange the identity of this workload for credentials of a cloud. */

export const cloudTexts = [
  'aws-web-identity:ROLE_ARN?token=TOKEN',
  'aws-instance',
  'gcp-federation:projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER?token=TOKEN',
  'gcp-instance',
  'azure-federation:TENANT/CLIENT_ID?resource=URL&token=TOKEN',
  'azure-instance?resource=URL',
];

/** Base addresses of the services. The config cannot change them, because they receive tokens. */
export const cloudServices = {
  sts: 'https://sts.amazonaws.com/',
  google: 'https://sts.googleapis.com',
  account: 'https://iamcredentials.googleapis.com',
  entra: 'https://login.microsoftonline.com',
  metadata: 'http://169.254.169.254',
  container: 'http://169.254.170.2',
};

/** Path of Sidekey's own container endpoint, which gives out placeholders (decision 180). */
export const awsEndpoint = '/.sidekey/aws';

/** ARN of a role, whose name may have a path (IAM identifiers). */
export const roleArnForm = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;
const poolProvider = /^projects\/\d+\/locations\/global\/workloadIdentityPools\/[\w-]+\/providers\/[\w-]+$/;
const nameless = /^$/;

// Most values become part of an address or of a form.
const matching = (pattern: RegExp) => z.string().regex(pattern);
const token = matching(/^(?:github|gcp-instance|azure-instance|file:.+)$/);
const audience = matching(/^\S+$/).optional();
const region = matching(/^[a-z]{2}(?:-[a-z]+)+-\d$/).optional();
const service_account = matching(/^[\w.-]+@[\w.-]+$/).optional();
const resource = matching(/^[\w.:/-]+$/);
const client_id = matching(/^[\w-]+$/).optional();

const form = <Cloud extends string, Options extends object>(cloud: Cloud, name: RegExp, options: Options) =>
  z.strictObject({ kind: z.literal('cloud'), cloud: z.literal(cloud), name: matching(name), ...options });

const cloudSource = z.discriminatedUnion('cloud', [
  form('aws-web-identity', roleArnForm, { token, audience, region }),
  form('aws-instance', nameless, {}),
  form('gcp-federation', poolProvider, { token, audience, service_account }),
  form('gcp-instance', nameless, { service_account }),
  form('azure-federation', /^[\w.-]+\/[\w-]+$/, { token, audience, resource }),
  form('azure-instance', nameless, { resource, client_id }),
]);

/** `name`: ARN of a role, resource name of a provider, or `TENANT/CLIENT_ID`; empty for an instance. */
export type CloudSource = z.infer<typeof cloudSource>;

/** Parses `CLOUD:NAME?OPTION=VALUE&…`, without escapes. Null: another source; a text: the problem. */
export function parseCloudSource(from: string): CloudSource | string | null {
  const [, cloud, name = '', query = ''] =
    /^((?:aws|gcp|azure)-[a-z-]+)(?::([^?]*))?(?:\?(.*))?$/.exec(from) ?? [];
  const text = cloudTexts.find((each) => each.split(/[:?]/, 1)[0] === cloud);
  if (text === undefined) return null;
  const options = [...query.matchAll(/([^=&]+)=?([^&]*)/g)].map(([, option, value]) => [option, value]);
  const parsed = cloudSource.safeParse({ ...Object.fromEntries(options), kind: 'cloud', cloud, name });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const member = issue?.path[0] ?? (issue?.code === 'unrecognized_keys' ? issue.keys[0] : '');
  return `The source ${cloud} has no valid ${String(member)}; its form is ${text}.`;
}
