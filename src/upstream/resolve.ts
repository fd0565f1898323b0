import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { SidekeyError } from '../errors.ts';
import { plainAddress, type AddressGuard } from '../policy/address.ts';
import { bareHost, isAddress } from '../policy/host.ts';

/** An address that the guard let through. */
export interface CheckedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** What a resolver is made of. */
export interface ResolverOptions {
  readonly guard: AddressGuard;
  /** Canonical host → address, instead of the name service (`upstream.resolve`). */
  readonly pinned: ReadonlyMap<string, string>;
  /** The name service; the system's unless a test gives another. */
  readonly lookup?: (
    host: string,
  ) => Promise<readonly { readonly address: string; readonly family: number }[]>;
}

/**
 * Resolves a canonical host to addresses that may be dialed. Who dials must dial one of these very addresses, and
 * not the name again: a name can answer differently the second time (DNS rebinding).
 *
 * Rejects with SidekeyError `upstream_unreachable` where there is no address, `address_blocked` where none is allowed.
 */
export type Resolver = (host: string) => Promise<readonly CheckedAddress[]>;

/** A resolver keeps nothing: each call asks anew. */
export function createResolver({ guard, pinned, lookup = systemAddresses }: ResolverOptions): Resolver {
  return async (host) => {
    const addresses = (await candidates(host, pinned, lookup)).map(plainAddress);
    const allowed = addresses
      .filter(guard)
      .map((address): CheckedAddress => ({ address, family: isIP(address) === 4 ? 4 : 6 }));
    if (allowed.length > 0) return allowed;
    const [first] = addresses;
    if (first === undefined) {
      throw new SidekeyError('upstream_unreachable', `The name ${host} has no address.`);
    }
    throw new SidekeyError(
      'address_blocked',
      `${describe(host, first)} is not a public address and is not listed.`,
      {
        hint: `add ${first} to upstream.private_addresses if Sidekey may reach it`,
      },
    );
  };
}

async function candidates(
  host: string,
  pinned: ReadonlyMap<string, string>,
  lookup: NonNullable<ResolverOptions['lookup']>,
): Promise<readonly string[]> {
  if (isAddress(host)) return [bareHost(host)];
  const address = pinned.get(host);
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

function systemAddresses(host: string) {
  return systemLookup(host, { all: true, order: 'verbatim' });
}

function describe(host: string, address: string): string {
  return bareHost(host) === address ? address : `${host} resolves to ${address}, which`;
}
