import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { OnReadOpts, Socket, TcpNetConnectOpts } from 'node:net';
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { LRUCache } from 'lru-cache';
import { SidekeyError } from '../lib/errors.ts';
import type { Clock } from '../lib/timers.ts';
import { authorityText, bareHost, isAddress } from '../policy/authority.ts';
import { createPatternMap, type DomainPattern } from '../policy/domain-map.ts';
import type { ClientIdentity, Peer } from '../policy/peer.ts';

/** What handshakes with upstreams have in common. */
export interface Handshakes {
  /** What certificates of the peer are verified against, and the certificate that it gets to see, if any. */
  readonly trust: (peer: Peer) => SecureContext;
  /** Of nobody who trusts otherwise, and of no other identity. */
  readonly sessions: (peer: Peer) => TlsSessions;
}

/** What one handshake is made with. */
interface HandshakeOptions {
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

/**
 * What upstream certificates are verified against: the system's and Node's own roots, and the PEM files of
 * `upstream.ca`. There is no way to verify against nothing. And what a peer gets to see of us: the certificate of the grant
 * where one says who we are, else that of the authority's pattern, or none.
 *
 * Reading the system's store takes tens of milliseconds, so each context is made at its first use.
 *
 * @throws SidekeyError `config_invalid` at once, where a file cannot be read or holds no certificate, or where a client
 * certificate cannot be used
 */
export function createTrust(
  files: readonly string[],
  certificates: readonly ClientCertificate[] = [],
): (peer: Peer) => SecureContext {
  const extra = files.map(readAnchors);
  certificates.forEach(assertUsable);
  const byPattern = createPatternMap(certificates);
  const contexts = new Map<ClientCertificate | null, SecureContext>();
  const ofGrants = new WeakMap<ClientIdentity, SecureContext>();
  const contextWith = (material: SecureContextOptions = {}) =>
    createSecureContext({
      ...material,
      ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...extra])],
      minVersion: 'TLSv1.2',
    });
  return (peer) => {
    if (peer.identity !== undefined) {
      let context = ofGrants.get(peer.identity);
      if (context === undefined)
        ofGrants.set(peer.identity, (context = contextWith(peer.identity.material())));
      return context;
    }
    const certificate = byPattern.match(peer);
    let context = contexts.get(certificate);
    if (context === undefined) contexts.set(certificate, (context = contextWith(certificate?.material)));
    return context;
  };
}

const beginning = '-----BEGIN CERTIFICATE-----';

function readAnchors(file: string): string {
  const hint = 'upstream.ca takes paths of PEM files with CERTIFICATE blocks';
  try {
    const pem = readFileSync(file, 'utf8');
    const [, ...blocks] = pem.split(beginning);
    if (blocks.length === 0) {
      throw new SidekeyError('config_invalid', `upstream.ca: ${file} holds no certificate.`, { hint });
    }
    // OpenSSL reads up to the first block that it cannot, and keeps silent about the rest.
    return blocks.map((block) => new X509Certificate(`${beginning}${block}`).toString()).join('');
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('config_invalid', `upstream.ca: ${file} cannot be read as certificates.`, {
      hint,
      cause,
    });
  }
}

/**
 * Resolves when the socket has come to an event of its beginning. Rejects with its error, or with the reason of the
 * signal; the socket is destroyed then, and what else becomes of it concerns nobody.
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

/** Destroys a socket that nobody waits for any more: it may still fail, and nobody is left to tell. */
export function discard(socket: Socket): void {
  socket.on('error', () => {}).destroy();
}

/** The promise, or a rejection with the reason of the signal, whichever is first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Alerts about a certificate (RFC 8446 §6.2), as OpenSSL names them: what they say, and what to do about it. */
const alerts: readonly (readonly [name: RegExp, says: string, hint: string])[] = [
  [
    /ALERT_UNKNOWN_CA$/,
    'it does not know who issued it',
    'put the certificates of its issuers behind it (sidekey grant show NAME says who issued it), or have the service trust them',
  ],
  [
    /ALERT_CERTIFICATE_EXPIRED$/,
    'it has expired, or the clocks differ',
    'sidekey grant show NAME says when it ends; for a new one: sidekey grant add NAME --provider PROVIDER --replace',
  ],
  [
    /ALERT_CERTIFICATE_REVOKED$/,
    'its issuer has revoked it',
    'get a new one, and: sidekey grant add NAME --provider PROVIDER --replace',
  ],
  [
    /ALERT_CERTIFICATE_REQUIRED$/,
    'it wants another',
    'the service names the issuers that it takes: see that the certificate is of one of them (sidekey grant show NAME)',
  ],
  [
    /ALERT_(BAD|UNSUPPORTED)_CERTIFICATE$|ALERT_(NO_CERTIFICATE|CERTIFICATE_UNKNOWN|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)$/,
    'it does not say why',
    'see that it is the one that the service knows you by: sidekey grant show NAME',
  ],
];

/**
 * What a grant's certificate was refused by, where the failure of a connection says so. Under TLS 1.3 the alert comes when
 * the handshake is over for us, in the place of the first answer (RFC 8446 §4.4.2.4). Null: it failed for another reason,
 * or no grant's certificate was shown.
 */
