import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { OnReadOpts, Socket, TcpNetConnectOpts } from 'node:net';
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { LRUCache } from 'lru-cache';
import { SidekeyError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/timers.ts';
import { authorityText, bareHost, isAddress } from '../policy/authority.ts';
import { createPatternMap, type DomainPattern } from '../policy/domain-map.ts';
import type { ClientIdentity, Peer } from '../policy/peer.ts';

/** The state that the handshakes of a client share. */
export interface Handshakes {
  /** Returns the trust anchors for a peer, and its client certificate, if any. */
  readonly trust: (peer: Peer) => SecureContext;
  /** Returns the resumable sessions with a peer, for the same client identity. */
  readonly sessions: (peer: Peer) => TlsSessions;
}

interface TlsOptions {
  /** ALPN (RFC 7301), preferred protocol first. */
  readonly protocols: readonly string[];
  /** Ignored by node for TLS over an existing socket. */
  readonly onread?: OnReadOpts | undefined;
}

/** Opens TLS over a new TCP connection or a tunnel. Verifies the certificate for the peer's host. */
export function openTls(
  peer: Peer,
  over: TcpNetConnectOpts | { readonly socket: Socket },
  { trust, sessions }: Handshakes,
  { protocols, onread }: TlsOptions,
): TLSSocket {
  const host = bareHost(peer.host);
  const authority = authorityText(peer);
  const resumed = sessions(peer).take(authority);
  const socket = connect({
    ...over,
    secureContext: trust(peer),
    rejectUnauthorized: true,
    // The dialed host is an address. Node calls this only in full handshakes.
    checkServerIdentity: (_dialed, certificate) => checkServerIdentity(host, certificate),
    // SNI has no addresses (RFC 6066 §3).
    ...(isAddress(peer.host) ? {} : { servername: host }),
    ALPNProtocols: [...protocols],
    ...(resumed === undefined ? {} : { session: resumed.bytes }),
    ...(onread === undefined ? {} : { onread }),
  });
  // Node emits sessions only after it has verified the certificate.
  return socket.on('session', (bytes: Buffer) => {
    sessions(peer).keep(authority, bytes, socket.isSessionReused() ? resumed : undefined);
  });
}

/**
 * Resolves at the first event of this name. Destroys the socket if it rejects: with the socket's error, or
 * with the signal's reason.
 */
export function waitForEvent(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      socket.off(event, come).off('error', fail).off('close', close);
      signal.removeEventListener('abort', abort);
    };
    const come = () => {
      leave();
      resolve();
    };
    const fail = (cause: Error) => {
      leave();
      discard(socket);
      reject(cause);
    };
    const close = () => fail(new Error('closed during the handshake'));
    const abort = () => fail(signal.reason as Error);
    if (signal.aborted) {
      abort();
      return;
    }
    socket.once(event, come).once('error', fail).once('close', close);
    signal.addEventListener('abort', abort, { once: true });
  });
}

/** Destroys a socket, and ignores its later errors. */
export function discard(socket: Socket): void {
  socket.on('error', () => {}).destroy();
}

/** A resumable TLS session. */
export interface TlsSession {
  readonly bytes: Buffer;
  /** Clock time in milliseconds from which a new handshake must verify the certificate again. */
  readonly until: number;
}

/** TLS sessions, each for the authority of its handshake. */
type TlsSessions = ReturnType<typeof createTlsSessions>;

const maxAuthorities = 1_000;
/** Maximum number of authorities of a client identity: the audience of a grant is a few hosts. */
const maxAuthoritiesOfIdentity = 50;

/** A server issues one or two tickets with a handshake. More remain after a burst. */
const maxSessionsOfAuthority = 4;

/**
 * Maximum age in milliseconds of a verified certificate. A resumed handshake verifies neither its expiry nor
 * its host, and may issue new tickets: an unlimited chain would outlive the certificate.
 */
const maxSessionAgeMs = 3_600_000;

