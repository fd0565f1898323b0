import forge from 'node-forge';
import { describe, expect, it } from 'vitest';
import {
  bytesOf,
  decode,
  encode,
  integer,
  itemsOf,
  objectId,
  octetString,
  sequence,
} from '../../../src/ca/der.ts';

const { asn1 } = forge;

describe('DER', () => {
  it.each(['1.2.840.10045.4.3.2', '2.5.29.17', '2.16.840.1.113894.746875.1.1', '1.3.6.1.5.5.7.3.1'])(
    'writes the object identifier %s as another writer does',
    (dotted) => {
      expect(bytesOf(objectId(dotted)).toString('latin1')).toBe(asn1.oidToDer(dotted).getBytes());
    },
  );

  it.each([0, 1, 127, 128, 255, 256, 10_000, 65_535])(
    'writes the integer %d as another writer does',
    (value) => {
      expect(bytesOf(integer(value)).toString('latin1')).toBe(asn1.integerToDer(value).getBytes());
    },
  );

  it.each([0, 127, 128, 255, 256, 65_535, 65_536])('reads back what has %d bytes', (size) => {
    const value = sequence(octetString(Buffer.alloc(size, 7)), integer(3));
    const [first, second] = itemsOf(decode(encode(value)));
    expect(bytesOf(first)).toHaveLength(size);
    expect(bytesOf(second)).toStrictEqual(Buffer.of(3));
  });

  it.each([
    ['nothing', ''],
    ['a tag alone', '30'],
    ['a length beyond the bytes', '3003020101ff00'],
    ['an item beyond its sequence', '3003020201'],
    ['bytes behind the value', '02010100'],
    ['an indefinite length', '30800201010000'],
    ['a length that is longer than it need be', '30810302 0101'],
    ['a length of more than four bytes', '04850000000001ff'],
    ['a tag of several bytes', '1f0100'],
  ])('does not read %s', (_what, hex) => {
    expect(() => decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).toThrowError();
  });
});
