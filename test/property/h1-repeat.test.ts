import { expect, it } from 'vitest';
import { requestFraming } from '../../src/proxy/http/framing.ts';
import type { RequestHeadBytes } from '../../src/proxy/http/head.ts';
import { createRequestReader, type HeadReader } from '../../src/proxy/http/h1/read-head.ts';
import { type HeadLimits, Malformed } from '../../src/proxy/http/h1/scan.ts';
import * as fc from '../support/fast-check.ts';

/** Field sections without the empty line at their end: valid ones, then those with a fault. */
const sections = [
  '',
  'Host: a\r\n',
  'Host: b\r\n',
  'Host:a \r\n',
  'Host: a\r\nAccept: */*\r\n',
  'Host: a\r\nContent-Length: 0\r\n',
  'Host: a\r\nContent-Length: 5\r\n',
  'Host: a\r\nTransfer-Encoding: chunked\r\n',
  'Host: a\r\nX-Empty:\r\nX-Bytes: \x80\xff\r\n',
  'Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n',
  'Host: a\r\n folded\r\n',
  'Host: a\r\nX\0: 1\r\n',
  'Host: a\nAccept: */*\r\n',
  'Host : a\r\n',
];
/** Most of the requests are valid: a fault ends a connection. */
const section = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...sections.slice(0, 9)) },
  { weight: 1, arbitrary: fc.constantFrom(...sections.slice(9)) },
);

/** The fields of a request, by those of the request before it. */
const change = fc.oneof(
  { weight: 6, arbitrary: fc.constant((last: string) => last) },
  { weight: 3, arbitrary: section.map((text) => () => text) },
  // One byte is changed at any place.
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.constantFrom('x', 'X', '1', ' ', ':'),
      )
      .map(([share, byte]) => (last: string) => {
        const at = Math.floor(share * last.length);
        return last === '' ? last : last.slice(0, at) + byte + last.slice(at + 1);
      }),
  },
  { weight: 1, arbitrary: fc.constant((last: string) => last.toUpperCase()) },
  { weight: 1, arbitrary: fc.constant((last: string) => `${last}X-More: 1\r\n`) },
  { weight: 1, arbitrary: fc.constant((last: string) => last.replace(/[^\n]*\n$/, '')) },
);
/** Behind the fields: the empty line, mostly. */
const end = fc.oneof(
  { weight: 20, arbitrary: fc.constant('\r\n') },
  { weight: 1, arbitrary: fc.constantFrom('\r\r', '\rx', 'x\n', '\n') },
);
const request = fc.record({
  line: fc.constantFrom(
    'GET / HTTP/1.1\r\n',
    'GET /a/longer/path?query HTTP/1.1\r\n',
    'POST /a HTTP/1.0\r\n',
    'CONNECT a:443 HTTP/1.1\r\n',
    '\r\nGET / HTTP/1.1\r\n',
  ),
  change,
  end,
});
/** Lengths of the pieces, which come again and again; small ones, or all that there is. */
const pieces = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 }),
  fc.constant([100_000]),
);
const limits = fc.constantFrom<HeadLimits>(
  { head_bytes: 65_536, head_fields: 200 },
  { head_bytes: 60, head_fields: 200 },
  { head_bytes: 40, head_fields: 200 },
  { head_bytes: 65_536, head_fields: 2 },
  { head_bytes: 65_536, head_fields: 1 },
);

type Reader = HeadReader<RequestHeadBytes>;

/** Reads one head from bytes that arrive in pieces: `ends` says how far they reach. */
function readHead(reader: Reader, bytes: Buffer, start: number, ends: readonly number[]) {
  for (const end of ends) {
    // Each time in another buffer, which is overwritten as the connection does with its own.
    const before = end % 5;
    // Behind the end are the bytes that have not come yet: none of them may be read.
    const buffer = Buffer.concat([Buffer.alloc(before, '!'), bytes.subarray(start)]);
    const read = reader.read(buffer, before, before + end - start);
    if (read === 'incomplete') {
      buffer.fill('?');
      continue;
    }
    const facts = read instanceof Malformed ? { fault: read.fault, message: read.message } : factsOf(read);
    buffer.fill('?');
    const fields = read instanceof Malformed ? null : read.fields;
    return { facts, fields, begun: reader.begun, reached: end };
  }
  return { facts: 'incomplete', fields: null, begun: reader.begun, reached: bytes.length };
}

function factsOf(head: RequestHeadBytes) {
  const framing = requestFraming(head);
  return {
    line: [head.method, head.target, head.version],
    fields: [...head.fields],
    raw: head.raw(),
    perField: Array.from({ length: head.count }, (_, i) => [
      head.numberAt(i),
      head.nameAt(i),
      head.valueAt(i),
      head.lineAt(i),
      head.hasTabs(i),
      head.lengthAt(i, true),
    ]),
    host: head.values('host'),
    size: head.size,
    extent: head.extent,
    framing: framing instanceof Malformed ? framing.fault : framing,
  };
}

it('a reader reads each request of a connection like a new reader', () => {
  const seen = { shared: 0, faults: new Set<string>() };
  fc.assert(
    fc.property(
      fc.array(request, { minLength: 2, maxLength: 8 }),
      section,
      pieces,
      limits,
      (all, first, lengths, within) => {
        let fields = first;
        const texts = all.map(
          ({ line, change: next, end: behind }) => line + (fields = next(fields)) + behind,
        );
        // Pipelined: the bytes behind a head are those of the next one.
        const bytes = Buffer.from(texts.join(''), 'latin1');
        const ends: number[] = [];
        for (let at = 0; at < bytes.length;) {
          at = Math.min(bytes.length, at + lengths[ends.length % lengths.length]!);
          ends.push(at);
        }
        const one = createRequestReader(within);
        let start = 0;
        let reached = 0;
        let last: { readonly size: number; readonly fields: readonly string[] } | null = null;
        while (start < bytes.length) {
          const from = start;
          const rest = ends.filter((end) => end >= reached && end > from);
          const lived = readHead(one, bytes, start, rest);
          const fresh = readHead(createRequestReader(within), bytes, start, rest);
          expect(lived.facts).toEqual(fresh.facts);
          expect([lived.begun, lived.reached]).toEqual([fresh.begun, fresh.reached]);
          if (lived.fields === null || typeof lived.facts === 'string' || !('size' in lived.facts)) {
            if (typeof lived.facts === 'object' && 'fault' in lived.facts) {
              seen.faults.add(lived.facts.fault);
              const again = one.read(bytes, 0, bytes.length);
              expect(again).toBeInstanceOf(Malformed);
            }
            break;
          }
          if (last !== null && last.fields === lived.fields) seen.shared += 1;
          last = { size: lived.facts.size, fields: lived.fields };
          start += lived.facts.size;
          reached = lived.reached;
        }
      },
    ),
    { numRuns: 1_500 },
  );
  expect(seen.shared).toBeGreaterThan(500);
  for (const fault of ['head_too_large', 'too_many_fields', 'bare_lf', 'folded_field'])
    expect(seen.faults).toContain(fault);
});
