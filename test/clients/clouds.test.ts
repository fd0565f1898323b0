/** SDKs of the clouds through the proxy, with grants whose sources exchange the identity of the workload. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SourceCredential } from '../../src/domain/credential.ts';
import { placeholder, startAwsProxy } from '../support/aws/aws-proxy.ts';
import { botocoreMissing, python } from '../support/aws/python.ts';
import { clientEnvironment, findClient } from '../support/client-program.ts';
import {
  account,
  accountToken,
  azureAccessToken,
  azureApp,
  type Clouds,
  federatedToken,
  podToken,
  poolProvider,
  roleArn,
  startClouds,
  temporaryKeys,
  vault,
} from '../support/clouds.ts';
import { startSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startUpstream } from '../support/upstream.ts';

const aws = await findClient('aws', ['--version']);
const google = await findClient(python, ['-c', 'import google.auth, requests']);
const azure = await findClient(python, ['-c', 'import azure.keyvault.secrets']);

const sourceOf = (from: string): SourceCredential => ({ type: 'source', from, form: null, ttlMs: null });

type Prepared = readonly [from: string, env: Readonly<Record<string, string>>];

/** Writes a projected token of Kubernetes, and returns the reference to it. */
async function projected(clouds: Clouds, audience: string): Promise<string> {
  const file = join(await tempFolder(), 'token');
  await writeFile(file, await clouds.sign({}, audience), { mode: 0o600 });
  return `file:${file}`;
}

const awsSources: readonly (readonly [string, (clouds: Clouds) => Promise<Prepared> | Prepared])[] = [
  ['a token of GitHub', ({ github }) => [`aws-web-identity:${roleArn}?token=github`, github]],
  [
    'a projected token',
    async (clouds) => [
      `aws-web-identity:${roleArn}?token=${await projected(clouds, 'sts.amazonaws.com')}`,
      {},
    ],
  ],
  ['the role of an instance', () => ['aws-instance', {}]],
  [
    'the role of a pod',
    ({ services }) => [
      'aws-instance',
      {
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `${services.container}/v1/credentials`,
        AWS_CONTAINER_AUTHORIZATION_TOKEN: podToken,
      },
    ],
  ],
];

async function startAws(prepare: (clouds: Clouds) => Promise<Prepared> | Prepared) {
  const clouds = await startClouds();
  const [from, env] = await prepare(clouds);
  return startAwsProxy(sourceOf(from), {}, { clouds: clouds.services, env });
}

describe.skipIf(botocoreMissing !== false)('boto3', () => {
  test.each(awsSources)('works with %s', { timeout: 60_000 }, async (_, prepare) => {
    const { folder, env, url, aws: double, onlySidekeyHadThem } = await startAws(prepare);
    const script = join(import.meta.dirname, '../support/aws/boto3_client.py');
    const boto3 = await findClient(python, ['-c', 'import boto3']);
    const { stdout } = await boto3.succeed(['-I', script, url('s3'), url('dynamodb')], { cwd: folder, env });
    expect(new Set(double.seen.map(({ id }) => id))).toEqual(new Set([temporaryKeys.id]));
    expect(stdout).toContain(placeholder.id);
    await onlySidekeyHadThem([stdout]);
  });
});

describe.skipIf(botocoreMissing !== false || aws.missing !== false)('the AWS CLI', () => {
  test.each(awsSources)('works with %s', { timeout: 60_000 }, async (_, prepare) => {
    const { folder, env, url, aws: double, onlySidekeyHadThem } = await startAws(prepare);
    await writeFile(join(folder, 'small'), 'small');
    const args = ['--endpoint-url', url('s3'), 's3', 'cp', 'small', 's3://bucket/small'];
    const { stdout, stderr } = await aws.succeed(args, { cwd: folder, env });
    expect(double.seen.map(({ id }) => id)).toEqual([temporaryKeys.id]);
    await onlySidekeyHadThem([stdout + stderr]);
  });
});

/** A proxy with a grant, an API that takes one token, and the run of a script of Python. */
async function runAgainst(
  prepare: (clouds: Clouds) => Promise<Prepared> | Prepared,
  token: string,
  script: readonly string[],
) {
  const clouds = await startClouds();
  const seen: string[] = [];
  const api = await startUpstream((request, response) => {
    const { authorization = '' } = request.headers;
    seen.push(authorization);
    response.statusCode = authorization === `Bearer ${token}` ? 200 : 401;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ value: 'hello', id: `${api.url}/secrets/a/1`, attributes: {} }));
  });
  const [from, env] = await prepare(clouds);
  const sidekey = await startSidekey({
    domains: { [api.authority]: { grant: 'acme' } },
    clouds: clouds.services,
    env,
  });
  await sidekey.grant([api.authority], { credential: sourceOf(from) });
  const folder = await tempFolder();
  const program = await findClient(python, ['-c', 'pass']);
  const ran = await program.succeed(['-I', '-c', script.join('\n'), api.url], {
    cwd: folder,
    env: { ...clientEnvironment(sidekey), REQUESTS_CA_BUNDLE: sidekey.caFile },
  });
  expect(ran.stdout).toBe('hello\n');
  expect(new Set(seen)).toEqual(new Set([`Bearer ${token}`]));
  const told = `${ran.stdout}${ran.stderr}${sidekey.logged()}${JSON.stringify(await sidekey.audit())}`;
  expect(told).not.toContain(token);
}

describe.skipIf(google.missing !== false)('google-auth', () => {
  const audience = `https://iam.googleapis.com/${poolProvider}`;
  test.each<[string, string, (clouds: Clouds) => Promise<Prepared> | Prepared]>([
    [
      'a projected token',
      federatedToken,
      async (clouds) => [`gcp-federation:${poolProvider}?token=${await projected(clouds, audience)}`, {}],
    ],
    [
      'a token of GitHub and a service account',
      accountToken,
      ({ github }) => [`gcp-federation:${poolProvider}?token=github&service_account=${account}`, github],
    ],
    ['the service account of an instance', accountToken, () => ['gcp-instance', {}]],
  ])('works with %s', { timeout: 60_000 }, async (_, token, prepare) => {
    await runAgainst(prepare, token, [
      'import sys',
      'from google.oauth2.credentials import Credentials',
      'from google.auth.transport.requests import AuthorizedSession',
      'print(AuthorizedSession(Credentials("placeholder")).get(sys.argv[1] + "/a").json()["value"])',
    ]);
  });
});

describe.skipIf(azure.missing !== false)('the Key Vault library of Azure', () => {
  const audience = 'api://AzureADTokenExchange';
  test.each<[string, (clouds: Clouds) => Promise<Prepared> | Prepared]>([
    [
      'a projected token',
      async (clouds) => [
        `azure-federation:${azureApp}?resource=${vault}&token=${await projected(clouds, audience)}`,
        {},
      ],
    ],
    [
      'a token of GitHub',
      ({ github }) => [`azure-federation:${azureApp}?resource=${vault}&token=github`, github],
    ],
    ['the identity of a VM', () => [`azure-instance?resource=${vault}`, {}]],
  ])('works with %s', { timeout: 60_000 }, async (_, prepare) => {
    await runAgainst(prepare, azureAccessToken, [
      'import sys, time',
      'from azure.core.credentials import AccessToken',
      'from azure.keyvault.secrets import SecretClient',
      'class Placeholder:',
      '    def get_token(self, *scopes, **options):',
      '        return AccessToken("placeholder", int(time.time()) + 3600)',
      'client = SecretClient(sys.argv[1], Placeholder(), verify_challenge_resource=False)',
      'print(client.get_secret("a").value)',
    ]);
  });
});
