import { describe, expect, it } from 'vitest';
import { createBodyReader } from '../../../../../src/proxy/http/h1/body.ts';
import {
  chunkEnd,
  chunkStart,
  lastChunk,
  fieldSection,
  trailersToPass,
} from '../../../../../src/proxy/http/h1/write.ts';
import type { Fault } from '../../../../../src/proxy/http/h1/scan.ts';
import { bytes, limits } from './read-messages.ts';

const options = { whose: 'request', limits, spans: true } as const;

/** Reads a chunked body in pieces of so many bytes. */
function readChunked(text: string, size = text.length, within = limits) {
  const reader = createBodyReader({ kind: 'chunked' }, { ...options, limits: within });
  const all = bytes(text);
  let [payload, passed, at] = ['', '', 0];
  while (at < all.length && !reader.over) {
    const end = Math.min(all.length, at + size);
    const next = reader.read(all, at, end);
    if (typeof next !== 'number') return { fault: next.fault, payload };
    for (let i = 0; i < reader.spans.length; i += 2)
      payload += all.toString('latin1', reader.spans[i], reader.spans[i + 1]);
    passed += all.toString('latin1', at, reader.relayEnd);
    if (reader.over ? next > end : next !== end) throw new Error('it stopped in the middle');
    at = next;
  }
  const trailers = reader.trailers?.raw() ?? null;
  return { payload, passed, rest: text.slice(at), over: reader.over, trailers, count: reader.payload };
}

const chunk = (text: string) => `${text}0\r\n\r\n`;
/** A body of nothing but trailers, of so many bytes. */
const trailersOf = (size: number) => `0\r\nX: ${'x'.repeat(size - 7)}\r\n\r\n`;

