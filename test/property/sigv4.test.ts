import { RequestSigner } from 'aws4';
import { describe, expect, it } from 'vitest';
import { planSigning, resign } from '../../src/proxy/schemes/sigv4/sigv4.ts';
import {
  canonicalRequest,
  createSigner,
  sha256,
  uriEncode,
} from '../../src/proxy/schemes/sigv4/signature.ts';
import { signedChunks } from '../../src/proxy/schemes/sigv4/payload.ts';
import { botocoreMissing, runPython } from '../support/aws/python.ts';
import * as fc from '../support/fast-check.ts';

const keys = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  sessionToken: null,
};
const now = Date.parse('2026-11-22T10:20:30Z');
const host = 'things.us-east-1.amazonaws.com';

/** Texts that tell one canonicalisation from another. */
const piece = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'a',
        'B',
        '0',
        '-',
        '_',
        '.',
        '..',
        '~',
        ' ',
        '+',
        '%',
        '=',
        '&',
        '/',
        '?',
        '#',
        ':',
        '@',
      ),
      fc.constantFrom(
        "'",
        '(',
        ')',
        '*',
        '!',
        '$',
        ',',
        ';',
        '[',
        ']',
        'ü',
        '漢',
        '𝔘',
        '%2F',
        '%41',
        '\\',
        '"',
      ),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''));
const written = piece.map((text) => uriEncode(Buffer.from(text, 'utf8')));

const path = fc.array(fc.oneof(written, fc.constantFrom('', '.', '..', 'plain')), { maxLength: 6 });
const parameter = fc.tuple(
  written.filter((name) => name !== ''),
  fc.option(written, { nil: null }),
);
const query = fc
  .array(parameter, { maxLength: 5 })
  .map((all) => all.map(([name, value]) => (value === null ? name : `${name}=${value}`)).join('&'));
const fieldValue = fc
  .array(fc.constantFrom('a', 'B', '1', ' ', '  ', ',', ';', '"', '=', '\t', '/'), { maxLength: 10 })
  .map((parts) => parts.join('').trim());
const fieldNames = ['X-Amz-Meta-One', 'x-amz-meta-two', 'Range', 'Content-Type', 'x-amz-acl', 'If-Match'];

const request = fc.record({
  service: fc.constantFrom('s3', 'dynamodb', 'execute-api'),
  region: fc.constantFrom('us-east-1', 'eu-west-3'),
  method: fc.constantFrom('GET', 'PUT', 'POST', 'DELETE'),
  path: path.map((segments) => `/${segments.join('/')}`),
  query,
  fields: fc.array(fc.tuple(fc.constantFrom(...fieldNames), fieldValue), { maxLength: 5 }),
});

type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never;

function ours({ service, region, method, path: plain, query: asked, fields }: Asked, isIn = () => true) {
  const all = [
    'Host',
    host,
    ...fields.flat(),
    'X-Amz-Date',
    '20261122T102030Z',
    'X-Amz-Content-Sha256',
    sha256('x'),
  ];
  const { text } = canonicalRequest({
    method,
    path: asked === '' ? plain : `${plain}?${asked}`,
    fields: all,
    signed: new Set(
      all
        .filter((_, index) => index % 2 === 0)
        .map((name) => name.toLowerCase())
        .filter(isIn),
    ),
    payload: sha256('x'),
    service,
  });
  return {
    canonical: text,
    signature: createSigner(keys, { region, service }, now).sign('AWS4-HMAC-SHA256', sha256(text)),
  };
}

