import { describe, expect, it } from 'vitest';
import { bytesOf, decode, encode, integer, itemsOf, octetString, sequence } from '../../../src/ca/asn1.ts';

describe('DER', () => {
  it.each([0, 127, 128, 255, 256, 65_535, 65_536])('encodes and decodes a value of %d bytes', (size) => {
    const value = sequence(octetString(Buffer.alloc(size, 7)), integer(3));
    const [first, second] = itemsOf(decode(encode(value)));
    expect(bytesOf(first)).toHaveLength(size);
    expect(bytesOf(second)).toStrictEqual(Buffer.of(3));
  });

  it.each([
    ['an empty input', ''],
    ['a tag without a length', '30'],
    ['a length beyond the bytes', '3003020101ff00'],
    ['an item beyond its sequence', '3003020201'],
    ['bytes after the value', '02010100'],
    ['an indefinite length', '30800201010000'],
    ['a length that is not minimal', '30810302 0101'],
    ['a length of more than four bytes', '04850000000001ff'],
  ])('refuses %s', (_what, hex) => {
    expect(() => decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).toThrowError();
  });
});
