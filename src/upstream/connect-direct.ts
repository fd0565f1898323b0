import { connect as connectTcp, type OnReadOpts, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { Peer } from '../policy/peer.ts';
import type { Clock } from './deadline.ts';
import { tlsFailed, unreachable } from './dial-failure.ts';
import { openTls, type Handshakes } from './handshake.ts';
import { AllFailed, interleave, race } from './race.ts';
import type { CheckedAddress } from './resolve.ts';
import { until } from './until.ts';

/** How a connection is to be made. */
export interface Dialing {
  /** TLS on top of TCP, and what is offered over it (ALPN); null: TCP alone. */
  readonly tls: { readonly protocols: readonly string[] } | null;
  /** Whether our side stays open when the other has ended. */
  readonly allowHalfOpen: boolean;
  readonly onread?: OnReadOpts | undefined;
  readonly signal: AbortSignal;
}

/** The next address is tried beside one that has not answered for so long (RFC 8305 §8). */
const attemptDelayMs = 250;

/**
 * Connects to whichever of the addresses answers first; TLS, where it is wanted, is made with that one.
 *
 * Rejects with SidekeyError `upstream_unreachable` or `upstream_tls`, or with the reason of the signal.
 */
export async function connectDirect(
  peer: Peer,
  addresses: readonly CheckedAddress[],
  { tls, allowHalfOpen, onread, signal }: Dialing,
  { handshakes, clock }: { readonly handshakes: Handshakes; readonly clock: Clock },
): Promise<Socket> {
  const ordered = interleave(addresses);
  const open = (address: CheckedAddress): Socket => {
    const target = targetOf(address, peer.port, allowHalfOpen);
    if (tls !== null) return openTls(peer, target, handshakes, { ...tls, onread });
    return connectTcp(onread === undefined ? target : { ...target, onread });
  };
  const attempt = async (address: CheckedAddress, given: AbortSignal): Promise<Socket> => {
    const socket = open(address);
    await until(socket, 'connect', given);
    return socket;
  };
  const socket = await race(ordered, { attempt, delayMs: attemptDelayMs, clock, signal }).catch(
    (error: unknown) => {
      throw error instanceof AllFailed ? unreachable(peer, ordered, error.reasons) : error;
    },
  );
  if (tls !== null) await shaken(socket, peer, signal);
  return socket;
}

/** Resolves when the handshake is done and the certificate verified. Rejects as `connectDirect`. */
export async function shaken(socket: Socket, peer: Peer, signal: AbortSignal): Promise<void> {
  try {
    await until(socket, 'secureConnect', signal);
  } catch (error) {
    throw error === signal.reason ? error : tlsFailed(peer, error as Error);
  }
}

/** One address, and no name: there is nothing to be looked up again. */
function targetOf(
  { address, family }: CheckedAddress,
  port: number,
  allowHalfOpen: boolean,
): TcpNetConnectOpts {
  return {
    host: address,
    family,
    port,
    allowHalfOpen,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    autoSelectFamily: false,
  };
}