/** Keeps four sessions for each recently used authority, for an hour after their full handshake. */
export function createTlsSessions(clock: Clock, max = maxAuthorities) {
  const byAuthority = new LRUCache<string, readonly TlsSession[]>({ max });
  return {
    /**
     * Returns the newest session, and removes it unless it is the last. A reused ticket links two connections
     * of a client (RFC 8446 §C.4), but many servers issue none when a session is resumed.
     */
    take(authority: string): TlsSession | undefined {
      const now = clock.now();
      // The newest session may have an older full handshake than the one before it.
      const valid = (byAuthority.get(authority) ?? []).filter(({ until }) => until > now);
      const newest = valid.at(-1);
      if (valid.length > 1) byAuthority.set(authority, valid.slice(0, -1));
      return newest;
    },
    /**
     * Stores a session of a connection whose certificate was verified.
     *
     * @param from the session that the connection resumed; undefined after a full handshake
     */
    keep(authority: string, bytes: Buffer, from: TlsSession | undefined): void {
      const session = { bytes, until: from?.until ?? clock.now() + maxSessionAgeMs };
      byAuthority.set(
        authority,
        [...(byAuthority.get(authority) ?? []), session].slice(-maxSessionsOfAuthority),
      );
    },
  };
}

/**
 * Separates the sessions of each client identity: a session is bound to the certificate of its handshake. The
 * sessions are garbage-collected together with the identity.
 */
export function sessionsByIdentity(clock: Clock): (peer: Peer) => TlsSessions {
  const common = createTlsSessions(clock);
  const byIdentity = new WeakMap<ClientIdentity, TlsSessions>();
  return ({ identity }) => {
    if (identity === undefined) return common;
    let sessions = byIdentity.get(identity);
    if (sessions === undefined)
      byIdentity.set(identity, (sessions = createTlsSessions(clock, maxAuthoritiesOfIdentity)));
    return sessions;
  };
}

/** A client certificate for the authorities that match a pattern (`upstream.client_certificates`). */
export interface ClientCertificate {
  readonly pattern: DomainPattern;
  /** Position in the config, for messages. */
  readonly origin: string;
  readonly material: ClientMaterial;
}

/** A chain and its key in PEM, or both in PKCS #12. */
type ClientMaterial = { readonly passphrase?: string | undefined } & (
  { readonly cert: Buffer; readonly key: Buffer } | { readonly pfx: Buffer }
);

/**
 * The last context without a client certificate, and its `upstream.ca`. Clients of successive configs share
 * it: parsing all trust anchors stops the event loop for 10 ms.
 */
let anchored: { readonly extra: string; readonly context: SecureContext } | null = null;

/**
 * Returns the TLS context of a peer. Trust anchors: those of its host alone, else the roots of the system and
 * of Node, and `upstream.ca`. Verification cannot be turned off. Client certificate: that of the grant, else
 * that of the authority's pattern, else none. Each context is created at its first use, because reading the
 * system's store takes tens of milliseconds.
 *
 * @param ofHosts host → its only trust anchors, as PEM
 * @throws SidekeyError `config_invalid` at once, if a client certificate cannot be used
 */
export function createTrust(
  extra: readonly string[],
  certificates: readonly ClientCertificate[] = [],
  ofHosts: ReadonlyMap<string, string> = new Map(),
): (peer: Peer) => SecureContext {
  certificates.forEach(assertUsable);
  const all = () => [...getCACertificates('default'), ...getCACertificates('system'), ...extra];
  const common = contextsOf(certificates, (material) => {
    if (material !== undefined) return contextWith(all(), material);
    const own = extra.join('');
    if (anchored?.extra !== own) anchored = { extra: own, context: contextWith(all()) };
    return anchored.context;
  });
  const pinned = new Map(
    Array.from(ofHosts, ([host, ca]) => [
      host,
      contextsOf(certificates, (material) => contextWith([ca], material)),
    ]),
  );
  return (peer) => (pinned.get(peer.host) ?? common)(peer);
}

