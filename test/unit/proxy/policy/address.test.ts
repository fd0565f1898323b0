import { describe, expect, it } from 'vitest';
import { createAddressGuard, parseCidr, type Cidr } from '../../../../src/proxy/policy/authority.ts';

const blocks = (...texts: string[]): Cidr[] => texts.map((text) => parseCidr(text)!);

describe('a block of addresses', () => {
  it('is parsed from CIDR notation and from a single address', () => {
    expect(parseCidr('10.1.2.0/24')).toEqual({ address: '10.1.2.0', prefix: 24, family: 'ipv4' });
    expect(parseCidr('10.1.2.3')).toEqual({ address: '10.1.2.3', prefix: 32, family: 'ipv4' });
    expect(parseCidr('fd00::/8')).toEqual({ address: 'fd00::', prefix: 8, family: 'ipv6' });
    expect(parseCidr('::1')).toEqual({ address: '::1', prefix: 128, family: 'ipv6' });
    expect(parseCidr('0.0.0.0/0')).toEqual({ address: '0.0.0.0', prefix: 0, family: 'ipv4' });
  });

  it.each([
    '',
    '/',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/+8',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/8 ',
    '10.0.0/8',
    '010.0.0.0/8',
    '167772160/8',
    'fd00::/129',
    'fe80::1%eth0/64',
    '[fd00::]/8',
    'example.com/8',
  ])('is refused: %j', (text) => {
    expect(parseCidr(text)).toBeNull();
  });
});

describe('the address guard', () => {
  const guard = createAddressGuard([]);

  it.each([
    '1.1.1.1',
    '93.184.216.34',
    '172.15.255.255',
    '172.32.0.0',
    '2606:4700::1111',
    '2a00:1450:4001::1',
  ])('allows the public address %s', (address) => {
    expect(guard(address)).toBe(true);
  });

  it.each([
    ['loopback', '127.0.0.1'],
    ['loopback, far end', '127.255.255.254'],
    ['unspecified, which is this machine', '0.0.0.0'],
    ['private', '10.0.0.1'],
    ['private', '172.16.0.1'],
    ['private', '192.168.1.1'],
    ['shared by carriers, and a cloud’s metadata', '100.100.100.200'],
    ['link-local: cloud metadata', '169.254.169.254'],
    ['a cloud’s metadata in 192.0.0.0/24', '192.0.0.192'],
    ['a cloud’s host agent at a public address', '168.63.129.16'],
    ['multicast', '224.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['IPv6 loopback', '::1'],
    ['IPv6 unspecified', '::'],
    ['IPv6 link-local', 'fe80::1'],
    ['IPv6 link-local with a zone', 'fe80::1%lo'],
    ['a public IPv6 address with a zone', '2606:4700::1111%lo'],
    ['IPv6 private: cloud metadata', 'fd00:ec2::254'],
    ['IPv6 site-local', 'fec0::1'],
    ['IPv6 multicast', 'ff02::1'],
    ['IPv6 documentation', '2001:db8::1'],
    ['IPv6 discard', '100::1'],
    ['Teredo', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    ['6to4 of a public address', '2002:0101:0101::1'],
    ['IPv4-compatible of a public address', '::1.1.1.1'],
    ['IPv4-translated (SIIT)', '::ffff:0:127.0.0.1'],
    ['NAT64 for local use', '64:ff9b:1::7f00:1'],
    ['nothing', ''],
    ['a name', 'localhost'],
    ['an address in brackets', '[2606:4700::1111]'],
    ['a number', '16843009'],
  ])('blocks the address %s (%s)', (_what, address) => {
    expect(guard(address)).toBe(false);
  });

  it('checks mapped and NAT64 addresses by the embedded address', () => {
    for (const prefix of ['::ffff:', '0:0:0:0:0:FFFF:', '64:ff9b::', '64:FF9B:0:0:0:0:']) {
      expect(guard(`${prefix}1.1.1.1`), prefix).toBe(true);
      expect(guard(`${prefix}127.0.0.1`), prefix).toBe(false);
      expect(guard(`${prefix}7f00:1`), prefix).toBe(false);
      expect(guard(`${prefix}a9fe:a9fe`), prefix).toBe(false);
    }
  });

  it('allows the listed blocks, and no adjacent address', () => {
    const listed = createAddressGuard(blocks('10.1.2.0/24', 'fd00:1::/32', '127.0.0.1'));
    expect(
      ['10.1.2.0', '10.1.2.255', '::ffff:10.1.2.3', '64:ff9b::a01:203', 'fd00:1::1', '127.0.0.1'].map(listed),
    ).toEqual(Array.from({ length: 6 }, () => true));
    expect(['10.1.1.255', '10.1.3.0', 'fd00:2::1', '127.0.0.2', '::1', '::10.1.2.3'].map(listed)).toEqual(
      Array.from({ length: 6 }, () => false),
    );
  });

  it('does not apply a listed IPv6 block to IPv4 addresses', () => {
    const listed = createAddressGuard(blocks('::/0'));
    expect(listed('fd00::1')).toBe(true);
    expect(listed('::1')).toBe(true);
    expect(listed('10.0.0.1')).toBe(false);
    expect(listed('::ffff:10.0.0.1')).toBe(false);
  });
});
