import { oauth2Credential } from '../support/oauth2-credential.ts';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { otherKeys, startAwsProxy, placeholder, realKeys } from '../support/aws/aws-proxy.ts';
import { botocoreMissing, python } from '../support/aws/python.ts';
import { findClient } from '../support/client-program.ts';

const aws = await findClient('aws', ['--version']);
const curl = await findClient('curl', ['--aws-sigv4', 'aws:amz', '--version']);
const boto3 = await findClient(python, ['-c', 'import boto3']);

/** Only the test server, which uses botocore, verifies signatures. */
function suite(name: string, missing: string | false, tests: () => void): void {
  const why = botocoreMissing === false ? missing : botocoreMissing;
  describe.skipIf(why !== false)(why === false ? name : `${name} (${why})`, tests);
}

suite('the AWS CLI', aws.missing, () => {
  test('puts, gets, lists, deletes and presigns without the real keys', async () => {
    const { folder, env, url, aws: double, onlySidekeyHadThem } = await startAwsProxy();
    const small = randomBytes(1000);
    const large = randomBytes(20_000_000);
    await writeFile(join(folder, 'small'), small);
    await writeFile(join(folder, 'large'), large);
    const run = async (...args: string[]) => {
      const { stdout, stderr } = await aws.succeed(['--endpoint-url', url('s3'), ...args], {
        cwd: folder,
        env,
      });
      return stdout + stderr;
    };
    const said = [
      await run('s3', 'cp', 'small', 's3://bucket/a folder/small + ü'),
      await run('s3', 'cp', 'large', 's3://bucket/large'),
      await run('s3', 'cp', 's3://bucket/large', 'again'),
      await run('s3', 'ls', 's3://bucket/'),
      await run('s3', 'rm', 's3://bucket/large'),
      await run(
        's3api',
        'put-object',
        '--bucket',
        'bucket',
        '--key',
        'b',
        '--body',
        'small',
        '--metadata',
        'one=two',
      ),
    ];
    expect(large.equals(await readFile(join(folder, 'again')))).toBe(true);
    expect(said[3]).toContain('large');
    expect(double.seen.map(({ method }) => method)).toEqual(
      expect.arrayContaining(['PUT', 'GET', 'POST', 'DELETE']),
    );
    await onlySidekeyHadThem(said);
  });

  test('calls a service whose requests carry no body hash in a header', async () => {
    const { folder, env, url, onlySidekeyHadThem } = await startAwsProxy();
    const args = ['--endpoint-url', url('dynamodb'), 'dynamodb', 'list-tables', '--limit', '5'];
    const { stdout } = await aws.succeed(args, { cwd: folder, env });
    expect(JSON.parse(stdout)).toEqual({ TableNames: [String('{"Limit":5}'.length + 1)] });
    await onlySidekeyHadThem([stdout]);
  });

  test('is refused with a reason if it signs for a different region than the region of the host', async () => {
    const { folder, env, url, aws: double } = await startAwsProxy();
    const args = [
      '--endpoint-url',
      url('s3'),
      '--region',
      'us-east-1',
      's3api',
      'list-objects-v2',
      '--bucket',
      'bucket',
    ];
    const { exit } = await aws.run(args, { cwd: folder, env });
    expect(exit).not.toBe(0);
    expect(double.seen).toEqual([]);
  });

  test('uses the grant that the placeholder of the key ID names', async () => {
    const proxy = await startAwsProxy();
    const { folder, env, url, aws: double, sidekey, keyOf } = proxy;
    await proxy.addOther();
    await writeFile(join(folder, 'small'), 'small');
    await writeFile(join(folder, 'config'), '[default]\ns3 =\n  signature_version = s3v4\n');
    const withConfig = { ...env, AWS_CONFIG_FILE: join(folder, 'config') };
    const run = (id: string, ...args: string[]) =>
      aws.run(['--endpoint-url', url('s3'), ...args], {
        cwd: folder,
        env: { ...withConfig, AWS_ACCESS_KEY_ID: id },
      });
    const put = async (id: string) => (await run(id, 's3', 'cp', 'small', 's3://bucket/small')).exit;
    expect(await put(keyOf('aws'))).toBe(0);
    expect(await put(keyOf('other'))).toBe(0);
    const { stdout } = await run(keyOf('other'), 's3', 'presign', 's3://bucket/small');
    const got = await curl.succeed(['-sS', '--cacert', sidekey.caFile, stdout.trim()], { cwd: folder, env });
    expect(got.stdout).toBe('small');
    expect(double.seen.map(({ id }) => id)).toEqual([realKeys.id, otherKeys.id, otherKeys.id]);
  });

  test('works with keys of a role, which are fetched on demand', async () => {
    const setup = await startAwsProxy(
      oauth2Credential({
        renewal: {
          kind: 'aws_role',
          keys: { accessKeyId: realKeys.id, secretAccessKey: realKeys.secret, sessionToken: null },
          roleArn: 'arn:aws:iam::123456789012:role/agents',
          sessionName: 'sidekey',
          externalId: 'shared',
          durationSeconds: null,
          region: 'eu-west-1',
        },
      }),
    );
    const { folder, env, url, aws: double, sidekey } = setup;
    // A definition of the same form, whose STS is the double.
    await sidekey.configure({
      providers: {
        aws: {
          token_endpoint: url('sts'),
          flows: ['aws_role'],
          inject: 'aws_sigv4',
          audience: [`*.amazonaws.com:${double.port}`],
        },
      },
    });
    await writeFile(join(folder, 'small'), 'small');
    const args = ['--endpoint-url', url('s3'), 's3', 'cp', 'small', 's3://bucket/small'];
    const { stdout } = await aws.succeed(args, { cwd: folder, env });
    await aws.succeed(args, { cwd: folder, env });
    expect(double.seen.map(({ service }) => service)).toEqual(['sts', 's3', 's3']);
    expect(double.seen[1]?.id).toMatch(/^ASIA/);
    await setup.onlySidekeyHadThem([stdout]);
  });
});

