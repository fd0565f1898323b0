import type { OnReadOpts, Socket, TcpNetConnectOpts } from 'node:net';
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { authorityText } from '../policy/authority.ts';
import { bareHost, isAddress } from '../policy/host.ts';
import type { Peer } from '../policy/peer.ts';
import type { TlsSession, TlsSessions } from './tls-sessions.ts';

/** What handshakes with upstreams have in common. */
export interface Handshakes {
  /** What certificates of the peer are verified against, and the certificate that it gets to see, if any. */
  readonly trust: (peer: Peer) => SecureContext;
  /** Of nobody who trusts otherwise, and of no other identity. */
  readonly sessions: (peer: Peer) => TlsSessions;
}

/** What one handshake is made with. */
export interface HandshakeOptions {
  /** ALPN (RFC 7301), the one liked best first. */
  readonly protocols: readonly string[];
  readonly onread?: OnReadOpts | undefined;
}

/** One socket for TCP and TLS, which reads as `onread` says: a handshake begins when the connection is there. */
export function openTls(
  peer: Peer,
  target: TcpNetConnectOpts,
  handshakes: Handshakes,
  { protocols, onread }: HandshakeOptions,
): TLSSocket {
  const resumed = handshakes.sessions(peer).take(authorityText(peer));
  const socket = connectTls({
    ...target,
    ...verifying(peer, handshakes, { protocols, resumed }),
    ...(onread === undefined ? {} : { onread }),
  });
  return keeping(socket, peer, handshakes, resumed);
}

/** TLS over a connection that is there. Node reads no such socket as `onread` says. */
export function overTunnel(
  peer: Peer,
  tunnel: Socket,
  handshakes: Handshakes,
  protocols: readonly string[],
): TLSSocket {
  const resumed = handshakes.sessions(peer).take(authorityText(peer));
  const socket = connectTls({ ...verifying(peer, handshakes, { protocols, resumed }), socket: tunnel });
  return keeping(socket, peer, handshakes, resumed);
}

function verifying(
  peer: Peer,
  { trust }: Handshakes,
  { protocols, resumed }: { readonly protocols: readonly string[]; readonly resumed: TlsSession | undefined },
): ConnectionOptions {
  const host = bareHost(peer.host);
  return {
    secureContext: trust(peer),
    rejectUnauthorized: true,
    // What is dialed is an address, where the authority is a name. Node asks this in full handshakes alone.
    checkServerIdentity: (_dialed, certificate) => checkServerIdentity(host, certificate),
    // SNI carries names alone (RFC 6066 §3).
    ...(isAddress(peer.host) ? {} : { servername: host }),
    ALPNProtocols: [...protocols],
    ...(resumed === undefined ? {} : { session: resumed.bytes }),
  };
}

function keeping(
  socket: TLSSocket,
  peer: Peer,
  { sessions }: Handshakes,
  resumed: TlsSession | undefined,
): TLSSocket {
  // Node tells of a session when the certificate has been verified, and not before.
  return socket.on('session', (bytes: Buffer) => {
    sessions(peer).keep(authorityText(peer), bytes, socket.isSessionReused() ? resumed : undefined);
  });
}
