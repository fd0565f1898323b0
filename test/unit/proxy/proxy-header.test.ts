import { assert, constantFrom, property, uint8Array } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readProxyHeader } from '../../../src/proxy/proxy-header.ts';

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A header of version 2 with these addresses. */
function binary(command: number, family: number, body: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(body.length);
  return Buffer.concat([signature, Buffer.from([command, family]), size, body]);
}

const ipv4 = Buffer.from([203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x20, 0xb9]);
const ipv6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from('20010db8000000000000000000000002', 'hex'),
  Buffer.from([0x30, 0x39, 0x20, 0xb9]),
]);

const headers: readonly (readonly [string, Buffer, { address: string; port: number } | null])[] = [
  [
    'TCP4 in a line',
    Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 12345 8377\r\n'),
    { address: '203.0.113.7', port: 12_345 },
  ],
  [
    'TCP6 in a line',
    Buffer.from('PROXY TCP6 2001:DB8::1 2001:db8::2 12345 8377\r\n'),
    { address: '2001:db8::1', port: 12_345 },
  ],
  [
    'TCP6 of an IPv4 address in a line',
    Buffer.from('PROXY TCP6 ::ffff:203.0.113.7 ::1 12345 8377\r\n'),
    { address: '203.0.113.7', port: 12_345 },
  ],
  ['UNKNOWN in a line', Buffer.from('PROXY UNKNOWN ffff:f::1 x 1 2\r\n'), null],
  ['IPv4', binary(0x21, 0x11, ipv4), { address: '203.0.113.7', port: 12_345 }],
  ['IPv6', binary(0x21, 0x21, ipv6), { address: '2001:db8::1', port: 12_345 }],
  [
    'IPv4 with an extension',
    binary(0x21, 0x11, Buffer.concat([ipv4, Buffer.from([4, 0, 1, 0])])),
    { address: '203.0.113.7', port: 12_345 },
  ],
  ['a health check', binary(0x20, 0, Buffer.alloc(0)), null],
  ['a Unix socket', binary(0x21, 0x31, Buffer.alloc(216)), null],
];

describe('a header of the PROXY protocol', () => {
  test.each(headers)('of %s is read, and the following bytes are left', (_, header, client) => {
    const read = readProxyHeader(Buffer.concat([header, Buffer.from('GET /')]));
    expect(read).toEqual({ kind: 'header', length: header.length, client });
  });

  test.each(headers)('of %s is awaited until its last byte', (_, header) => {
    for (let length = 0; length < header.length; length += 1)
      expect(readProxyHeader(header.subarray(0, length))).toEqual({ kind: 'more' });
  });

  test.each([
    ['a request', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['TLS', Buffer.from('1603010200', 'hex')],
    ['a header with an invalid address', Buffer.from('PROXY TCP4 x 10.0.0.1 1 2\r\n')],
    ['a header with an address of another family', Buffer.from('PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n')],
    ['a header with an invalid port', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 65536 2\r\n')],
    ['a header with two consecutive spaces', Buffer.from('PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n')],
    ['a line without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`)],
    ['version 3', binary(0x31, 0x11, ipv4)],
    ['an unknown command', binary(0x22, 0x11, ipv4)],
    ['too few addresses', binary(0x21, 0x11, ipv4.subarray(0, 8))],
    ['too many bytes', binary(0x21, 0x11, Buffer.alloc(5_000))],
  ])('cannot be %s', (_, bytes) => {
    expect(readProxyHeader(bytes)).toEqual({ kind: 'malformed' });
  });

  test('is read the same in one piece and in two, and never throws', () => {
    const begins = constantFrom(
      Buffer.alloc(0),
      signature,
      Buffer.from('PROXY TCP4 '),
      ...headers.map(([, header]) => header),
    );
    assert(
      property(begins, uint8Array({ maxLength: 300 }), (begin, rest) => {
        const all = Buffer.concat([begin, rest]);
        const whole = readProxyHeader(all);
        const lengths = Array.from({ length: all.length + 1 }, (_, length) => length);
        const parts = lengths.map((length) => readProxyHeader(all.subarray(0, length)));
        expect(parts.find(({ kind }) => kind !== 'more') ?? { kind: 'more' }).toEqual(whole);
      }),
    );
  });
});
