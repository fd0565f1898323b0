import { describe, expect, test } from 'vitest';
import { assumeRole, type AssumeRoleRequest } from '../../../../src/grants/oauth/aws-role.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const request: AssumeRoleRequest = {
  endpoint: 'https://sts.amazonaws.com',
  keys: {
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG',
    sessionToken: null,
  },
  roleArn: 'arn:aws:iam::123456789012:role/agents',
  sessionName: 'sidekey',
  externalId: 'shared & more',
  durationSeconds: 900,
  region: null,
};
const good = (over: Readonly<Record<string, string>> = {}) => {
  const elements = {
    AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
    SecretAccessKey: 'secret/+of=the.role',
    SessionToken: 'FwoGZXIvYXdzEBc//token==',
    Expiration: '2027-01-01T00:15:00Z',
    ...over,
  };
  const text = Object.entries(elements).map(([name, value]) => `<${name}>${value}</${name}>`);
  return new Response(
    `<AssumeRoleResponse><Credentials>${text.join('\n')}</Credentials></AssumeRoleResponse>`,
  );
};
const bad =
  (status: number, code: string, message = 'no') =>
  () =>
    new Response(
      `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
      {
        status,
      },
    );

async function ask(
  answer: () => Response | Promise<Response> = good,
  changes: Partial<AssumeRoleRequest> = {},
) {
  const { fetch, asked } = fakeEndpoint(answer);
  const outcome = await assumeRole({ ...request, ...changes }, { fetch, now: () => now });
  return { outcome, asked };
}

describe('the request for a role', () => {
  test('is signed for STS, and names the role', async () => {
    const { asked } = await ask();
    expect(asked).toMatchObject([
      {
        url: 'https://sts.amazonaws.com/',
        method: 'POST',
        redirect: 'manual',
        form: {
          Action: 'AssumeRole',
          Version: '2011-06-15',
          RoleArn: request.roleArn,
          RoleSessionName: 'sidekey',
          ExternalId: 'shared & more',
          DurationSeconds: '900',
        },
      },
    ]);
    expect(asked[0]?.headers['authorization']).toMatch(
      /^AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE\/20270101\/us-east-1\/sts\/aws4_request, SignedHeaders=content-type;host;x-amz-date, /,
    );
  });

  test.each([
    ['https://sts.amazonaws.com', 'eu-west-1', 'https://sts.eu-west-1.amazonaws.com/'],
    ['https://sts.amazonaws.com', 'cn-north-1', 'https://sts.cn-north-1.amazonaws.com.cn/'],
    ['https://sts.acme.test/', 'eu-west-1', 'https://sts.acme.test/'],
  ])('at %s in %s is sent to %s', async (endpoint, region, url) => {
    const { asked } = await ask(good, { endpoint, region });
    expect(asked[0]?.url).toBe(url);
    expect(asked[0]?.headers['authorization']).toContain(`/${region}/sts/`);
  });

  test('with temporary keys contains their session token, signed', async () => {
    const { asked } = await ask(good, { keys: { ...request.keys, sessionToken: 'session' } });
    expect(asked[0]?.headers).toMatchObject({ 'x-amz-security-token': 'session' });
    expect(asked[0]?.headers['authorization']).toContain('x-amz-security-token');
  });

  test('is not sent without TLS', async () => {
    const { outcome, asked } = await ask(good, { endpoint: 'http://sts.amazonaws.com' });
    expect(outcome).toMatchObject({ kind: 'refused', error: 'endpoint_invalid' });
    expect(asked).toEqual([]);
  });
});

describe('the response for a role', () => {
  test('is converted to keys with their expiry', async () => {
    expect((await ask()).outcome).toEqual({
      kind: 'renewed',
      accessToken: 'ASIAIOSFODNN7EXAMPLE:secret/+of=the.role:FwoGZXIvYXdzEBc//token==',
      refreshToken: null,
      expiresAt: Date.parse('2027-01-01T00:15:00Z'),
      obtainedAt: now,
      scope: null,
    });
  });

  test.each([
    { SessionToken: '' },
    { AccessKeyId: 'a:b' },
    { SecretAccessKey: 'a:b' },
    { Expiration: 'soon' },
  ])('is refused when a member is missing: %j', async (over) => {
    expect((await ask(() => good(over))).outcome).toMatchObject({ kind: 'later' });
  });

  test.each([
    [403, 'AccessDenied', { kind: 'refused', error: 'AccessDenied', description: 'no' }],
    [403, 'SignatureDoesNotMatch', { kind: 'refused' }],
    [403, 'InvalidClientTokenId', { kind: 'refused', ends: 'grant' }],
    [403, 'ExpiredToken', { kind: 'refused', ends: 'grant' }],
    [400, 'Throttling', { kind: 'later' }],
    [400, 'a code with spaces', { kind: 'refused', error: 'http_400' }],
    [503, 'ServiceUnavailable', { kind: 'later' }],
  ])('%d %s', async (status, code, outcome) => {
    expect((await ask(bad(status, code))).outcome).toMatchObject(outcome);
  });

  test('that repeats the secret is reported without it', async () => {
    const { outcome } = await ask(bad(403, 'AccessDenied', `not ${request.keys.secretAccessKey}`));
    expect(JSON.stringify(outcome)).not.toContain('K7MDENG');
  });
});
