import { describe, expect, it } from 'vitest';
import { endpointOf, scopeFor } from '../../../../../src/proxy/schemes/sigv4/scope.ts';

const byName = { service: null, region: null };
const at = (host: string, port = 443) => ({ scheme: 'https', host, port }) as const;

describe('the service and region of a host', () => {
  it.each([
    ['dynamodb.eu-west-1.amazonaws.com', ['dynamodb'], 'eu-west-1'],
    ['dynamodb-fips.us-east-2.amazonaws.com', ['dynamodb'], 'us-east-2'],
    ['ec2.us-gov-west-1.amazonaws.com', ['ec2'], 'us-gov-west-1'],
    ['ec2.cn-north-1.amazonaws.com.cn', ['ec2'], 'cn-north-1'],
    ['lambda.eu-central-1.api.aws', ['lambda'], 'eu-central-1'],
    ['abc123.lambda-url.eu-central-1.on.aws', ['lambda'], 'eu-central-1'],
    ['iam.amazonaws.com', ['iam'], 'us-east-1'],
    ['iam.us-gov.amazonaws.com', ['iam'], 'us-gov-west-1'],
    ['route53.amazonaws.com.cn', ['route53'], 'cn-north-1'],
    ['s3.eu-west-3.amazonaws.com', ['s3'], 'eu-west-3'],
    ['s3.dualstack.eu-west-3.amazonaws.com', ['s3'], 'eu-west-3'],
    ['a.b.s3.eu-west-3.amazonaws.com', ['s3'], 'eu-west-3'],
    ['bucket.s3-fips.us-west-2.amazonaws.com', ['s3'], 'us-west-2'],
    ['bucket.s3-eu-west-1.amazonaws.com', ['s3'], 'eu-west-1'],
    ['point-123456789012.s3-accesspoint.us-west-2.amazonaws.com', ['s3'], 'us-west-2'],
    ['123456789012.s3-control.us-west-2.amazonaws.com', ['s3'], 'us-west-2'],
    ['us-east-1.s3.amazonaws.com', ['s3'], null],
    ['s3.amazonaws.com', ['s3'], null],
    ['email.us-east-1.amazonaws.com', ['ses'], 'us-east-1'],
    ['bedrock-runtime.us-east-1.amazonaws.com', ['bedrock'], 'us-east-1'],
    ['streams.dynamodb.us-east-1.amazonaws.com', ['dynamodb'], 'us-east-1'],
    ['api.ecr.us-east-1.amazonaws.com', ['ecr'], 'us-east-1'],
    ['runtime.sagemaker.us-east-1.amazonaws.com', ['sagemaker'], 'us-east-1'],
    ['a1b2.execute-api.us-east-1.amazonaws.com', ['execute-api'], 'us-east-1'],
    ['search-x-abc.us-east-1.es.amazonaws.com', ['es'], 'us-east-1'],
    ['abc.us-east-1.aoss.amazonaws.com', ['aoss'], 'us-east-1'],
    ['data.iotevents.us-east-1.amazonaws.com', ['ioteventsdata'], 'us-east-1'],
  ])('%s', (host, services, region) => {
    expect(endpointOf(host)).toEqual({ services, region });
  });

  it.each([
    'example.com',
    'amazonaws.com',
    'eu-west-1.amazonaws.com',
    's3.eu-west-1.amazonaws.com.example.com',
  ])('are null for %s', (host) => {
    expect(endpointOf(host)).toBeNull();
  });
});

describe('the credential scope of a signature', () => {
  it.each([
    // A service and a region that differ from those of the host.
    ['dynamodb.eu-west-1.amazonaws.com', { service: 's3', region: 'eu-west-1' }],
    ['dynamodb.eu-west-1.amazonaws.com', { service: 'iam', region: 'eu-west-1' }],
    ['dynamodb.eu-west-1.amazonaws.com', { service: 'dynamodb', region: 'us-east-1' }],
    ['a1b2.execute-api.us-east-1.amazonaws.com', { service: 's3', region: 'us-east-1' }],
    ['iam.amazonaws.com', { service: 'iam', region: 'eu-west-1' }],
  ])('at %s is never %o', (host, asked) => {
    expect(() => scopeFor(at(host), byName, asked, null)).toThrow(
      expect.objectContaining({ code: 'policy_violation' }),
    );
  });

  it('comes from the host if the client did not sign', () => {
    expect(scopeFor(at('sqs.eu-west-1.amazonaws.com'), byName, null, null)).toEqual({
      service: 'sqs',
      region: 'eu-west-1',
    });
    expect(scopeFor(at('b.s3.amazonaws.com'), byName, null, 'eu-west-1').region).toBe('eu-west-1');
    expect(scopeFor(at('b.s3.amazonaws.com'), byName, null, null).region).toBe('us-east-1');
  });

  it('has any region at the global host of S3', () => {
    const asked = { service: 's3', region: 'eu-west-1' };
    expect(scopeFor(at('b.s3.amazonaws.com'), byName, asked, null)).toEqual(asked);
  });

  it('comes from the provider definition for hosts outside AWS', () => {
    const asked = { service: 's3', region: 'auto' };
    const storage = at('minio.acme.test', 9000);
    expect(scopeFor(storage, { service: 's3', region: null }, asked, null)).toEqual(asked);
    expect(() => scopeFor(storage, { service: 's3', region: 'eu' }, asked, null)).toThrow(/is in eu/);
    expect(() => scopeFor(storage, byName, asked, null)).toThrow('which service minio.acme.test:9000 is');
    expect(() =>
      scopeFor(storage, { service: 's3', region: null }, { ...asked, service: 'sts' }, null),
    ).toThrow(/for the service sts/);
  });

  it('is limited to the region of the credential', () => {
    const asked = { service: 'sqs', region: 'eu-west-1' };
    expect(() => scopeFor(at('sqs.eu-west-1.amazonaws.com'), byName, asked, 'us-east-1')).toThrow(
      'for the region us-east-1, not for eu-west-1',
    );
  });
});
