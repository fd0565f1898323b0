/** Programs of AWS that assume a role get placeholders, and requests with them are signed with the role's keys. */
import { request } from 'node:https';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RequestSigner } from 'aws4';
import { expect, test } from 'vitest';
import type { AwsDouble, KeysOfDouble } from '../support/aws/aws-double.ts';
import { realKeys, startAwsProxy } from '../support/aws/aws-proxy.ts';
import { awsMinting } from '../support/aws/catalog-mints.ts';
import { botocoreMissing, python } from '../support/aws/python.ts';
import { findClient } from '../support/client-program.ts';
import { checkout } from '../support/command-line.ts';
import { packageMissing, withPackages } from './support/stage.ts';

const aws = await findClient('aws', ['--version']);

/** Each prints the keys that it got, and what was refused. */
const boto3 = `
import json, os, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
def client(name, keys):
    more = {} if keys is None else {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"], "aws_session_token": keys["SessionToken"]}
    config = Config(s3={"addressing_style": "path"})
    return boto3.client(name, endpoint_url=os.environ[name.upper() + "_URL"], config=config, **more)
def assume(keys, **more):
    return client("sts", keys).assume_role(RoleArn="arn:aws:iam::123456789012:role/agents", RoleSessionName="agent", **more)
first = assume(None, ExternalId="shared")
assert first["AssumedRoleUser"]["Arn"].endswith("role/agents") and first["ResponseMetadata"]["RequestId"], first
second = assume(first["Credentials"], ExternalId="shared")["Credentials"]
s3 = client("s3", first["Credentials"])
s3.put_object(Bucket="bucket", Key="one", Body=b"hello")
assert [each["Key"] for each in client("s3", second).list_objects_v2(Bucket="bucket")["Contents"]] == ["one"]
assert client("sts", second).get_caller_identity()["Account"] == "123456789012"
try:
    assume(second)
except ClientError as error:
    denied = error.response["Error"]["Code"]
print(json.dumps({"denied": denied, "keys": [first["Credentials"], second]}, default=str))
`;
const javascript = `
import { S3Client, PutObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { STSClient, AssumeRoleCommand, GetCallerIdentityCommand } from '@aws-sdk/client-sts';
const sts = (keys) => new STSClient({ endpoint: process.env.STS_URL, credentials: given(keys) });
const s3 = (keys) => new S3Client({ endpoint: process.env.S3_URL, forcePathStyle: true, credentials: given(keys) });
const given = (keys) => keys && { accessKeyId: keys.AccessKeyId, secretAccessKey: keys.SecretAccessKey, sessionToken: keys.SessionToken };
const assume = (keys, more) =>
  sts(keys).send(new AssumeRoleCommand({ RoleArn: 'arn:aws:iam::123456789012:role/agents', RoleSessionName: 'agent', ...more }));
const { Credentials: first } = await assume(undefined, { ExternalId: 'shared' });
const { Credentials: second } = await assume(first, { ExternalId: 'shared' });
await s3(first).send(new PutObjectCommand({ Bucket: 'bucket', Key: 'one', Body: 'hello' }));
await s3(second).send(new ListObjectsV2Command({ Bucket: 'bucket' }));
await sts(second).send(new GetCallerIdentityCommand({}));
const denied = await assume(second, {}).catch(({ name }) => name);
console.log(JSON.stringify({ denied, keys: [first, second] }));
`;
const commandLine = `
set -e
assume() { aws --endpoint-url "$STS_URL" sts assume-role --role-arn arn:aws:iam::123456789012:role/agents --role-session-name agent "$@"; }
use() {
  AWS_ACCESS_KEY_ID=$(printf %s "$1" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["Credentials"]["AccessKeyId"])')
  AWS_SECRET_ACCESS_KEY=$(printf %s "$1" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["Credentials"]["SecretAccessKey"])')
  AWS_SESSION_TOKEN=$(printf %s "$1" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["Credentials"]["SessionToken"])')
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
}
first=$(assume --external-id shared)
use "$first"
second=$(assume --external-id shared)
echo hello >one
aws --endpoint-url "$S3_URL" s3 cp one s3://bucket/one >&2
use "$second"
aws --endpoint-url "$S3_URL" s3 ls s3://bucket/ >&2
aws --endpoint-url "$STS_URL" sts get-caller-identity >&2
assume 2>denied && exit 1
printf '{"denied":"%s","keys":[%s,%s]}' "$(grep -o AccessDenied denied)" "$first" "$second"
`;