describe('a chunked body', () => {
  it.each<[string, string, string]>([
    ['one chunk', '4\r\nbody\r\n0\r\n\r\n', 'body'],
    ['many', '1\r\nb\r\n03\r\nody\r\n0\r\n\r\n', 'body'],
    ['none', '0\r\n\r\n', ''],
    ['capitals and zeros', '00000000000000A\r\n0123456789\r\n000000000000000\r\n\r\n', '0123456789'],
    ['an extension', '4;a\r\nbody\r\n0;b\r\n\r\n', 'body'],
    [
      'extensions with values',
      '4;a=b;c="d;\r \\"\\\\\t\xe9";e\r\nbody\r\n0\r\n\r\n'.replace('\r ', ' '),
      'body',
    ],
    ['bytes that look like its frame', '5\r\n\r\n0\r\n\r\n0\r\n\r\n', '\r\n0\r\n'],
  ])('of %s is read exactly to its end, even byte by byte', (_what, text, payload) => {
    for (let size = 1; size <= text.length + 4; size += 1) {
      const read = readChunked(`${text}GET `, size);
      expect(read).toMatchObject({ payload, passed: text, rest: 'GET ', over: true, trailers: null });
      expect(read).toMatchObject({ count: payload.length });
    }
  });

  it('delivers its trailers separately', () => {
    const text = '4\r\nbody\r\n0\r\n';
    const trailers = 'X-Sum:  7 \r\nAuthorization: x\r\nX-Sum: 8\r\n\r\n';
    for (let size = 1; size <= text.length + trailers.length; size += 1) {
      expect(readChunked(`${text}${trailers}GET `, size)).toEqual({
        payload: 'body',
        passed: text,
        rest: 'GET ',
        over: true,
        trailers: ['X-Sum', '7', 'Authorization', 'x', 'X-Sum', '8'],
        count: 4,
      });
    }
  });

  it.each<[string, string, Fault]>([
    ['no size', chunk('\r\nbody\r\n'), 'bad_chunk_size'],
    ['a size with a sign', chunk('+4\r\nbody\r\n'), 'bad_chunk_size'],
    ['a negative size', chunk('-4\r\nbody\r\n'), 'bad_chunk_size'],
    ['a size with 0x', chunk('0x4\r\nbody\r\n'), 'bad_chunk_size'],
    ['a size that is no number', chunk('g\r\nbody\r\n'), 'bad_chunk_size'],
    ['a size with an underscore', chunk('0_4\r\nbody\r\n'), 'bad_chunk_size'],
    ['a space before the size', chunk(' 4\r\nbody\r\n'), 'bad_chunk_size'],
    ['a space behind the size', chunk('4 \r\nbody\r\n'), 'bad_chunk_size'],
    ['a tab behind the size', chunk('4\t\r\nbody\r\n'), 'bad_chunk_size'],
    ['a NUL behind the size', chunk('4\0\r\nbody\r\n'), 'bad_chunk_size'],
    ['a quoted size', chunk('"4"\r\nbody\r\n'), 'bad_chunk_size'],
    ['a size of 16 digits', chunk('0000000000000004\r\nbody\r\n'), 'chunk_size_too_large'],
    ['a size of 2^64 + 4', chunk('10000000000000004\r\nbody\r\n'), 'chunk_size_too_large'],
    ['a size that a double cannot count', chunk('20000000000000\r\nbody\r\n'), 'chunk_size_too_large'],
    ['a size line that ends in LF', chunk('4\nbody\r\n'), 'bare_lf'],
    ['a size line that ends in CR', chunk('4\rbody\r\n'), 'bare_cr'],
    ['a size line that ends in CR CR LF', chunk('4\r\r\nbody\r\n'), 'bare_cr'],
    ['an empty extension', chunk('4;\r\nbody\r\n'), 'bad_chunk_extension'],
    ['an extension without a name', chunk('4;=a\r\nbody\r\n'), 'bad_chunk_extension'],
    ['an extension with an empty value', chunk('4;a=\r\nbody\r\n'), 'bad_chunk_extension'],
    ['an extension behind a space', chunk('4; a\r\nbody\r\n'), 'bad_chunk_extension'],
    ['a space before an extension', chunk('4 ;a\r\nbody\r\n'), 'bad_chunk_size'],
    ['a space in an extension', chunk('4;a b\r\nbody\r\n'), 'bad_chunk_extension'],
    ['an extension with a control byte', chunk('4;a\x01\r\nbody\r\n'), 'bad_chunk_extension'],
    ['an extension with a bare LF', chunk('4;a\nb\r\nbody\r\n'), 'bare_lf'],
    ['an extension with a bare CR', chunk('4;a\rb\r\nbody\r\n'), 'bare_cr'],
    ['a bare LF in quotes', chunk('4;a="b\nc"\r\nbody\r\n'), 'bare_lf'],
    ['a bare CR in quotes', chunk('4;a="b\rc"\r\nbody\r\n'), 'bad_chunk_extension'],
    ['a line end in quotes', chunk('4;a="b\r\nc"\r\nbody\r\n'), 'bad_chunk_extension'],
    ['a quoted line end', chunk('4;a="b\\\r\nc"\r\nbody\r\n'), 'bad_chunk_extension'],
    ['quotes that do not end', chunk('4;a="b\r\nbody\r\n'), 'bad_chunk_extension'],
    ['more behind the quotes', chunk('4;a="b"c\r\nbody\r\n'), 'bad_chunk_extension'],
    ['a chunk shorter than its size', '5\r\nbody\r\n0\r\n\r\n', 'bad_chunk_end'],
    ['a chunk longer than its size', chunk('3\r\nbody\r\n'), 'bad_chunk_end'],
    ['another byte for the CR of a chunk', chunk('4\r\nbodyX\n'), 'bad_chunk_end'],
    ['a chunk that ends in LF', chunk('4\r\nbody\n'), 'bad_chunk_end'],
    ['a chunk that ends in CR', chunk('4\r\nbody\r'), 'bad_chunk_end'],
    ['a last chunk that ends in LF', '0\n\r\n', 'bare_lf'],
    ['a last line that ends in LF', '0\r\n\n', 'bare_lf'],
    ['a last line that ends in CR', '0\r\n\rG', 'bare_cr'],
    ['a trailer that ends in LF', '0\r\nX: a\n\r\n', 'bare_lf'],
    ['trailers that end in LF', '0\r\nX: a\r\n\n', 'bare_lf'],
    ['a folded trailer', '0\r\nX: a\r\n b\r\n\r\n', 'folded_field'],
    ['a blank in front of the trailers', '0\r\n X: a\r\n\r\n', 'folded_field'],
    ['a trailer with a blank before its colon', '0\r\nX : a\r\n\r\n', 'space_before_colon'],
    ['a request in place of trailers', '0\r\nGET / HTTP/1.1\r\n\r\n', 'space_before_colon'],
    ['a trailer that would frame it', '0\r\nX: 1\r\ncontent-length: 5\r\n\r\n', 'framing_in_trailers'],
    ['a trailer of a coding', '0\r\nTransfer-Encoding: chunked\r\n\r\n', 'framing_in_trailers'],
    ['a trailer with a NUL', '0\r\nX: a\0\r\n\r\n', 'control_byte'],
  ])('with %s is refused, at every split of its bytes', (_what, text, fault) => {
    for (let size = 1; size <= text.length; size += 1)
      expect(readChunked(text, size)).toMatchObject({ fault });
  });

  it('may have a chunk size beyond 32 bits, which is not truncated', () => {
    expect(readChunked('100000004\r\nbody\r\n0\r\n\r\n')).toMatchObject({ over: false, count: 11 });
    expect(readChunked('1fffffffffffff\r\nbody')).toMatchObject({ over: false, count: 4 });
  });

  it('may have chunk extensions up to a limit', () => {
    expect(readChunked(`4;${'a'.repeat(1_022)}\r\nbody\r\n0\r\n\r\n`)).toMatchObject({ over: true });
    expect(readChunked(`4;${'a'.repeat(1_024)}\r\nbody\r\n0\r\n\r\n`)).toMatchObject({
      fault: 'chunk_extension_too_large',
    });
  });

  it('may have chunks of one byte, but not with mostly extensions', () => {
    const bare = '1\r\nx\r\n'.repeat(100_000);
    expect(readChunked(`${bare}0\r\n\r\n`)).toMatchObject({ over: true, count: 100_000 });
    const signed = `400;chunk-signature=${'0'.repeat(64)}\r\n${'x'.repeat(1_024)}\r\n`.repeat(200);
    expect(readChunked(`${signed}0\r\n\r\n`)).toMatchObject({ over: true, count: 204_800 });
    const padded = `1;${'a'.repeat(1_000)}\r\nx\r\n`.repeat(20);
    expect(readChunked(`${padded}0\r\n\r\n`)).toMatchObject({ fault: 'too_much_chunk_overhead' });
  });

  it('has trailers within the limits of a head', () => {
    const within = { head_bytes: 64, head_fields: 2 };
    for (const size of [1, 7, 1_000]) {
      expect(readChunked(trailersOf(64), size, within)).toMatchObject({ over: true });
      expect(readChunked(trailersOf(65), size, within)).toMatchObject({ fault: 'trailers_too_large' });
      const many = `0\r\n${'X: 1\r\n'.repeat(3)}\r\n`;
      expect(readChunked(many, size, within)).toMatchObject({ fault: 'too_many_trailers' });
    }
  });

  it('is not read further after a refusal', () => {
    const reader = createBodyReader({ kind: 'chunked' }, options);
    const refusal = reader.read(bytes('x'), 0, 1);
    expect(refusal).toMatchObject({ fault: 'bad_chunk_size' });
    expect(reader.read(bytes('0\r\n\r\n'), 0, 5)).toBe(refusal);
    expect(reader).toMatchObject({ over: false, isWhole: false });
  });

  it('reports at the end of the connection whether it was complete', () => {
    const reader = createBodyReader({ kind: 'chunked' }, options);
    reader.read(bytes('1\r\nx\r\n0\r\n'), 0, 9);
    expect(reader.isWhole).toBe(false);
    reader.read(bytes('\r\n'), 0, 2);
    expect(reader.isWhole).toBe(true);
  });
});

