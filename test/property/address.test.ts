import { isIPv6 } from 'node:net';
import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { createAddressGuard, parseCidr, plainAddress } from '../../src/proxy/policy/authority.ts';

/** IANA's registries, read apart from the product: first and last address of what is not for everybody. */
const specialIPv4: readonly [first: string, last: string][] = [
  ['0.0.0.0', '0.255.255.255'],
  ['10.0.0.0', '10.255.255.255'],
  ['100.64.0.0', '100.127.255.255'],
  ['127.0.0.0', '127.255.255.255'],
  ['168.63.129.16', '168.63.129.16'],
  ['169.254.0.0', '169.254.255.255'],
  ['172.16.0.0', '172.31.255.255'],
  ['192.0.0.0', '192.0.0.255'],
  ['192.0.2.0', '192.0.2.255'],
  ['192.88.99.0', '192.88.99.255'],
  ['192.168.0.0', '192.168.255.255'],
  ['198.18.0.0', '198.19.255.255'],
  ['198.51.100.0', '198.51.100.255'],
  ['203.0.113.0', '203.0.113.255'],
  ['224.0.0.0', '255.255.255.255'],
];
const specialIPv6: readonly [first: string, last: string][] = [
  ['::', '1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001::', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2002::', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['4000::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
];

const numberOf = (address: string) => address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
const textOf = (value: number) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
const ranges = specialIPv4.map(([first, last]) => [numberOf(first), numberOf(last)] as const);
const isSpecial = (value: number) => ranges.some(([first, last]) => value >= first && value <= last);

const anyIPv4 = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  // At and around every edge.
  fc
    .tuple(fc.constantFrom(...ranges.flat()), fc.integer({ min: -2, max: 2 }))
    .map(([edge, by]) => Math.min(0xffff_ffff, Math.max(0, edge + by))),
);
const hexOf = (value: number) => `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
const guard = createAddressGuard([]);

describe('the address guard', () => {
  it.each(specialIPv4)('blocks %s to %s, and neither of the adjacent addresses', (first, last) => {
    expect(guard(first)).toBe(false);
    expect(guard(last)).toBe(false);
    for (const beside of [numberOf(first) - 1, numberOf(last) + 1])
      if (beside >= 0 && beside <= 0xffff_ffff)
        expect(guard(textOf(beside)), textOf(beside)).toBe(!isSpecial(beside));
  });

  it.each(specialIPv6)('blocks %s and %s', (first, last) => {
    expect(guard(first)).toBe(false);
    expect(guard(last)).toBe(false);
  });

  it.each([
    '2001:200::',
    '2000::',
    '2003::',
    '3ffe:ffff::',
    '3fff:1000::',
    '2001:db9::',
    '2001:db7:ffff::',
    '2606:4700::',
  ])('allows %s, which is near a blocked range', (address) => {
    expect(guard(address)).toBe(true);
  });

  it('allows an IPv4 address exactly if no registry lists it as special', () => {
    fc.assert(
      fc.property(anyIPv4, (value) => {
        expect(guard(textOf(value))).toBe(!isSpecial(value));
      }),
      { numRuns: 2_000 },
    );
  });

  it('treats every form of an IPv4 address like that address', () => {
    fc.assert(
      fc.property(anyIPv4, (value) => {
        const dotted = textOf(value);
        const hex = hexOf(value);
        const long = hex
          .split(':')
          .map((group) => group.padStart(4, '0').toUpperCase())
          .join(':');
        for (const form of [
          `::ffff:${dotted}`,
          `::FFFF:${hex}`,
          `0:0:0:0:0:ffff:${dotted}`,
          `0000:0000:0000:0000:0000:ffff:${long}`,
          `64:ff9b::${dotted}`,
          `64:ff9b::${hex}`,
          `0064:FF9B:0000:0000:0000:0000:${long}`,
        ])
          expect(guard(form), form).toBe(guard(dotted));
      }),
      { numRuns: 1_000 },
    );
  });

  it('blocks every form that hides an IPv4 address from routers', () => {
    fc.assert(
      fc.property(anyIPv4, fc.nat(0xffff), (value, noise) => {
        const hex = hexOf(value);
        const inverted = hexOf(~value >>> 0);
        const some = noise.toString(16);
        for (const form of [
          `2002:${hex}::${some}`,
          `2001:0:${hex}:${some}:${some}:${inverted}`,
          `2001:0:${some}:${some}::${inverted}`,
          `::${hex}`,
          `::ffff:0:${hex}`,
          `64:ff9b:1:${some}::${hex}`,
        ]) {
          expect(isIPv6(form), form).toBe(true);
          expect(guard(form), form).toBe(false);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('allows a listed block in every form, and nothing else', () => {
    fc.assert(
      fc.property(anyIPv4, fc.integer({ min: 1, max: 32 }), anyIPv4, (base, prefix, other) => {
        const size = 2 ** (32 - prefix);
        const first = Math.floor(base / size) * size;
        const listed = createAddressGuard([parseCidr(`${textOf(base)}/${prefix}`)!]);
        for (const value of [first, first + size - 1])
          for (const form of [textOf(value), `::ffff:${textOf(value)}`, `64:ff9b::${hexOf(value)}`])
            expect(listed(form), form).toBe(true);
        const inside = other >= first && other < first + size;
        expect(listed(textOf(other))).toBe(inside || !isSpecial(other));
        expect(listed(`2002:${hexOf(base)}::1`)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  it('blocks any text that is not an address', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string({ unit: fc.constantFrom('1', ':', '.', '%', 'f', '/') }),
        ),
        (text) => {
          fc.pre(!/^[0-9.]+$/.test(text) && !isIPv6(text));
          expect(guard(text)).toBe(false);
        },
      ),
    );
  });
});

describe('the plain form of an address', () => {
  it('is the IPv4 address of an IPv4-mapped address, and otherwise the address itself', () => {
    fc.assert(
      fc.property(anyIPv4, fc.ipV6(), (value, other) => {
        expect(plainAddress(`::ffff:${hexOf(value)}`)).toBe(textOf(value));
        expect(plainAddress(`::FFFF:${textOf(value)}`)).toBe(textOf(value));
        expect(plainAddress(textOf(value))).toBe(textOf(value));
        expect(plainAddress(`64:ff9b::${hexOf(value)}`)).toBe(`64:ff9b::${hexOf(value)}`);
        fc.pre(!/^[0:]*ffff:/i.test(other));
        expect(plainAddress(other)).toBe(other);
      }),
    );
  });
});
