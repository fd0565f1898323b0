import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { type Authority, authorityText, bareHost } from './authority.ts';

/** The client identity of a TLS connection and all its requests, from the credential of a grant. */
export interface ClientIdentity {
  /** Unique in this process for each credential of each grant. */
  readonly id: number;
  /** Aborted when the identity ends. Its connections are then closed. */
  readonly ended: AbortSignal;
  /** Returns the PEM of the chain and the key. A function, so that serialized objects omit the key. */
  material(): { readonly cert: string; readonly key: string };
}

/** Target of a connection, with the client identity of a grant, if any. */
export interface Peer extends Authority {
  readonly identity?: ClientIdentity | undefined;
}

/** TLS alerts about a certificate (RFC 8446 §6.2) by their OpenSSL names: their meaning, and a hint. */
const alerts: readonly (readonly [name: RegExp, reason: string, hint: Hint])[] = [
  [
    /ALERT_UNKNOWN_CA$/,
    'it does not know who issued it',
    hintOf`put the certificates of its issuers behind it (${remedy('grant.get', { grant: null })} says who issued it), or have the service trust them`,
  ],
  [
    /ALERT_CERTIFICATE_EXPIRED$/,
    'it has expired, or the clocks differ',
    hintOf`${remedy('grant.get', { grant: null })} says when it ends; for a new one: ${remedy('grant.import', { name: null, provider: null, replace: true })}`,
  ],
  [
    /ALERT_CERTIFICATE_REVOKED$/,
    'its issuer has revoked it',
    hintOf`get a new one, and: ${remedy('grant.import', { name: null, provider: null, replace: true })}`,
  ],
  [
    /ALERT_CERTIFICATE_REQUIRED$/,
    'it wants another',
    hintOf`the service names the issuers that it takes: see that the certificate is of one of them (${remedy('grant.get', { grant: null })})`,
  ],
  [
    /ALERT_(BAD|UNSUPPORTED)_CERTIFICATE$|ALERT_(NO_CERTIFICATE|CERTIFICATE_UNKNOWN|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)$/,
    'it does not say why',
    hintOf`check that the service knows this certificate: ${remedy('grant.get', { grant: null })}`,
  ],
];

/**
 * Returns the error for a TLS alert that refuses the client certificate of a grant, or null for any other
 * failure. In TLS 1.3 the alert follows our handshake, instead of the first response (RFC 8446 §4.4.2.4).
 */
export function clientCertificateRefused(peer: Peer, error: Error): SidekeyError | null {
  const code = systemCode(error);
  const alert = peer.identity === undefined ? undefined : alerts.find(([name]) => name.test(code));
  if (alert === undefined) return null;
  const [, reason, hint] = alert;
  const sentence = `${authorityText(peer)} did not take the client certificate of the grant: ${reason} (${code}).`;
  return new SidekeyError('upstream_tls', sentence, { hint, cause: error });
}

/** Returns a hint for a connection that closed without an alert; undefined without a client certificate. */
export function clientCertificateHint({ identity }: Peer): Hint | undefined {
  return identity === undefined
    ? undefined
    : hintOf`it may not take the client certificate of the grant: ${remedy('grant.get', { grant: null })} says whose it is, and who issued it`;
}

/** A failure of TLS with an upstream: what happened, and what helps. */
interface Fault {
  /** Codes of Node and OpenSSL. OpenSSL 3.5 writes `SSL/TLS_ALERT_…` where 3.0 writes `SSLV3_ALERT_…`. */
  readonly code: RegExp;
  readonly reason: string;
  readonly hint?: Hint;
}

const tellOperator = 'tell its operator';
const seeClientCertificates = 'see upstream.client_certificates';

const closed: Fault = {
  code: /^(ECONNRESET|EPIPE)$|^closed/,
  reason: 'it closed the connection',
  hint: 'check the host and the port; where a firewall allows only a company’s proxy, set upstream.proxy',
};

