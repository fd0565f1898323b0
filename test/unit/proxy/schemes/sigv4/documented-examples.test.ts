/**
 * Exact examples from the AWS documentation: "Examples: Signature Calculations", "Signature calculations
 * … chunked upload" and "… with trailing headers" of the Amazon S3 API Reference. Their keys are AWS's own.
 */
import { describe, expect, it } from 'vitest';
import { planSigning, resign, type Signed } from '../../../../../src/proxy/schemes/sigv4/sigv4.ts';
import { canonicalRequest, createSigner, sha256 } from '../../../../../src/proxy/schemes/sigv4/signature.ts';

const keys = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  sessionToken: null,
};
const now = Date.parse('2013-05-24T00:00:00Z');
const client = (signedHeaders: string) =>
  `AWS4-HMAC-SHA256 Credential=AKIAPLACEHOLDER00000/20130524/us-east-1/s3/aws4_request,SignedHeaders=${signedHeaders},Signature=${'0'.repeat(64)}`;

function signed(
  host: string,
  method: string,
  path: string,
  fields: readonly string[],
  hasBody = false,
): Signed {
  const request = {
    authority: { scheme: 'https', host, port: 443 } as const,
    method,
    path,
    fields: ['Host', host, ...fields],
    hasBody,
  };
  const plan = planSigning(request, { service: null, region: null }, null);
  return resign(request, plan, { keys, now, bodyHash: null, chunkBytes: 1_000_000 });
}

function signatureOf({ added }: Signed): string {
  return /Signature=(\w+)$/.exec(added[1] ?? '')?.[1] ?? '';
}

async function text(body: AsyncIterable<Buffer>): Promise<string> {
  let all = '';
  for await (const piece of body) all += piece.toString('latin1');
  return all;
}

describe('the signature of a documented request matches', () => {
  it('GET of an object with a range', () => {
    const it = signed('examplebucket.s3.amazonaws.com', 'GET', '/test.txt', [
      'Authorization',
      client('host;range;x-amz-content-sha256;x-amz-date'),
      'Range',
      'bytes=0-9',
      'x-amz-content-sha256',
      sha256(''),
      'x-amz-date',
      '20130524T000000Z',
    ]);
    expect(signatureOf(it)).toBe('f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
  });

  it('PUT of an object with a dollar sign in its name', () => {
    const it = signed(
      'examplebucket.s3.amazonaws.com',
      'PUT',
      '/test$file.text',
      [
        'Date',
        'Fri, 24 May 2013 00:00:00 GMT',
        'Authorization',
        client('date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class'),
        'x-amz-storage-class',
        'REDUCED_REDUNDANCY',
        'x-amz-content-sha256',
        '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      ],
      true,
    );
    expect(signatureOf(it)).toBe('98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd');
  });

  it.each([
    ['/?lifecycle', 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'],
    ['/?max-keys=2&prefix=J', '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7'],
  ])('GET %s', (path, signature) => {
    const it = signed('examplebucket.s3.amazonaws.com', 'GET', path, [
      'Authorization',
      client('host;x-amz-content-sha256;x-amz-date'),
      'x-amz-content-sha256',
      sha256(''),
    ]);
    expect(signatureOf(it)).toBe(signature);
  });

  it('a presigned URL', () => {
    const { text: canonical } = canonicalRequest({
      method: 'GET',
      path: '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host',
      fields: ['Host', 'examplebucket.s3.amazonaws.com'],
      signed: new Set(['host']),
      payload: 'UNSIGNED-PAYLOAD',
      service: 's3',
    });
    const signer = createSigner(keys, { region: 'us-east-1', service: 's3' }, now);
    expect(signer.sign('AWS4-HMAC-SHA256', sha256(canonical))).toBe(
      'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    );
  });
});

const data = Buffer.alloc(66_560, 'a');
const none = '0'.repeat(64);

const head = (hex: string, signature: string) => `${hex};chunk-signature=${signature}\r\n`;
const wire = (signatures: readonly string[]) =>
  [
    head('10000', signatures[0]!),
    data.subarray(0, 65_536).toString(),
    '\r\n',
    head('400', signatures[1]!),
    data.subarray(0, 1024).toString(),
    '\r\n',
    head('0', signatures[2]!),
    '\r\n',
  ].join('');

const withTrailers = (signatures: readonly string[]) =>
  `10000;chunk-signature=${signatures[0]}\r\n${'a'.repeat(65_536)}\r\n` +
  `400;chunk-signature=${signatures[1]}\r\n${'a'.repeat(1024)}\r\n` +
  `0;chunk-signature=${signatures[2]}\r\n` +
  `x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:${signatures[3]}\r\n\r\n`;

describe('the signature of a documented body matches', () => {
  const fields = [
    'x-amz-storage-class',
    'REDUCED_REDUNDANCY',
    'Content-Encoding',
    'aws-chunked',
    'x-amz-decoded-content-length',
    '66560',
  ];

  it('in signed chunks', async () => {
    const it = signed(
      's3.amazonaws.com',
      'PUT',
      '/examplebucket/chunkObject.txt',
      [
        'Authorization',
        client(
          'content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class',
        ),
        ...fields,
        'x-amz-content-sha256',
        'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
        'Content-Length',
        '66824',
      ],
      true,
    );
    expect(signatureOf(it)).toBe('4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9');

    const sent = wire([none, none, none]);
    expect(sent).toHaveLength(66_824);
    expect(await text(it.rewriteBody!([Buffer.from(sent)]))).toBe(
      wire([
        'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
        '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
        'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
      ]),
    );
  });

  it('in signed chunks with trailers', async () => {
    const it = signed(
      's3.amazonaws.com',
      'PUT',
      '/examplebucket/chunkObject.txt',
      [
        'Authorization',
        client(
          'content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer',
        ),
        ...fields,
        'x-amz-content-sha256',
        'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
        'x-amz-trailer',
        'x-amz-checksum-crc32c',
      ],
      true,
    );
    expect(signatureOf(it)).toBe('106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e');

    const answer = await text(it.rewriteBody!([Buffer.from(withTrailers([none, none, none, none]))]));
    expect(answer).toBe(
      withTrailers([
        'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
        '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
        '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
        'd81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435',
      ]),
    );
  });
});