export function clientCertificateRefused(peer: Peer, error: Error): SidekeyError | null {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const alert = peer.identity === undefined ? undefined : alerts.find(([name]) => name.test(code));
  if (alert === undefined) return null;
  const [, says, hint] = alert;
  const sentence = `${authorityText(peer)} did not take the client certificate of the grant: ${says} (${code}).`;
  return new SidekeyError('upstream_tls', sentence, { hint, cause: error });
}

/** A hint for a connection that was closed without a word: some servers refuse a certificate so. Undefined: none was shown. */
export function clientCertificateHint({ identity }: Peer): string | undefined {
  return identity === undefined
    ? undefined
    : 'it may not take the client certificate of the grant: sidekey grant show NAME says whose it is, and who issued it';
}

/** Who Sidekey is to the authorities of a pattern (`upstream.client_certificates`). */
export interface ClientCertificate {
  readonly pattern: DomainPattern;
  /** Where it stands in the config, for messages. */
  readonly origin: string;
  readonly material: ClientMaterial;
}

/** A chain and its key in PEM, or both in PKCS #12. */
type ClientMaterial = { readonly passphrase?: string | undefined } & (
  { readonly cert: Buffer; readonly key: Buffer } | { readonly pfx: Buffer }
);

/** @throws SidekeyError `config_invalid` where the parts do not open, or do not belong together */
function assertUsable({ origin, material }: ClientCertificate): void {
  const problem = problemOf(material);
  if (problem === null) return;
  throw new SidekeyError('config_invalid', `${origin}: ${problem.what}.`, {
    hint: 'give a certificate with its chain, the key that belongs to it, and a passphrase where the key has one',
    cause: problem.cause,
  });
}

interface Unusable {
  readonly what: string;
  readonly cause?: unknown;
}

function problemOf(material: ClientMaterial): Unusable | null {
  if ('key' in material) {
    const { cert, key, passphrase } = material;
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(cert);
    } catch (cause) {
      return { what: 'the certificate cannot be read as PEM', cause };
    }
    try {
      // A key of another kind than the certificate's is taken by OpenSSL without a word.
      if (
        !certificate.checkPrivateKey(
          createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) }),
        )
      )
        return { what: 'the key is not that of the certificate' };
    } catch (cause) {
      const isLocked = /PASSPHRASE|BAD_DECRYPT|INTERRUPTED_OR_CANCELLED/.test(codeOf(cause));
      return {
        what: isLocked ? 'the passphrase of the key is missing or wrong' : 'the key cannot be read as PEM',
        cause,
      };
    }
  }
  try {
    // Without roots, which take long to read and say nothing about it.
    createSecureContext({ ...material, ca: [] });
    return null;
  } catch (cause) {
    if (cause instanceof Error && /mac verify/i.test(cause.message))
      return { what: 'the passphrase of the PKCS #12 file is missing or wrong', cause };
    return { what: 'the file cannot be used as a certificate with its key', cause };
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** A TLS session that can be resumed. */
export interface TlsSession {
  readonly bytes: Buffer;
  /** By the clock: when a certificate is to be seen again. */
  readonly until: number;
}

/** TLS sessions to be resumed, each with the one authority that it was made with. */
interface TlsSessions {
  /**
   * The newest, which is gone then, unless it is the last. A ticket used twice tells those who watch that two connections
   * are of one client (RFC 8446 §C.4), so a fresh one is better; but many servers give none when one is used, and our
   * connections all come from one address anyway.
   */
  take(authority: string): TlsSession | undefined;
  /**
   * Keeps a session of a connection whose certificate was verified.
   *
   * @param from what the connection itself has resumed; undefined: its certificate was seen
   */
  keep(authority: string, bytes: Buffer, from: TlsSession | undefined): void;
}

const mostAuthorities = 1_000;
/** Of those that one identity is shown to: the audience of a grant is a few hosts. */
const mostOfIdentity = 50;

/** A server gives one or two with a handshake; more are there after a burst. */
const mostOfOne = 4;

/**
 * A handshake that resumes shows no certificate: neither its end nor its host is looked at. Each may give new tickets, so
 * without a bound a certificate seen once would do for ever.
 */
const longestMs = 3_600_000;

/** Keeps four for each of the 1,000 authorities last used (or as many as are said), for an hour after the certificate was seen. */
export function createTlsSessions(clock: Clock, most = mostAuthorities): TlsSessions {
  const kept = new LRUCache<string, readonly TlsSession[]>({ max: most });
  return {
    take(authority) {
      const now = clock.now();
      // The newest may go back further than one before it.
      const valid = (kept.get(authority) ?? []).filter(({ until }) => until > now);
      const newest = valid.at(-1);
      if (valid.length > 1) kept.set(authority, valid.slice(0, -1));
      return newest;
    },
    keep(authority, bytes, from) {
      const session = { bytes, until: from?.until ?? clock.now() + longestMs };
      kept.set(authority, [...(kept.get(authority) ?? []), session].slice(-mostOfOne));
    },
  };
}

/**
 * The sessions that may be resumed with a peer. A session stands for the certificate that it was made with, so those of one
 * identity are out of reach of every other, and gone from memory together with it.
 */
export function sessionsByIdentity(clock: Clock): (peer: Peer) => TlsSessions {
  const common = createTlsSessions(clock);
  const own = new WeakMap<ClientIdentity, TlsSessions>();
  return ({ identity }) => {
    if (identity === undefined) return common;
    let sessions = own.get(identity);
    if (sessions === undefined) own.set(identity, (sessions = createTlsSessions(clock, mostOfIdentity)));
    return sessions;
  };
}
