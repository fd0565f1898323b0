import { BlockList, isIP } from 'node:net';

/** A block of addresses (RFC 4632); a single address is a block of one. */
export interface Cidr {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Parses `10.1.2.0/24`, `fd00::/8`, `10.1.2.3`; null if it is invalid. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const version = isIP(address);
  if (version === 0 || address.includes('%')) return null;
  const width = version === 4 ? 32 : 128;
  const prefixText = slash < 0 ? String(width) : text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(prefixText) || Number(prefixText) > width) return null;
  return { address, prefix: Number(prefixText), family: version === 4 ? 'ipv4' : 'ipv6' };
}

/** IANA special-purpose IPv4 blocks (RFC 6890 and its registry), multicast and the reserved rest. */
// prettier-ignore
const specialIPv4 = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
  '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
  '224.0.0.0/4', '240.0.0.0/4',
  // A public address that serves secrets in every Azure machine: the host agent.
  '168.63.129.16/32',
];

/** Special blocks within 2000::/3, the only global unicast space of IPv6 (RFC 4291 §2.4). */
const specialIPv6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/**
 * Prefixes of IPv6 addresses that reach an embedded IPv4 address: mapped (RFC 4291 §2.5.5.2), NAT64 (RFC
 * 6052).
 */
const mappedPrefix = '::ffff:0:0/96';
const embedding = [mappedPrefix, '64:ff9b::/96'];

/** Reports whether Sidekey may dial a resolved address. */
export type AddressGuard = (address: string) => boolean;

/**
 * Allows public addresses and the listed ones. An IPv6 address with an embedded IPv4 address is checked as
 * that address; 6to4, Teredo and IPv4-compatible addresses are never public.
 *
 * @param permitted blocks of `upstream.private_addresses`
 */
export function createAddressGuard(permitted: readonly Cidr[]): AddressGuard {
  const isPermitted = createAddressBlocks(permitted);
  return (address) => {
    const ipv4 = isIP(address) === 4 ? address : carriedIPv4(address, carriers);
    if (ipv4 !== null) return isPublicIPv4(ipv4) || isPermitted(ipv4);
    return isIP(address) === 6 && (isPublicIPv6(address) || isPermitted(address));
  };
}

/** Returns a test that reports whether one of the blocks contains a plain address. */
export function createAddressBlocks(blocks: readonly Cidr[]): (address: string) => boolean {
  // One list for each family: in a common list, an IPv6 block such as ::/0 would contain every IPv4 address.
  const ipv4 = blockList(blocks.filter(({ family }) => family === 'ipv4'));
  const ipv6 = blockList(blocks.filter(({ family }) => family === 'ipv6'));
  return (address) => {
    switch (isIP(address)) {
      case 4:
        return ipv4.check(address, 'ipv4');
      case 6:
        return ipv6.check(address, 'ipv6');
      default:
        return false;
    }
  };
}

const special = blockList([...specialIPv4, ...specialIPv6].map(known));
const globalUnicast = blockList([known('2000::/3')]);
const carriers = blockList(embedding.map(known));
const mapped = blockList([known(mappedPrefix)]);

/**
 * Returns the plain form of an address: the IPv4 address of an IPv4-mapped one. Returns any other text
 * unchanged.
 */
export function plainAddress(address: string): string {
  return carriedIPv4(address, mapped) ?? address;
}

function isPublicIPv4(address: string): boolean {
  return !special.check(address, 'ipv4');
}

function isPublicIPv6(address: string): boolean {
  return !address.includes('%') && globalUnicast.check(address, 'ipv6') && !special.check(address, 'ipv6');
}

/** Returns the IPv4 address embedded in an address of these blocks, or null. */
function carriedIPv4(text: string, within: BlockList): string | null {
  const [address = ''] = text.split('%', 1);
  if (isIP(address) !== 6 || !within.check(address, 'ipv6')) return null;
  // URL formats the last 32 bits as two groups in hex.
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [high = 0, low = 0] = canonical
    .split(':')
    .slice(-2)
    .map((group) => parseInt(group || '0', 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function blockList(blocks: readonly Cidr[]): BlockList {
  const list = new BlockList();
  for (const { address, prefix, family } of blocks) list.addSubnet(address, prefix, family);
  return list;
}

function known(text: string): Cidr {
  const block = parseCidr(text);
  if (block === null) throw new TypeError(`not a block of addresses: ${text}`);
  return block;
}