function contextWith(ca: readonly string[], material?: SecureContextOptions): SecureContext {
  return createSecureContext({ ...material, ca: [...new Set(ca)], minVersion: 'TLSv1.2' });
}

/** Keeps one context for each client certificate, and one without. @param create undefined: without */
function contextsOf(
  certificates: readonly ClientCertificate[],
  create: (material?: SecureContextOptions) => SecureContext,
): (peer: Peer) => SecureContext {
  const byPattern = createPatternMap(certificates);
  const ofPatterns = new Map<ClientCertificate | null, SecureContext>();
  const ofGrants = new WeakMap<ClientIdentity, SecureContext>();
  return (peer) => {
    if (peer.identity !== undefined) {
      let context = ofGrants.get(peer.identity);
      if (context === undefined) ofGrants.set(peer.identity, (context = create(peer.identity.material())));
      return context;
    }
    const certificate = byPattern.match(peer);
    let context = ofPatterns.get(certificate);
    if (context === undefined) ofPatterns.set(certificate, (context = create(certificate?.material)));
    return context;
  };
}

const pemHeader = '-----BEGIN CERTIFICATE-----';

/**
 * Returns the certificates of a file as PEM.
 *
 * @param key key of the config that names the file
 * @throws SidekeyError `config_invalid` if the file cannot be read or has none
 */
export function readAnchors(file: string, key = 'upstream.ca'): string {
  const hint = `give ${key} the path of a PEM file with CERTIFICATE blocks`;
  try {
    const [, ...blocks] = readFileSync(file, 'utf8').split(pemHeader);
    if (blocks.length === 0) {
      throw new SidekeyError('config_invalid', `${key}: ${file} holds no certificate.`, { hint });
    }
    // OpenSSL reads up to the first block that it cannot parse, and silently ignores the rest.
    return blocks.map((block) => new X509Certificate(`${pemHeader}${block}`).toString()).join('');
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    const sentence = `${key}: ${file} cannot be read as certificates.`;
    throw new SidekeyError('config_invalid', sentence, { hint, cause });
  }
}

/** @throws SidekeyError `config_invalid` if the parts cannot be opened, or do not belong together */
function assertUsable({ origin, material }: ClientCertificate): void {
  const problem = 'key' in material ? problemOfPem(material) : problemOfPfx(material);
  if (problem === null) return;
  throw new SidekeyError('config_invalid', `${origin}: ${problem.what}.`, {
    hint: 'give a certificate with its chain, the key that belongs to it, and a passphrase where the key has one',
    cause: problem.cause,
  });
}

type Problem = { readonly what: string; readonly cause?: unknown } | null;

function problemOfPem({ cert, key, passphrase }: Extract<ClientMaterial, { key: Buffer }>): Problem {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    return { what: 'the certificate cannot be read as PEM', cause };
  }
  try {
    const privateKey = createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) });
    // OpenSSL silently accepts a key of another kind than that of the certificate.
    return certificate.checkPrivateKey(privateKey)
      ? null
      : { what: 'the key is not that of the certificate' };
  } catch (cause) {
    // The code of the error does not tell: one in 256 wrong passphrases gives bytes that look decrypted.
    const isLocked = key.includes('ENCRYPTED');
    const what = isLocked ? 'the passphrase of the key is missing or wrong' : 'the key cannot be read as PEM';
    return { what, cause };
  }
}

function problemOfPfx(material: Extract<ClientMaterial, { pfx: Buffer }>): Problem {
  try {
    // Without roots, which take long to read and do not matter here.
    createSecureContext({ ...material, ca: [] });
    return null;
  } catch (cause) {
    if (cause instanceof Error && /mac verify/i.test(cause.message))
      return { what: 'the passphrase of the PKCS #12 file is missing or wrong', cause };
    return { what: 'the file cannot be used as a certificate with its key', cause };
  }
}