const programsOfAws = [
  { name: 'boto3', why: botocoreMissing, command: [python, 'ask.py'] },
  { name: 'the AWS CLI', why: aws.missing, command: ['sh', 'ask.sh'] },
  {
    name: 'the SDK for JavaScript',
    why: packageMissing('@aws-sdk/client-s3'),
    command: [process.execPath, '--require', join(checkout, 'config/node-proxy.cjs'), 'ask.mjs'],
  },
];

/** Sends a signed request past the proxy. Returns its status. */
async function asked({ port, ca }: AwsDouble, { id, secret, token }: KeysOfDouble): Promise<number> {
  const host = 'sts.eu-west-1.amazonaws.com';
  const body = 'Action=GetCallerIdentity&Version=2011-06-15';
  const signed = new RequestSigner(
    {
      host,
      service: 'sts',
      region: 'eu-west-1',
      method: 'POST',
      path: '/',
      body,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' },
    },
    { accessKeyId: id, secretAccessKey: secret, sessionToken: token },
  ).sign();
  return new Promise((resolve, reject) => {
    request(
      {
        host: '127.0.0.1',
        port,
        ca,
        servername: host,
        method: 'POST',
        headers: signed.headers as Record<string, string>,
      },
      (response) => resolve(response.resume().statusCode!),
    )
      .on('error', reject)
      .end(body);
  });
}

type Keys = Readonly<Record<'AccessKeyId' | 'SecretAccessKey' | 'SessionToken', string>>;

for (const { name, why, command } of programsOfAws) {
  const missing = botocoreMissing === false ? why : botocoreMissing;
  const title = `${name} uses a role, and a role of the role, with placeholders`;
  test.skipIf(missing !== false)(
    missing === false ? title : `${title} (${missing})`,
    { timeout: 60_000 },
    async () => {
      const proxy = await startAwsProxy();
      const { aws: double, sidekey, folder, url, env } = proxy;
      await sidekey.configure({ providers: { aws: await awsMinting(double.port) } });
      await writeFile(join(folder, 'ask.py'), boto3);
      await writeFile(join(folder, 'ask.sh'), commandLine);
      if (command.includes('ask.mjs')) await writeFile(join(folder, 'ask.mjs'), withPackages(javascript));
      await writeFile(join(folder, 'config'), '[default]\noutput = json\ns3 =\n  addressing_style = path\n');
      const [program, ...args] = command as [string, ...string[]];
      const { stdout, stderr } = await (
        await findClient(program, ['-c', ''].slice(0, program === process.execPath ? 0 : 2))
      ).succeed(args, {
        cwd: folder,
        env: {
          ...env,
          AWS_CONFIG_FILE: join(folder, 'config'),
          S3_URL: url('s3'),
          STS_URL: url('sts'),
          PYTHON: python,
        },
      });
      const { denied, keys } = JSON.parse(stdout) as {
        denied: string;
        keys: (Keys & { Credentials?: Keys })[];
      };
      expect(denied).toBe('AccessDenied');
      const seen = keys.map(({ Credentials, ...own }) => Credentials ?? own);
      expect(seen).toHaveLength(2);
      for (const { AccessKeyId: id, SecretAccessKey: secret, SessionToken: token } of seen) {
        expect(id).toMatch(/^ASIASIDE[A-Z2-7]{12}$/);
        expect(await asked(double, { id, secret, token })).toBe(403);
      }
      const { issued } = double;
      expect(issued).toHaveLength(2);
      for (const real of issued) expect(await asked(double, real)).toBe(200);
      const sent = double.seen
        .filter(({ refused }) => refused === undefined)
        .map(({ service, id }) => [service, [realKeys.id, ...issued.map((each) => each.id)].indexOf(id!)]);
      expect(sent.slice(0, 6)).toEqual([
        ['sts', 0],
        ['sts', 1],
        ['s3', 1],
        ['s3', 2],
        ['sts', 2],
        ['sts', 2],
      ]);
      for (const { id, secret, token } of issued)
        for (const text of [id, secret, token!])
          for (const place of [stdout, stderr, sidekey.logged(), JSON.stringify(await sidekey.audit())])
            expect(place).not.toContain(text);
      const minted = await sidekey.proxy.state.store.grants.minted({ limit: 9 });
      expect(new Set(minted.map(({ parent }) => parent)).size).toBe(1);
      expect(minted.map(({ type, mint }) => `${type} ${mint}`)).toEqual(['aws sts', 'aws sts']);
    },
  );
}