describe('the signature of a request', () => {
  it.skipIf(botocoreMissing !== false)('equals the signature of botocore', async () => {
    // It takes paths of S3 as they are, and never writes `%2F` itself. Who receives them decodes, as aws4 and
    // we do.
    const written = request.filter((each) => each.service !== 's3' || !each.path.includes('%2F'));
    const cases = fc.sample(written, { numRuns: 600, seed: 20_261_122 });
    const asked = cases.map((each) => ({
      ...each,
      host,
      path: each.query === '' ? each.path : `${each.path}?${each.query}`,
      timestamp: '20261122T102030Z',
      fields: [
        ['Host', host],
        ...each.fields,
        ['X-Amz-Date', '20261122T102030Z'],
        ['X-Amz-Content-SHA256', sha256('x')],
      ],
    }));
    const theirs = JSON.parse(await runPython('signatures.py', JSON.stringify(asked))) as unknown[];
    expect(theirs).toHaveLength(600);
    for (const [index, their] of theirs.entries()) expect(ours(cases[index]!)).toEqual(their);
  });

  it('equals the signature of aws4', () => {
    fc.assert(
      fc.property(request, (asked) => {
        // It takes the first of two parameters of one name, and knows no field twice.
        const names = asked.query.split('&').map((each) => each.split('=')[0]!);
        fc.pre(new Set(names).size === names.length);
        const unique = new Map(asked.fields.map(([name, value]) => [name, value]));
        const fields = [...unique] as [string, string][];
        const signer = new RequestSigner(
          {
            service: asked.service,
            region: asked.region,
            method: asked.method,
            path: asked.query === '' ? asked.path : `${asked.path}?${asked.query}`,
            headers: {
              Host: host,
              ...Object.fromEntries(fields),
              'X-Amz-Date': '20261122T102030Z',
              'X-Amz-Content-Sha256': sha256('x'),
            },
            extraHeadersToInclude: { range: true, 'if-match': true },
            doNotModifyHeaders: true,
          },
          keys,
        );
        signer.datetime = '20261122T102030Z';
        expect(ours({ ...asked, fields })).toEqual({
          canonical: signer.canonicalString(),
          signature: signer.signature(),
        });
      }),
      { numRuns: 500 },
    );
  });
});

const chunk = (data: Buffer) =>
  Buffer.concat([
    Buffer.from(`${data.length.toString(16)};chunk-signature=${'0'.repeat(64)}\r\n`),
    data,
    Buffer.from('\r\n'),
  ]);

describe('bodies in signed chunks', () => {
  const signer = createSigner(keys, { region: 'us-east-1', service: 's3' }, now);
  const seed = sha256('seed');

  it('are signed the same at every split, and keep their length and data', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 5 }),
        fc.array(fc.nat({ max: 400 }), { maxLength: 12 }),
        fc.boolean(),
        async (datas, cuts, hasTrailers) => {
          const last = hasTrailers
            ? Buffer.from(
                `0;chunk-signature=${'0'.repeat(64)}\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:${'0'.repeat(64)}\r\n\r\n`,
              )
            : chunk(Buffer.alloc(0));
          const body = Buffer.concat([...datas.map((data) => chunk(Buffer.from(data))), last]);
          const pieces: Buffer[] = [];
          let at = 0;
          for (const cut of cuts) {
            pieces.push(body.subarray(at, at + cut));
            at += cut;
          }
          pieces.push(body.subarray(at));
          const signing = { signer, seed, hasTrailers, chunkBytes: 300 };
          const whole = await all(signedChunks([body], signing));
          expect(await all(signedChunks(pieces, signing))).toEqual(whole);
          expect(whole).toHaveLength(body.length);
          expect(unsigned(whole)).toBe(unsigned(body));
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('requests of clients', () => {
  it('are signed or refused, without any other error', () => {
    const odd = fc.oneof(
      fc.string(),
      fc.constantFrom('AWS4-HMAC-SHA256', 'Credential=A/20260101/us-east-1/s3/aws4_request,'),
    );
    fc.assert(
      fc.property(fc.array(odd, { maxLength: 4 }), fc.string(), (authorization, asked) => {
        const it = {
          authority: { scheme: 'https', host: 's3.us-east-1.amazonaws.com', port: 443 } as const,
          method: 'GET',
          path: `/?${asked}`,
          fields: ['Host', 's3.us-east-1.amazonaws.com', 'Authorization', authorization.join(' ')],
          hasBody: false,
        };
        try {
          const plan = planSigning(it, { service: null, region: null }, null);
          resign(it, plan, { keys, now, bodyHash: null, chunkBytes: 1 });
        } catch (error) {
          expect(error).toMatchObject({ code: 'policy_violation' });
        }
      }),
    );
  });
});

async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const read: Buffer[] = [];
  for await (const each of pieces) read.push(each);
  return Buffer.concat(read);
}

function unsigned(body: Buffer): string {
  return body.toString('latin1').replace(/signature([=:])[0-9a-f]{64}/g, 'signature$1');
}
