import { SidekeyError } from '../errors.ts';
import { createAddressBlocks, type Cidr } from '../policy/address.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { isAddress } from '../policy/host.ts';
import type { DomainPattern } from '../policy/pattern.ts';
import type { CheckedAddress, Resolver } from './resolve.ts';

/** The way to an authority. */
export type Route =
  | { readonly kind: 'direct'; readonly addresses: readonly CheckedAddress[] }
  /** Through the company's proxy, to checked addresses of ours. */
  | { readonly kind: 'tunnel'; readonly addresses: readonly CheckedAddress[] }
  /** Through the company's proxy, to whatever address the name has for it. */
  | { readonly kind: 'named tunnel' };

/** Finds the way. Rejects with SidekeyError `address_blocked` or `upstream_unreachable`. */
export type Router = (authority: Authority) => Promise<Route>;

/** What ways are found by. */
export interface RouterOptions {
  readonly resolve: Resolver;
  /** Whether `upstream.resolve` has the host. */
  readonly isPinned: (host: string) => boolean;
  /** Whether an address is this proxy's own listener: dialing it would go round for ever. */
  readonly isSelf: (address: string, port: number) => boolean;
  /** Null: every way is direct. */
  readonly proxy: { readonly resolves: boolean } | null;
  /** What goes directly all the same. */
  readonly exceptions: Exceptions;
}

/** `upstream.no_proxy`. */
export interface Exceptions {
  /** Without a port: any port. */
  readonly hosts: readonly DomainPattern[];
  readonly blocks: readonly Cidr[];
}

/** Every authority's addresses are checked, but where the proxy looks names up itself. */
export function createRouter({ resolve, isPinned, isSelf, proxy, exceptions }: RouterOptions): Router {
  const isListed = createAddressBlocks(exceptions.blocks);

  async function addressesOf(authority: Authority): Promise<readonly CheckedAddress[]> {
    const found = await resolve(authority.host);
    const addresses = found.filter(({ address }) => !isSelf(address, authority.port));
    if (addresses.length > 0) return addresses;
    throw new SidekeyError('address_blocked', `${authorityText(authority)} is this proxy itself.`);
  }

  return async (authority) => {
    const { host } = authority;
    if (proxy === null || exceptions.hosts.some((pattern) => isException(pattern, authority)))
      return { kind: 'direct', addresses: await addressesOf(authority) };
    if (proxy.resolves && !isAddress(host) && !isPinned(host)) return { kind: 'named tunnel' };
    const addresses = await addressesOf(authority);
    const listed = addresses.filter(({ address }) => isListed(address));
    return listed.length > 0 ? { kind: 'direct', addresses: listed } : { kind: 'tunnel', addresses };
  };
}

/** Unlike in the domain map, a pattern without a port stands for all ports: so people know it from other programs. */
function isException({ host, wildcard, port }: DomainPattern, authority: Authority): boolean {
  if (port !== null && port !== authority.port) return false;
  return wildcard ? authority.host.endsWith(`.${host}`) : authority.host === host;
}
