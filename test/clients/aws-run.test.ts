/** SDKs of AWS below `sidekey run`: keys from the environment, and from the endpoint of a container. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { startAwsDouble } from '../support/aws/aws-double.ts';
import { realKeys } from '../support/aws/aws-proxy.ts';
import { botocoreMissing, python } from '../support/aws/python.ts';
import { findClient } from '../support/client-program.ts';
import { checkout, home, runProgram } from '../support/command-line.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { packageMissing, withPackages } from './support/stage.ts';

const aws = await findClient('aws', ['--version']);

/** Each prints the number of bytes that the double counted in a request. */
const boto3 = `
import os, boto3
dynamodb = boto3.client("dynamodb", endpoint_url=os.environ["URL"])
print(dynamodb.list_tables(Limit=5)["TableNames"][0])
`;
const javascript = `
import { S3Client, PutObjectCommand } from '@aws-sdk/client-s3';
import { STSClient, AssumeRoleCommand } from '@aws-sdk/client-sts';
const s3 = new S3Client({ endpoint: process.env.S3_URL, forcePathStyle: true });
await s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'one', Body: 'hello' }));
const sts = new STSClient({ endpoint: process.env.STS_URL });
await sts.send(new AssumeRoleCommand({ RoleArn: 'arn:aws:iam::1:role/a', RoleSessionName: 'a' })).catch((error) => {
  if (error.name !== 'AccessDenied') throw error;
});
console.log('12');
`;

const programsOfAws = [
  { name: 'boto3', why: botocoreMissing, command: [python, 'ask.py'], services: ['dynamodb'] },
  {
    name: 'the AWS CLI',
    why: aws.missing,
    command: [
      'sh',
      '-c',
      'aws --endpoint-url "$URL" dynamodb list-tables --limit 5 --query TableNames[0] --output text',
    ],
    services: ['dynamodb'],
  },
  {
    name: 'the SDK for JavaScript',
    why: packageMissing('@aws-sdk/client-s3'),
    command: [process.execPath, 'ask.mjs'],
    services: ['s3', 'sts'],
  },
];

for (const { name, why, command, services } of programsOfAws) {
  const missing = botocoreMissing === false ? why : botocoreMissing;
  test.skipIf(missing !== false).each([
    ['keys in its environment', []],
    ['the endpoint', ['env', '-u', 'AWS_ACCESS_KEY_ID', '-u', 'AWS_SECRET_ACCESS_KEY']],
  ])(
    `${name} signs with placeholders of %s${missing === false ? '' : ` (${missing})`}`,
    { timeout: 60_000 },
    async (_what, before) => {
      const double = await startAwsDouble(realKeys);
      const everywhere = `*.amazonaws.com:${double.port}`;
      const at = await home({
        upstream: {
          ca: ['aws-ca.pem'],
          resolve: Object.fromEntries(double.hosts.map((host) => [host, '127.0.0.1'])),
          private_addresses: ['127.0.0.1/32'],
        },
        domains: { [everywhere]: { grant: 'aws' } },
      });
      await writeFile(at.at('config', 'aws-ca.pem'), double.ca);
      const keys = { type: 'aws', access_key_id: realKeys.id, secret_access_key: realKeys.secret };
      await at.grant('aws', keys, ['--provider', 'aws', '--audience', everywhere]);
      const url = (service: string) => `https://${service}.eu-west-1.amazonaws.com:${double.port}`;
      const room = await tempFolder();
      await writeFile(join(room, 'ask.py'), boto3);
      await writeFile(join(room, 'ask.mjs'), withPackages(javascript));
      const flags = ['--config', at.configFile, '--show', checkout, '--show', dirname(dirname(python)), '--'];
      const ran = await runProgram(['run', ...flags, ...before, ...command], room, {
        env: {
          AWS_REGION: 'eu-west-1',
          AWS_DEFAULT_REGION: 'eu-west-1',
          AWS_PROFILE: 'of-the-person',
          URL: url('dynamodb'),
          S3_URL: url('s3'),
          STS_URL: url('sts'),
        },
      });
      if (ran.exit !== 0) throw new Error(ran.stderr);
      expect(ran).toMatchObject({ exit: 0, stdout: '12\n' });
      expect(double.seen.map(({ service }) => service)).toEqual(services);
      expect(double.seen.filter(({ refused }) => refused !== undefined)).toEqual([]);
      expect(ran.stderr).toContain('removed AWS_PROFILE');
      expect(JSON.stringify(ran)).not.toContain(realKeys.id);
    },
  );
}
