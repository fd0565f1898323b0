import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';

/**
 * Target of a request, for policy, credential, address, SNI and certificate verification. The host is
 * canonical (see `canonicalHost`).
 */
export interface Authority {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
}

export type Scheme = 'https' | 'http';

/** Default ports of the schemes (RFC 9110 §4.2). */
export const defaultPort = { https: 443, http: 80 } as const satisfies Record<Scheme, number>;

/** Parses `host[:port]` (RFC 3986 §3.2, without user information). Returns null if it is invalid. */
export function parseAuthority(text: string, scheme: Scheme): Authority | null {
  const { host: hostText, port: portText } = splitPort(text);
  const host = canonicalHost(hostText);
  const port = portText === null ? defaultPort[scheme] : parsePort(portText);
  return host === null || port === null ? null : { scheme, host, port };
}

/** Parses `host:port` of a CONNECT (RFC 9110 §9.3.6): the port is required. */
export function parseConnectTarget(text: string): Authority | null {
  return splitPort(text).port === null ? null : parseAuthority(text, 'https');
}

/** An absolute-form target (RFC 9112 §3.2.2): its authority, and the raw bytes after it. */
export interface AbsoluteTarget {
  readonly authority: Authority;
  /** Origin-form: the unchanged path and query; `/` if empty. */
  readonly path: string;
}

const absoluteForm = /^(https?):\/\/([^/?#]*)([^#]*)$/i;

/** Parses an absolute `http` or `https` URI without user information and fragment, or returns null. */
export function parseAbsoluteTarget(text: string): AbsoluteTarget | null {
  const [, scheme, authorityText, rest] = absoluteForm.exec(text) ?? [];
  if (scheme === undefined || authorityText === undefined || rest === undefined) return null;
  const authority = parseAuthority(authorityText, scheme.toLowerCase() as Scheme);
  if (authority === null) return null;
  return { authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** Returns the value of a `Host` field: `host`, or `host:port` if the port is not the default. */
export function authorityText({ scheme, host, port }: Authority): string {
  return port === defaultPort[scheme] ? host : `${host}:${port}`;
}

export function sameAuthority(a: Authority, b: Authority): boolean {
  return a.host === b.host && a.port === b.port && a.scheme === b.scheme;
}

/** Parses a port: 1 to 65535 without sign and leading zeros. Returns null if it is invalid. */
export function parsePort(text: string): number | null {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65_535 ? port : null;
}

/**
 * Splits at the colon before the port, outside the brackets of an IPv6 address. The port is null if there is
 * none. Validates neither part.
 */
export function splitPort(text: string): { host: string; port: string | null } {
  const colon = text.indexOf(':', text.startsWith('[') ? text.lastIndexOf(']') : 0);
  return colon < 0 ? { host: text, port: null } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/**
 * The host name of the proxy itself for its callers. `internal` is reserved for private use (ICANN board
 * resolution 2024.07.29.06). The domain map cannot contain it, it is never resolved, and requests for it are
 * not forwarded.
 */
export const ownHost = 'sidekey.internal';

/** Reports whether a request is for the proxy itself, on any port. */
export function isOwn({ host }: Pick<Authority, 'host'>): boolean {
  return host === ownHost;
}

const notInHost = /[^\p{L}\p{M}\p{N}._-]/u;
/** Allowed characters after IDNA, which maps some characters to several: `⑴` becomes `(1)`. */
const asciiName = /^[a-z0-9._-]+$/;

/**
 * A canonical name that the URL parser would not change: no IDNA label, and a last label that begins with a
 * letter and so is not a number. Saves the parser's work: a twentieth of the CPU of a new tunnel.
 */
const plainName = /^(?:(?!xn--)[a-z0-9_-]{1,63}\.)*(?!xn--)[a-z][a-z0-9_-]{0,62}$/;

/**
 * Returns the canonical form of a host: lower case, IDNA applied (UTS #46, as in WHATWG URL), no trailing
 * dot, an IPv6 address compressed and in brackets. All comparisons of hosts use this form.
 *
 * Null if the host is invalid or ambiguous: numbers that some programs parse as an IPv4 address
 * (`2130706433`, `0x7f.1`, `010.0.0.1`), empty labels, characters that a URL parser removes or decodes.
 */
export function canonicalHost(text: string): string | null {
  if (text.length <= 253 && plainName.test(text)) return text;
  if (text.startsWith('[')) {
    return text.endsWith(']') && isIPv6(text.slice(1, -1)) ? urlHost(text) : null;
  }
  if (text.length === 0 || text.length > 255 || notInHost.test(text)) return null;
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  const host = urlHost(name);
  if (host === null || host.length > 253 || !asciiName.test(host)) return null;
  if (isIPv4(host)) return host === name ? host : null;
  return host.split('.').every((label) => label.length > 0 && label.length <= 63) ? host : null;
}

/** Returns the canonical host of the 16 bytes of an IPv6 address. */
export function hostOfIpv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16));
  return canonicalHost(`[${groups.join(':')}]`) ?? '';
}

/** Reports whether a canonical host is an IP address. */
export function isAddress(host: string): boolean {
  return host.startsWith('[') || isIPv4(host);
}

/** Reports whether a host of a redirect URI is loopback (RFC 8252 §7.3, §8.3). */
export function isLoopback(host: string): boolean {
  return host === '127.0.0.1' || host === '[::1]' || host === 'localhost';
}

/** Converts a canonical host to the form of sockets, certificates and `net`: IPv6 without brackets. */
export function bareHost(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function urlHost(text: string): string | null {
  const url = URL.parse(`https://${text}/`);
  return url === null || url.hostname === '' ? null : url.hostname;
}

/** A block of addresses (RFC 4632). A single address is a block of one. */
export interface Cidr {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Parses `10.1.2.0/24`, `fd00::/8`, `10.1.2.3`. Returns null if it is invalid. */
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
 * Prefixes of addresses that reach an embedded IPv4 address: mapped (RFC 4291 §2.5.5.2), NAT64 (RFC 6052).
 */
const mappedPrefix = '::ffff:0:0/96';
const embedding = [mappedPrefix, '64:ff9b::/96'];

/** Reports whether Sidekey may dial a resolved address. */
export type AddressGuard = (address: string) => boolean;

/**
 * Allows public addresses and the listed ones. An IPv6 address with an embedded IPv4 address is checked as
 * that address. 6to4, Teredo and IPv4-compatible addresses are never public.
 *
 * @param permitted blocks of `upstream.private_addresses`
 */
export function createAddressGuard(permitted: readonly Cidr[]): AddressGuard {
  const isPermitted = createAddressBlocks(permitted);
  return (address) => {
    const ipv4 = isIP(address) === 4 ? address : carriedIPv4(address, carriers);
    if (ipv4 !== null) return !special.check(ipv4, 'ipv4') || isPermitted(ipv4);
    return isIP(address) === 6 && (isPublicIPv6(address) || isPermitted(address));
  };
}

/** Returns a function that reports whether one of the blocks contains a plain address. */
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

/** Returns the IPv4 address of an IPv4-mapped address, and any other text unchanged. */
export function plainAddress(address: string): string {
  return carriedIPv4(address, mapped) ?? address;
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
