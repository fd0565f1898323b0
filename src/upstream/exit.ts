import { networkInterfaces } from 'node:os';
import type { Dispatcher } from 'undici';
import { createAddressGuard, parseCidr } from '../policy/address.ts';
import type { Limits } from '../policy/limits.ts';
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
  /** The port that the proxy itself listens on; null before it does. */
  readonly ownPort: () => number | null;
}

/** Every way out of the process, all through one dialer. */
export interface Exit {
  readonly dialer: Dialer;
  readonly pool: Dispatcher;
  /** For token endpoints; on connections of its own, so that a full pool never delays a refresh. */
  readonly fetch: typeof fetch;
  /** Lets what is under way end, and closes. */
  close(): Promise<void>;
}

/** @throws SidekeyError `config_invalid` where a file of trust anchors cannot be read. */
export function createExit({ ca, resolve, privateAddresses, limits, ownPort }: ExitOptions): Exit {
  const blocks = privateAddresses.map(parseCidr).filter((block) => block !== null);
  const dialer = createDialer({
    resolve: createResolver({ guard: createAddressGuard(blocks), pinned: resolve }),
    trust: createTrust(ca),
    timeoutMs: limits.upstream_connect,
    isSelf: (address, port) => port === ownPort() && isOfThisMachine(address),
  });
  const pool = createPool(dialer, limits);
  const forTokens = createPool(dialer, limits);
  return {
    dialer,
    pool,
    fetch: createFetch(forTokens),
    async close() {
      await Promise.all([pool.close(), forTokens.close()]);
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