suite('boto3', boto3.missing, () => {
  test('puts objects whole, streamed and in parts, and gets, lists, deletes and presigns', async () => {
    const { folder, env, url, aws: double, sidekey, onlySidekeyHadThem } = await startAwsProxy();
    const script = join(import.meta.dirname, '../support/aws/boto3_client.py');
    const { stdout } = await boto3.succeed(['-I', script, url('s3'), url('dynamodb')], { cwd: folder, env });
    const { tables, presigned } = JSON.parse(stdout) as { tables: string[]; presigned: string };
    expect(tables).toHaveLength(1);
    const modes = new Set(double.seen.map(({ mode }) => (mode?.length === 64 ? 'hash' : mode)));
    expect(modes).toEqual(new Set(['hash', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', null]));

    // A presigned URL is worth nothing by itself, and works through the proxy alone.
    expect(presigned).toContain(placeholder.id);
    const got = await curl.succeed(['-sS', '--fail', '--cacert', sidekey.caFile, '-i', presigned], {
      cwd: folder,
      env,
    });
    expect(got.stdout).toMatch(/small$/);
    await onlySidekeyHadThem([stdout, got.stdout]);
  });

  test('sends chunks that are signed individually, with and without trailers', async () => {
    const { folder, env, aws: double, sidekey, onlySidekeyHadThem } = await startAwsProxy();
    const script = join(import.meta.dirname, '../support/aws/signed_chunks_client.py');
    const args = [
      '-I',
      script,
      `s3.eu-west-1.amazonaws.com:${double.port}`,
      `127.0.0.1:${sidekey.port}`,
      sidekey.caFile,
    ];
    await boto3.succeed(args, { cwd: folder, env });
    expect(double.seen.map(({ mode, bytes }) => [mode, bytes])).toEqual([
      ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 300_000],
      ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', 300_000],
      ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 0],
    ]);
    await onlySidekeyHadThem([]);
  });
});

suite('curl', curl.missing, () => {
  test('accepts requests with --aws-sigv4 and unsigned requests', async () => {
    const { folder, env, url, aws: double, sidekey, onlySidekeyHadThem } = await startAwsProxy();
    await writeFile(join(folder, 'file'), 'of curl');
    const call = async (...args: string[]) =>
      (await curl.succeed(['-sS', '--fail', '--cacert', sidekey.caFile, ...args], { cwd: folder, env }))
        .stdout;
    const signed = [
      '--aws-sigv4',
      'aws:amz:eu-west-1:s3',
      '--user',
      `${placeholder.id}:${placeholder.secret}`,
    ];
    const target = `${url('s3')}/bucket/of%20curl`;
    await call(...signed, '-T', 'file', target);
    expect(await call(...signed, target)).toBe('of curl');
    expect(await call(target)).toBe('of curl');
    await call('-T', 'file', `${url('s3')}/bucket/other`);
    await call('-d', '{}', '-H', 'X-Amz-Target: DynamoDB_20120810.ListTables', url('dynamodb'));
    expect(double.seen.map(({ service }) => service)).toEqual(['s3', 's3', 's3', 's3', 'dynamodb']);
    await onlySidekeyHadThem([]);
  });

  test('is refused if its body is too large to be hashed', async () => {
    const {
      folder,
      env,
      url,
      sidekey,
      aws: double,
    } = await startAwsProxy(undefined, { limits: { signed_body_bytes: 2000 } });
    await writeFile(join(folder, 'file'), 'x'.repeat(2001));
    const args = ['-sS', '--cacert', sidekey.caFile, '--data-binary', '@file', url('dynamodb')];
    const { stdout } = await curl.succeed(args, { cwd: folder, env });
    expect(JSON.parse(stdout)).toMatchObject({
      code: 'body_too_large',
      hint: expect.stringContaining('signed_body_bytes'),
    });
    expect(double.seen).toEqual([]);
  });
});