describe('a body with a Content-Length', () => {
  it('ends with its last byte', () => {
    const reader = createBodyReader({ kind: 'length', bytes: 4 }, options);
    const region = bytes('..bodyGET');
    expect(reader.read(region, 2, 5)).toBe(5);
    expect(reader).toMatchObject({ over: false, isWhole: false, payload: 3, spans: [2, 5], relayEnd: 5 });
    expect(reader.read(region, 5, 9)).toBe(6);
    expect(reader).toMatchObject({ over: true, isWhole: true, payload: 4, spans: [5, 6], relayEnd: 6 });
    expect(reader.read(region, 6, 9)).toBe(6);
    expect(reader).toMatchObject({ payload: 4 });
  });
});

describe('a body delimited by the end of the connection', () => {
  it('contains all bytes, and is complete when the connection ends', () => {
    const reader = createBodyReader({ kind: 'until_close' }, options);
    expect(reader.read(bytes('abc'), 0, 3)).toBe(3);
    expect(reader).toMatchObject({ over: false, isWhole: true, payload: 3 });
  });
});

describe('no body', () => {
  it('is complete at once', () => {
    const reader = createBodyReader({ kind: 'none' }, options);
    expect(reader.over).toBe(true);
    expect(reader.read(bytes('GET'), 0, 3)).toBe(0);
  });
});

describe('a body framed by the proxy', () => {
  it('decodes to the original bytes', () => {
    const text = `${['a', 'b'.repeat(300)].map((it) => chunkStart(it.length) + it + chunkEnd).join('')}${lastChunk}`;
    expect(readChunked(text)).toMatchObject({ payload: `a${'b'.repeat(300)}`, over: true, rest: '' });
    const trailers = fieldSection(['X-Sum', '7']).toString('latin1');
    expect(readChunked(`0\r\n${trailers}`)).toMatchObject({ trailers: ['X-Sum', '7'], over: true });
    expect(fieldSection([]).toString()).toBe('\r\n');
  });

  it('has no empty chunk before its end', () => {
    expect(() => chunkStart(0)).toThrow(RangeError);
  });

  it('omits trailers that could route or authenticate', () => {
    const names = ['Content-Type', 'Host', 'Authorization', 'Set-Cookie', 'Proxy-X', 'Sidekey-Error'];
    const text = `0\r\n${names.map((name) => `${name}: 1\r\n`).join('')}X-Sum: 7\r\nGrpc-Status: 0\r\n\r\n`;
    const reader = createBodyReader({ kind: 'chunked' }, options);
    reader.read(bytes(text), 0, text.length);
    expect(trailersToPass(reader.trailers!)).toEqual(['X-Sum', '7', 'Grpc-Status', '0']);
  });

  it('omits trailers with line breaks', () => {
    expect(() => fieldSection(['X', 'a\r\nb: c'])).toThrow(
      expect.objectContaining({ code: 'policy_violation' }),
    );
  });
});
