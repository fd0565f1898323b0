import { describe, expect, it } from 'vitest';
import { type BodyFraming, framingOf } from '../../src/proxy/http/framing.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import * as fc from '../support/fast-check.ts';

const name = (text: string) => fc.constantFrom(text, text.toLowerCase(), text.toUpperCase());
const length = fc.oneof(
  fc.nat(1_000).map(String),
  fc.constantFrom(
    '',
    '+1',
    '-1',
    ' 1',
    '1 ',
    '1,1',
    '1, 1',
    '0x1',
    '1e3',
    '1.0',
    '٣',
    '0',
    '00',
    '007',
    '1\0',
    '9'.repeat(15),
    '9'.repeat(16),
  ),
);
const coding = fc.oneof(
  fc.constantFrom('chunked', 'Chunked', 'CHUNKED'),
  fc.constantFrom(
    '',
    'identity',
    'gzip',
    'gzip, chunked',
    'chunked, chunked',
    'chunked;q=1',
    'xchunked',
    ' chunked',
    'chunked\0',
  ),
);
const field = fc.oneof(
  fc.tuple(name('Content-Length'), length),
  fc.tuple(name('Transfer-Encoding'), coding),
  fc.tuple(
    fc.constantFrom('X-Content-Length', 'Content-Lengths', 'Content_Length', 'Accept'),
    fc.constantFrom('1', 'chunked'),
  ),
);
const fields = fc.array(field, { maxLength: 4 });
const version = fc.constantFrom('1.0' as const, '1.1' as const);

/** RFC 9112 §6.3, and nothing that it lets a server repair. Null: refused. */
function model(
  list: readonly (readonly [string, string])[],
  httpVersion: '1.0' | '1.1',
  most: number,
): BodyFraming | null {
  const of = (wanted: string) => list.filter(([it]) => it.toLowerCase() === wanted).map(([, value]) => value);
  if (list.some(([it]) => it.includes('_'))) return null;
  const lengths = of('content-length');
  const codings = of('transfer-encoding');
  if (lengths.length + codings.length === 0) return { kind: 'none' };
  if (lengths.length + codings.length > 1) return null;
  if (codings.length === 1) {
    return httpVersion === '1.1' && codings[0]?.toLowerCase() === 'chunked' ? { kind: 'chunked' } : null;
  }
  const digits = (lengths[0] ?? '').split('');
  if (digits.length === 0 || digits.length > 15 || digits.some((digit) => digit < '0' || digit > '9'))
    return null;
  if (digits[0] === '0' && digits.length > 1) return null;
  const bytes = digits.reduce((sum, digit) => sum * 10 + Number(digit), 0);
  if (most > 0 && bytes > most) return null;
  return bytes === 0 ? { kind: 'none' } : { kind: 'length', bytes };
}

describe('the framing of a request', () => {
  it('is determined if only one interpretation exists, and refused otherwise', () => {
    fc.assert(
      fc.property(fields, version, fc.constantFrom(0, 100), (list, httpVersion, most) => {
        const head = { method: 'POST', target: '/', version: httpVersion, fields: list.flat() };
        const framing = framingOf(head, { ...defaultLimits, body_bytes: most });
        expect(framing instanceof SidekeyError ? null : framing).toEqual(model(list, httpVersion, most));
      }),
      { numRuns: 5_000 },
    );
  });

  it('never depends on the method', () => {
    fc.assert(
      fc.property(
        fields,
        fc.constantFrom('GET', 'HEAD', 'DELETE', 'OPTIONS', 'PUT', 'BREW'),
        (list, method) => {
          const head = { target: '/', version: '1.1' as const, fields: list.flat() };
          const kindOf = (asked: string) => {
            const framing = framingOf({ ...head, method: asked }, defaultLimits);
            return framing instanceof SidekeyError ? framing.code : framing;
          };
          expect(kindOf(method)).toEqual(kindOf('POST'));
        },
      ),
    );
  });
});
