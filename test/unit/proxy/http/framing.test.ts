import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import { bodyTooLarge, framingOf } from '../../../../src/proxy/http/framing.ts';

const framing = (fields: readonly string[], version: '1.0' | '1.1' = '1.1', limits = defaultLimits) =>
  framingOf({ method: 'POST', target: '/', version, fields }, limits);

describe('the framing of a request', () => {
  it('is none, a length, or chunked', () => {
    expect(framing([])).toEqual({ kind: 'none' });
    expect(framing(['Content-Length', '0'])).toEqual({ kind: 'none' });
    expect(framing(['content-length', '12'])).toEqual({ kind: 'length', bytes: 12 });
    expect(framing(['Transfer-Encoding', 'Chunked'])).toEqual({ kind: 'chunked' });
    expect(framing(['Content-Length', '12'], '1.0')).toEqual({ kind: 'length', bytes: 12 });
  });

  it('respects the body limit of the config', () => {
    const limits = { ...defaultLimits, body_bytes: 10 };
    expect(framing(['Content-Length', '10'], '1.1', limits)).toEqual({ kind: 'length', bytes: 10 });
    expect(framing(['Content-Length', '11'], '1.1', limits)).toMatchObject({
      code: 'body_too_large',
      message: 'The request body is larger than 10 bytes.',
      hint: 'raise limits.body_bytes',
    });
    expect(bodyTooLarge(10).status).toBe(413);
  });

  it('respects the limit on the number of fields', () => {
    const limits = { ...defaultLimits, head_fields: 2 };
    expect(framing(['A', '1', 'B', '2'], '1.1', limits)).toEqual({ kind: 'none' });
    expect(framing(['A', '1', 'B', '2', 'C', '3'], '1.1', limits)).toMatchObject({
      code: 'bad_request',
      message: 'The request has more than 2 header fields.',
    });
  });
});
