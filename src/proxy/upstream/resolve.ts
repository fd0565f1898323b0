import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { SidekeyError } from '../../lib/errors.ts';
import {
  type AddressGuard,
  type Authority,
  authorityText,
  bareHost,
  type Cidr,
  createAddressBlocks,
  isAddress,
  parseCidr,
  plainAddress,
} from '../policy/authority.ts';
import type { DomainPattern } from '../policy/domain-map.ts';

/** An address that the address guard allows. */
export interface CheckedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface ResolverOptions {
  readonly guard: AddressGuard;
  /** Canonical host → address, instead of the name service (`upstream.resolve`). */
  readonly pinned: ReadonlyMap<string, string>;
  /** The name service. Default: the system's. Tests replace it. */
  readonly lookup?: (
    host: string,
  ) => Promise<readonly { readonly address: string; readonly family: number }[]>;
}

/**
 * Resolves a canonical host to addresses that may be dialed. The caller must dial one of these addresses, not
 * the name: the name may resolve differently the second time (DNS rebinding). Rejects with SidekeyError
 * `upstream_unreachable` if there is no address, `address_blocked` if none is allowed.
 */
type Resolver = (host: string) => Promise<readonly CheckedAddress[]>;

/** Creates a resolver without a cache. */
export function createResolver({ guard, pinned, lookup = systemAddresses }: ResolverOptions): Resolver {
  async function addressesOf(host: string): Promise<readonly string[]> {
    const address = isAddress(host) ? bareHost(host) : pinned.get(host);
    if (address !== undefined) return [address];
    try {
      return (await lookup(host)).map((entry) => entry.address);
    } catch (cause) {
      throw new SidekeyError('upstream_unreachable', `The name ${host} cannot be resolved.`, {
        hint: `check the name and the network, or pin an address with upstream.resolve`,
        cause,
      });
    }
  }

  return async (host) => {
    const addresses = (await addressesOf(host)).map(plainAddress);
    const allowed = addresses
      .filter(guard)
      .map((address): CheckedAddress => ({ address, family: isIP(address) === 4 ? 4 : 6 }));
    if (allowed.length > 0) return allowed;
    const [first] = addresses;
    if (first === undefined) {
      throw new SidekeyError('upstream_unreachable', `The name ${host} has no address.`);
    }
    const subject = bareHost(host) === first ? first : `${host} resolves to ${first}, which`;
    throw new SidekeyError('address_blocked', `${subject} is not a public address and is not listed.`, {
      hint: blockedHint(first, isAddress(host) || pinned.has(host)),
    });
  };
}

/** Blocks of stand-in addresses: VPN programs with "fake IP" answer each name so, and connect by the name. */
const standIns = ['198.18.0.0/15', 'fc00::/18'].map((text) => ({
  text,
  includes: createAddressBlocks([parseCidr(text)!]),
}));

/** @param isGiven true if the address is not from the name service */
function blockedHint(address: string, isGiven: boolean): string {
  const block = isGiven ? undefined : standIns.find(({ includes }) => includes(address));
  if (block !== undefined)
    return `a VPN on this machine seems to answer all names with stand-in addresses: set upstream.proxy to its proxy port, or have it answer with real addresses, or add ${block.text} to upstream.private_addresses if its own rules keep private networks out`;
  if (!isGiven && (address === '0.0.0.0' || address === '::'))
    return 'a filter of the name service, or the hosts file, blocks the name: allow it there';
  return `add ${address} to upstream.private_addresses if Sidekey may reach it`;
}

function systemAddresses(host: string) {
  return systemLookup(host, { all: true, order: 'verbatim' });
}

/** The route to an authority. */
export type Route =
  | { readonly kind: 'direct'; readonly addresses: readonly CheckedAddress[] }
  /** Through the parent proxy, to addresses that Sidekey has checked. */
  | { readonly kind: 'tunnel'; readonly addresses: readonly CheckedAddress[] }
  /** Through the parent proxy, which resolves the name. */
  | { readonly kind: 'named tunnel' };

/** Finds the route. Rejects with SidekeyError `address_blocked` or `upstream_unreachable`. */
export type Router = (authority: Authority) => Promise<Route>;

export interface RouterOptions {
  readonly resolve: Resolver;
  /** Reports whether `upstream.resolve` contains the host. */
  readonly isPinned: (host: string) => boolean;
  /** Reports whether an address is a listener of this process: dialing it would loop. */
  readonly isSelf: (address: string, port: number) => boolean;
  /** Null: all routes are direct. */
  readonly proxy: { readonly remoteDns: boolean } | null;
  readonly exceptions: ProxyExceptions;
}

/** The upstreams to dial directly (`upstream.no_proxy`). */
export interface ProxyExceptions {
  /** A pattern without a port matches all ports. */
  readonly hosts: readonly DomainPattern[];
  readonly blocks: readonly Cidr[];
}

/** Creates a router that checks all addresses, except those that the parent proxy resolves. */
export function createRouter({ resolve, isPinned, isSelf, proxy, exceptions }: RouterOptions): Router {
  const isListed = createAddressBlocks(exceptions.blocks);

  async function addressesOf(authority: Authority): Promise<readonly CheckedAddress[]> {
    const resolved = await resolve(authority.host);
    const addresses = resolved.filter(({ address }) => !isSelf(address, authority.port));
    if (addresses.length > 0) return addresses;
    throw new SidekeyError('address_blocked', `${authorityText(authority)} is this proxy itself.`, {
      hint: 'name another host: a request never reaches the proxy through itself',
    });
  }

  return async (authority) => {
    const { host } = authority;
    if (proxy === null || exceptions.hosts.some((pattern) => matchesException(pattern, authority)))
      return { kind: 'direct', addresses: await addressesOf(authority) };
    if (proxy.remoteDns && !isAddress(host) && !isPinned(host)) return { kind: 'named tunnel' };
    const addresses = await addressesOf(authority);
    const listed = addresses.filter(({ address }) => isListed(address));
    return listed.length > 0 ? { kind: 'direct', addresses: listed } : { kind: 'tunnel', addresses };
  };
}

/** Like `no_proxy` of other programs, but unlike the domain map: a pattern without a port matches all. */
function matchesException({ host, wildcard, port }: DomainPattern, authority: Authority): boolean {
  if (port !== null && port !== authority.port) return false;
  return wildcard ? authority.host.endsWith(`.${host}`) : authority.host === host;
}
