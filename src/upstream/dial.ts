import { connect as connectTcp, type OnReadOpts, type Socket, type TcpNetConnectOpts } from 'node:net';
import { checkServerIdentity, connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';
import { LRUCache } from 'lru-cache';
import { SidekeyError } from '../errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { bareHost, isAddress } from '../policy/host.ts';
import type { CheckedAddress, Resolver } from './resolve.ts';

/** What a dialer is made of. */
export interface DialerOptions {
  readonly resolve: Resolver;
  /** What certificates are verified against. */
  readonly trust: () => SecureContext;
  /** Milliseconds for name look-up, TCP and TLS together. */
  readonly timeoutMs: number;
  /** Whether an address is this proxy's own listener: dialing it would go round for ever. */
  readonly isSelf: (address: string, port: number) => boolean;
}

/**
 * The one way out: every connection of Sidekey to an upstream, a token endpoint or a tunnel's end is made here.
 * It resolves the authority, keeps to addresses that may be dialed, and for `https` verifies the certificate
 * for the authority's host.
 *
 * Rejects with SidekeyError `address_blocked`, `upstream_unreachable`, `upstream_tls` or `upstream_timeout`.
 */
export interface Dialer {
  /**
   * A TCP connection, TLS on top where the scheme is `https`.
   *
   * @param onread takes what comes, from the first byte on, instead of the socket's `data` event
   */
  connect(authority: Authority, onread?: OnReadOpts): Promise<Socket>;
  /** A TCP connection alone, for a blind tunnel: each side ends by itself, so whoever has it must end ours. */
  connectBlind(authority: Authority): Promise<Socket>;
}

const sessionsKept = 1_000;

/**
 * Keeps TLS sessions, at most 1,000, so that a second handshake with the same upstream is short; opens nothing yet.
 */
export function createDialer({ resolve, trust, timeoutMs, isSelf }: DialerOptions): Dialer {
  const sessions = new LRUCache<string, Buffer>({ max: sessionsKept });

  async function addressesOf(authority: Authority): Promise<readonly CheckedAddress[]> {
    const addresses = (await resolve(authority.host)).filter(
      ({ address }) => !isSelf(address, authority.port),
    );
    if (addresses.length > 0) return addresses;
    throw new SidekeyError('address_blocked', `${authorityText(authority)} is this proxy itself.`);
  }

  async function dial(authority: Authority, kind: Kind, onread?: OnReadOpts): Promise<Socket> {
    const deadline = AbortSignal.timeout(timeoutMs);
    const expired = rejectOnAbort(deadline, authority, timeoutMs);
    let socket: Socket | undefined;
    try {
      const addresses = await Promise.race([addressesOf(authority), expired.promise]);
      const target = {
        ...targetOf(authority, addresses, kind === 'blind'),
        ...(onread === undefined ? {} : { onread }),
      };
      socket = kind === 'tls' ? openTls(authority, target, trust(), sessions) : connectTcp(target);
      await Promise.race([once(socket, 'connect', authority, 'upstream_unreachable'), expired.promise]);
      if (kind === 'tls') {
        await Promise.race([once(socket, 'secureConnect', authority, 'upstream_tls'), expired.promise]);
      }
      return socket;
    } catch (cause) {
      // A socket that nobody waits for any more may still fail: nobody is left to tell.
      socket?.on('error', () => {}).destroy();
      throw cause;
    } finally {
      expired.cancel();
    }
  }

  return {
    connect: (authority, onread) => dial(authority, authority.scheme === 'https' ? 'tls' : 'plain', onread),
    connectBlind: (authority) => dial(authority, 'blind'),
  };
}

type Kind = 'tls' | 'plain' | 'blind';

/** Happy Eyeballs (RFC 8305) by Node over the checked addresses, which stand in for a look-up. */
function targetOf(authority: Authority, addresses: readonly CheckedAddress[], allowHalfOpen: boolean) {
  const [only] = addresses;
  const target: TcpNetConnectOpts = {
    host: addresses.length === 1 && only !== undefined ? only.address : bareHost(authority.host),
    port: authority.port,
    allowHalfOpen,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    autoSelectFamily: true,
    lookup: (_host, options, callback) => {
      if (options.all === true) callback(null, [...addresses]);
      else if (only !== undefined) callback(null, only.address, only.family);
    },
  };
  return target;
}

/** One socket for TCP and TLS: TLS over a socket that is there would not read as `onread` says. */
function openTls(
  authority: Authority,
  target: TcpNetConnectOpts,
  secureContext: SecureContext,
  sessions: LRUCache<string, Buffer>,
): TLSSocket {
  const key = authorityText(authority);
  const session = sessions.get(key);
  const host = bareHost(authority.host);
  return connectTls({
    ...target,
    secureContext,
    rejectUnauthorized: true,
    // `target.host` may be an address where the authority is a name.
    checkServerIdentity: (_dialed, certificate) => checkServerIdentity(host, certificate),
    // SNI carries names alone (RFC 6066 §3).
    ...(isAddress(authority.host) ? {} : { servername: host }),
    ALPNProtocols: ['http/1.1'],
    ...(session === undefined ? {} : { session }),
  }).on('session', (fresh) => sessions.set(key, fresh));
}

function once(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  authority: Authority,
  code: 'upstream_unreachable' | 'upstream_tls',
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (then: () => void) => {
      socket.off(event, connected).off('error', failed).off('close', closed);
      then();
    };
    const connected = () => settle(resolve);
    const failed = (cause: Error) => settle(() => reject(refused(authority, code, cause)));
    const closed = () => failed(new Error('closed during the handshake'));
    socket.once(event, connected).once('error', failed).once('close', closed);
  });
}

function refused(
  authority: Authority,
  code: 'upstream_unreachable' | 'upstream_tls',
  cause: Error,
): SidekeyError {
  const where = `${authority.host}:${authority.port}`;
  const why = 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
  if (code === 'upstream_unreachable') {
    return new SidekeyError(code, `${where} cannot be reached (${why}).`, { cause });
  }
  const unknownIssuer = /ISSUER|SELF_SIGNED|UNABLE_TO/.test(why);
  return new SidekeyError(code, `The TLS handshake with ${where} failed (${why}).`, {
    hint: unknownIssuer ? 'if a company CA signed it, add its certificate to upstream.ca' : undefined,
    cause,
  });
}

function rejectOnAbort(signal: AbortSignal, authority: Authority, timeoutMs: number) {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () =>
    reject(
      new SidekeyError(
        'upstream_timeout',
        `${authority.host}:${authority.port} did not accept a connection within ${timeoutMs} ms.`,
      ),
    );
  signal.addEventListener('abort', onAbort, { once: true });
  promise.catch(() => {});
  return { promise, cancel: () => signal.removeEventListener('abort', onAbort) };
}
