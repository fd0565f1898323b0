import { networkInterfaces } from 'node:os';
import { createAddressGuard, parseCidr } from '../policy/address.ts';
import type { Limits } from '../policy/limits.ts';
import { createConnections, type Connections } from './connections.ts';
import { openDatagrams, type Datagrams } from './datagrams.ts';
import { createDialer, type Dialer } from './dial.ts';
import { createFetch, createPool } from './pool.ts';
import { createResolver } from './resolve.ts';
import { createTrust } from './trust.ts';

/** What `upstream` of the config says. */
export interface ExitOptions {
  /** Paths of PEM files. */
  readonly ca: readonly string[];
  readonly resolve: ReadonlyMap<string, string>;
  /** CIDRs. */
  readonly privateAddresses: readonly string[];
  readonly limits: Limits;
  /** The ports that this process itself listens on by now. */
  readonly ownPorts: () => readonly number[];
}

/** Every way out of the process, all through one dialer. */
export interface Exit {
  readonly dialer: Dialer;
  readonly connections: Connections;
  /** For token endpoints; on connections of its own, so that a full pool never delays a refresh. */
  readonly fetch: typeof fetch;
  /**
   * UDP to an address of a host, checked as those of connections are. Rejects with SidekeyError `address_blocked` or
   * `upstream_unreachable`.
   */
  readonly datagrams: (host: string, port: number) => Promise<Datagrams>;
  /** Lets what is under way end, and closes. */
  close(): Promise<void>;
}

/** @throws SidekeyError `config_invalid` where a file of trust anchors cannot be read. */
export function createExit({ ca, resolve, privateAddresses, limits, ownPorts }: ExitOptions): Exit {
  const blocks = privateAddresses.map(parseCidr).filter((block) => block !== null);
  const resolver = createResolver({ guard: createAddressGuard(blocks), pinned: resolve });
  const dialer = createDialer({
    resolve: resolver,
    trust: createTrust(ca),
    timeoutMs: limits.upstream_connect,
    isSelf: (address, port) => ownPorts().includes(port) && isOfThisMachine(address),
  });
  const connections = createConnections({ dialer, limits });
  const forTokens = createPool(dialer, limits);
  return {
    dialer,
    connections,
    fetch: createFetch(forTokens),
    datagrams: (host, port) => openDatagrams(resolver, host, port),
    async close() {
      await Promise.all([connections.close(), forTokens.close()]);
    },
  };
}

/** Of a plain address. To dial the unspecified one is, on most systems, to dial this machine. */
function isOfThisMachine(address: string): boolean {
  return (
    address.startsWith('127.') ||
    address === '0.0.0.0' ||
    address === '::' ||
    Object.values(networkInterfaces()).some(
      (list) => list?.some((entry) => entry.address === address) === true,
    )
  );
}
