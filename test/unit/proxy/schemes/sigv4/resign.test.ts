import { describe, expect, it } from 'vitest';
import type { RequestHead } from '../../../../../src/proxy/schemes/scheme.ts';
import { planSigning, resign } from '../../../../../src/proxy/schemes/sigv4/sigv4.ts';
import { emptyHash, sha256 } from '../../../../../src/proxy/schemes/sigv4/signature.ts';

const keys = { accessKeyId: 'AKIAREALREALREALREAL', secretAccessKey: 'real-secret', sessionToken: null };
const now = Date.parse('2026-11-22T10:20:30Z');
const none = '0'.repeat(64);
const host = 'bucket.s3.eu-west-1.amazonaws.com';
const client = (signedHeaders = 'host;x-amz-date', scope = 'eu-west-1/s3') =>
  `AWS4-HMAC-SHA256 Credential=AKIAPLACEHOLDER/20200101/${scope}/aws4_request, SignedHeaders=${signedHeaders}, Signature=${none}`;

function request(over: Partial<RequestHead> & { fields?: readonly string[] } = {}): RequestHead {
  const { fields = [], ...rest } = over;
  const authority = over.authority ?? { scheme: 'https', host, port: 443 };
  return {
    method: 'GET',
    path: '/key',
    hasBody: false,
    ...rest,
    authority,
    fields: ['Host', authority.host, ...fields],
  };
}

function sign(it: RequestHead, means: Partial<Parameters<typeof resign>[2]> = {}) {
  const plan = planSigning(it, { service: null, region: null }, null);
  return resign(it, plan, { keys, now, bodyHash: null, chunkBytes: 100, ...means });
}

const fieldsOf = (added: readonly string[]) =>
  Object.fromEntries(added.flatMap((name, index) => (index % 2 === 0 ? [[name, added[index + 1]!]] : [])));