/** Faults other than an untrusted issuer (`unknownIssuer`). The first match counts. */
const faults: readonly Fault[] = [
  {
    code: /^CERT_HAS_EXPIRED$/,
    reason: 'a certificate of its chain has expired',
    hint: 'check the clock of this machine; if that is right, the operator of the upstream has to renew the certificate',
  },
  {
    code: /^CERT_NOT_YET_VALID$/,
    reason: 'a certificate of its chain is not valid yet',
    hint: 'check the clock of this machine',
  },
  {
    code: /^INVALID_(PURPOSE|CA)$|^PATH_LENGTH_EXCEEDED$/,
    reason: 'a certificate of its chain is not for this use',
    hint: 'its operator has to use a certificate for servers (serverAuth), with the certificates of its CA',
  },
  {
    code: /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|BAD_RECORD_TYPE|HTTP_REQUEST|UNKNOWN_PROTOCOL/,
    reason: 'it does not speak TLS at this port',
    hint: 'check the port; a server of plain http takes http:// in the URL',
  },
  {
    code: /UNSAFE_LEGACY_RENEGOTIATION_DISABLED/,
    reason: 'it has only the insecure renegotiation from before RFC 5746',
    hint: 'its operator has to update its TLS: Sidekey sends no credential over a connection that others can splice',
  },
  {
    code: /PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|INAPPROPRIATE_FALLBACK|VERSION_TOO_LOW/,
    reason: 'it has no TLS 1.2 or later',
    hint: 'its operator has to enable TLS 1.2 or 1.3',
  },
  {
    code: /too weak|TOO_(SMALL|WEAK)/,
    reason: 'a key or signature of it is too weak',
    hint: 'its operator has to use keys of 2048 bits (RSA) or 256 bits (EC), and SHA-256',
  },
  {
    code: /CERTIFICATE_REQUIRED$/,
    reason: 'it wants a client certificate',
    hint: seeClientCertificates,
  },
  {
    code: /ALERT_((BAD|UNSUPPORTED|NO)_CERTIFICATE|CERTIFICATE_\w+|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)$/,
    reason: 'it did not take the client certificate, or takes none but another',
    hint: seeClientCertificates,
  },
  {
    code: /UNRECOGNIZED_NAME$/,
    reason: 'it serves no host of this name',
    hint: 'check the host name, and the address where upstream.resolve names one',
  },
  {
    code: /NO_APPLICATION_PROTOCOL$/,
    reason: 'it speaks no HTTP at this port',
    hint: 'check the port',
  },
  {
    code: /HANDSHAKE_FAILURE$|INSUFFICIENT_SECURITY$|ILLEGAL_PARAMETER$|INTERNAL_ERROR$/,
    reason: 'it does not say why',
    hint: `check the host name; it may want a client certificate (${seeClientCertificates}), or share no cipher with Sidekey (${tellOperator})`,
  },
  closed,
];

/**
 * Returns the error for a failed handshake, or a failed connection after it.
 *
 * @param caKey key of the config that lists trust anchors for the peer; null: none does
 * @param isOpen whether the handshake was over
 */
export function tlsFault(peer: Peer, cause: Error, { caKey = null as string | null, isOpen = false } = {}) {
  const refused = clientCertificateRefused(peer, cause);
  if (refused !== null) return refused;
  const code = 'code' in cause ? systemCode(cause) : cause.message;
  const fault =
    unknownIssuer(code, caKey) ??
    otherName(peer, cause) ??
    faults.find((known) => known.code.test(code) || known.code.test(cause.message));
  const isClosed = fault === closed;
  const what = isOpen ? `connection to ${authorityText(peer)}` : `handshake with ${peer.host}:${peer.port}`;
  const sentence = `The TLS ${what} failed${fault === undefined ? '' : `: ${fault.reason}`} (${code}).`;
  const hint = (isClosed ? clientCertificateHint(peer) : undefined) ?? fault?.hint;
  return new SidekeyError('upstream_tls', sentence, { hint, cause });
}

/** Returns the fault of a chain that ends at no trust anchor; null: another fault. */
function unknownIssuer(code: string, caKey: string | null): Omit<Fault, 'code'> | null {
  const none = caKey === null ? '' : `no certificate in ${caKey} is of its issuer: `;
  const key = caKey ?? 'upstream.ca';
  const ownCa = key === 'upstream.ca' ? `${key} (for this host alone: upstream.host_ca)` : key;
  switch (code) {
    // OpenSSL reports this code only for a chain of one certificate.
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return {
        reason: 'it sent one certificate, and no issuer of that is trusted',
        hint: `${none}if a company’s or a private CA issued it, add the certificate of that CA to ${ownCa}; if a public CA did, the server lacks the intermediate certificate: ${tellOperator}, and add that one to ${key} until then`,
      };
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'CERT_UNTRUSTED':
      return {
        reason: 'the root of its certificate is not trusted',
        hint: `${none}if a company’s or a private CA issued it, add the root certificate of that CA to ${ownCa}`,
      };
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return {
        reason: 'its certificate is self-signed',
        hint: `if you know this server, add its own certificate to ${key}`,
      };
    case 'UNABLE_TO_GET_ISSUER_CERT':
      return {
        reason: 'an intermediate certificate is known, and its root is not',
        hint: `add the root certificate to ${key} too: an intermediate one is not enough`,
      };
    default:
      return null;
  }
}

/** Maximum number of names of a certificate in a sentence. */
const maxNames = 3;

/** Returns the fault of a trusted certificate for other hosts, with their names; null: another fault. */
function otherName(peer: Peer, cause: Error): Omit<Fault, 'code'> | null {
  if (systemCode(cause) !== 'ERR_TLS_CERT_ALTNAME_INVALID') return null;
  const { subjectaltname: text = '' } = (cause as { cert?: { subjectaltname?: string } }).cert ?? {};
  const names = [...text.matchAll(/(?:^|, )(?:DNS|IP Address):([\w*.:-]{1,253})(?=,|$)/g)].map(
    ([, name]) => name,
  );
  const more = names.length > maxNames ? `, and ${names.length - maxNames} more` : '';
  const whose = names.length === 0 ? 'for no host' : `for ${names.slice(0, maxNames).join(', ')}${more}`;
  return {
    reason: `its certificate is ${whose}`,
    hint: `use a name that the certificate has; if ${bareHost(peer.host)} is right, another server may answer: check its address (DNS, upstream.resolve)`,
  };
}
