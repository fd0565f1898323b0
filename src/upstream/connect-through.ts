import type { Socket } from 'node:net';
import { authorityText, type Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { openTunnel, TunnelRefused, type CompanyProxy } from './company-proxy.ts';
import { connectDirect, shaken, type Dialing } from './connect-direct.ts';
import type { Clock } from './deadline.ts';
import { proxyNotReached } from './dial-failure.ts';
import { overTunnel, type Handshakes } from './handshake.ts';
import { AllFailed, interleave, race } from './race.ts';
import { readAs } from './read-as.ts';
import type { CheckedAddress } from './resolve.ts';
import type { Route } from './route.ts';
import { orAborted } from './until.ts';

/** The company's proxy, and what it is reached with. */
export interface ProxyWay {
  readonly proxy: CompanyProxy;
  /** The addresses of the proxy itself. Rejects with SidekeyError. */
  readonly addresses: () => Promise<readonly CheckedAddress[]>;
}

/** Longer than between addresses of our own: the proxy has attempts to make before it answers. */
const tunnelDelayMs = 1_000;

/**
 * Connects by a tunnel of the company's proxy, over a connection to it that serves nothing else. Plain connections go
 * by a tunnel too.
 *
 * Rejects with SidekeyError `upstream_unreachable`, `upstream_protocol`, `upstream_tls` or `address_blocked`, or with
 * the reason of the signal.
 */
export async function connectThrough(
  peer: Peer,
  way: Exclude<Route, { kind: 'direct' }>,
  { tls, allowHalfOpen, onread, signal }: Dialing,
  { proxy, addresses, ...parts }: ProxyWay & { readonly handshakes: Handshakes; readonly clock: Clock },
): Promise<Socket> {
  const attempt = async (host: string, given: AbortSignal): Promise<Socket> => {
    const spoken = proxy.authority.scheme === 'https' ? { protocols: ['http/1.1'] } : null;
    const dialing = { tls: spoken, allowHalfOpen, signal: given };
    const socket = await orAborted(addresses(), given)
      .then((found) => connectDirect(proxy.authority, found, dialing, parts))
      .catch((error: unknown) => {
        throw proxyNotReached(error);
      });
    const target = `${host}:${peer.port}`;
    await openTunnel(socket, proxy, { target, to: authorityText(peer), signal: given });
    return socket;
  };
  const tunnel = await race(hostsOf(peer, way), {
    attempt,
    delayMs: tunnelDelayMs,
    clock: parts.clock,
    signal,
    // Whatever else goes wrong between us and the proxy does so for every address.
    isFinal: (error) => !(error instanceof TunnelRefused),
  }).catch((error: unknown) => {
    throw error instanceof AllFailed ? error.reasons[0] : error;
  });
  const socket = tls === null ? tunnel : overTunnel(peer, tunnel, parts.handshakes, tls.protocols);
  if (tls !== null) await shaken(socket, peer, signal);
  if (onread !== undefined) readAs(socket, onread);
  return socket;
}

function hostsOf(authority: Authority, way: Exclude<Route, { kind: 'direct' }>): readonly string[] {
  if (way.kind === 'named tunnel') return [authority.host];
  return interleave(way.addresses).map(({ address, family }) => (family === 6 ? `[${address}]` : address));
}