describe('a request that is signed again', () => {
  it('has the time of the proxy, whatever the time of the client', () => {
    const { added } = sign(
      request({ fields: ['X-Amz-Date', '20990101T000000Z', 'Authorization', client()] }),
    );
    expect(fieldsOf(added)).toMatchObject({
      'X-Amz-Date': '20261122T102030Z',
      Authorization: expect.stringContaining(
        'Credential=AKIAREALREALREALREAL/20261122/eu-west-1/s3/aws4_request',
      ),
    });
  });

  it('is signed with the session token of the grant instead of the token of the client', () => {
    const temporary = { ...keys, sessionToken: 'ours' };
    const it = request({
      fields: ['x-amz-security-token', 'theirs', 'Authorization', client('host;x-amz-security-token')],
    });
    const { added } = sign(it, { keys: temporary });
    expect(fieldsOf(added)['X-Amz-Security-Token']).toBe('ours');
    expect(fieldsOf(added)['Authorization']).toContain('x-amz-security-token');
    expect(fieldsOf(sign(it).added)['X-Amz-Security-Token']).toBeUndefined();
    expect(fieldsOf(sign(it).added)['Authorization']).not.toContain('x-amz-security-token');
  });

  it('has every x-amz field signed, and no field that changes on the way', () => {
    const { added } = sign(
      request({
        fields: [
          'Transfer-Encoding',
          'chunked',
          'X-Amz-Acl',
          'private',
          'Authorization',
          client('expect;host;transfer-encoding'),
        ],
      }),
    );
    expect(fieldsOf(added)['Authorization']).toContain(
      'SignedHeaders=host;x-amz-acl;x-amz-content-sha256;x-amz-date,',
    );
  });

  it('is signed even if the client did not sign', () => {
    expect(fieldsOf(sign(request()).added)['X-Amz-Content-Sha256']).toBe(emptyHash);
    expect(fieldsOf(sign(request({ hasBody: true })).added)['X-Amz-Content-Sha256']).toBe('UNSIGNED-PAYLOAD');
  });

  it('is signed with the hash of its body, without a hash field, outside S3', () => {
    const authority = { scheme: 'https', host: 'sqs.eu-west-1.amazonaws.com', port: 443 } as const;
    const it = request({ authority, method: 'POST', hasBody: true });
    expect(planSigning(it, { service: null, region: null }, null).payload).toEqual({ kind: 'unread' });
    const one = fieldsOf(sign(it, { bodyHash: sha256('one') }).added);
    expect(one['X-Amz-Content-Sha256']).toBeUndefined();
    expect(one['Authorization']).not.toBe(
      fieldsOf(sign(it, { bodyHash: sha256('two') }).added)['Authorization'],
    );
  });

  it.each([
    ['SigV4a', ['Authorization', 'AWS4-ECDSA-P256-SHA256 Credential=…'], /Version 4a/],
    ['Version 2', ['Authorization', 'AWS AKIA:abc='], /Version 2/],
    ['a bearer token', ['Authorization', 'Bearer abc'], /another Authorization/],
    [
      'no scope',
      ['Authorization', 'AWS4-HMAC-SHA256 Credential=A, SignedHeaders=host, Signature=b'],
      /cannot be read/,
    ],
    ['a duplicate parameter', ['Authorization', `${client()}, Credential=B`], /cannot be read/],
    ['two signatures', ['Authorization', client(), 'authorization', client()], /more than once/],
    ['events', ['x-amz-content-sha256', 'STREAMING-AWS4-HMAC-SHA256-EVENTS'], /events/],
    [
      'SigV4a chunks',
      ['x-amz-content-sha256', 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD'],
      /cannot sign for/,
    ],
    ['two hashes', ['x-amz-content-sha256', none, 'X-Amz-Content-SHA256', none], /more than once/],
  ])('is refused with %s', (_, fields, message) => {
    expect(() => sign(request({ fields }))).toThrow(expect.objectContaining({ code: 'policy_violation' }));
    expect(() => sign(request({ fields }))).toThrow(message);
  });

  it('is refused for an S3 Express session', () => {
    const authority = {
      scheme: 'https',
      host: 'b--x.s3express-use1-az4.us-east-1.amazonaws.com',
      port: 443,
    } as const;
    expect(() =>
      sign(request({ authority, fields: ['Authorization', client('host', 'us-east-1/s3express')] })),
    ).toThrow(/S3 Express/);
  });
});

const query = (over: Readonly<Record<string, string>> = {}) =>
  new URLSearchParams({
    versionId: 'x',
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': 'AKIAPLACEHOLDER/20261122/eu-west-1/s3/aws4_request',
    'X-Amz-Date': '20261122T102000Z',
    'X-Amz-Expires': '3600',
    'X-Amz-SignedHeaders': 'host',
    'X-Amz-Security-Token': 'theirs',
    'X-Amz-Signature': none,
    ...over,
  }).toString();

describe('a presigned URL', () => {
  it('is signed again for some minutes', () => {
    const { path, added } = sign(request({ path: `/key?${query()}` }), {
      keys: { ...keys, sessionToken: 'to+ken/' },
    });
    expect(added).toEqual([]);
    const url = new URL(`https://host${path}`);
    expect(Object.fromEntries(url.searchParams)).toEqual({
      versionId: 'x',
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': 'AKIAREALREALREALREAL/20261122/eu-west-1/s3/aws4_request',
      'X-Amz-Date': '20261122T102030Z',
      'X-Amz-Expires': '300',
      'X-Amz-SignedHeaders': 'host',
      'X-Amz-Security-Token': 'to+ken/',
      'X-Amz-Signature': expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it('is not repeated in a redirect', () => {
    const { path, conceal } = sign(request({ path: `/key?${query()}` }), {
      keys: { ...keys, sessionToken: 'to+ken/+' },
    });
    const signature = /Signature=(\w+)/.exec(path)?.[1] ?? 'none';
    const [, location] = conceal!(['Location', `https://elsewhere.amazonaws.com${path}`]);
    expect(location).toContain('versionId=x');
    expect(location).not.toContain(signature);
    expect(location).not.toContain('to%2Bken');
  });

  it('expires no later than the URL of the client', () => {
    const { path } = sign(request({ path: `/key?${query({ 'X-Amz-Expires': '60' })}` }));
    expect(path).toContain('X-Amz-Expires=30');
  });

  it.each([
    ['has expired', query({ 'X-Amz-Expires': '30' }), /expired/],
    ['is truncated', query().replace(/&X-Amz-Date=\w+/, ''), /cannot be read/],
    ['has an incomplete signature', 'X-Amz-Credential=a&x=y', /cannot be read/],
    ['has an encoded parameter name', `${query()}&x-amz-%73ignature=a`, /more than once/],
    ['uses SigV4a', query({ 'X-Amz-Algorithm': 'AWS4-ECDSA-P256-SHA256' }), /Version 4a/],
    ['uses signature version 2', 'AWSAccessKeyId=A&Signature=b&Expires=1', /Version 2/],
    [
      'is for another region',
      query({ 'X-Amz-Credential': 'A/20261122/us-east-1/s3/aws4_request' }),
      /is in eu-west-1/,
    ],
  ])('that %s is refused', (_, asked, message) => {
    expect(() => sign(request({ path: `/key?${asked}` }))).toThrow(message);
  });

  it('with another signature in a field is refused', () => {
    expect(() => sign(request({ path: `/key?${query()}`, fields: ['Authorization', client()] }))).toThrow(
      /more than once/,
    );
  });
});

const send = async (body: string) => {
  const fields = ['x-amz-content-sha256', 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'Authorization', client()];
  const { rewriteBody } = sign(request({ fields, method: 'PUT', hasBody: true }));
  let sent = '';
  for await (const piece of rewriteBody!([Buffer.from(body)])) sent += piece.toString('latin1');
  return sent;
};

describe('a body in signed chunks', () => {
  const last = `0;chunk-signature=${none}\r\n\r\n`;

  it.each([
    ['no chunk', 'hello'],
    ['a chunk without a signature', '5\r\nhello\r\n0\r\n\r\n'],
    ['a chunk longer than its size', `4;chunk-signature=${none}\r\nhello\r\n${last}`],
    ['a truncated chunk', `5;chunk-signature=${none}\r\nhel`],
    ['no last chunk', `5;chunk-signature=${none}\r\nhello\r\n`],
    ['bytes after the last chunk', `${last}GET / HTTP/1.1\r\n`],
    ['an unterminated line', '0'.repeat(20_000)],
  ])('with %s is refused', async (_, body) => {
    await expect(send(body)).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('with chunks larger than the limit is refused', async () => {
    await expect(send(`65;chunk-signature=${none}\r\n`)).rejects.toMatchObject({ code: 'body_too_large' });
  });
});
