import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { type Authority, authorityText } from './authority.ts';

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
const alerts: readonly (readonly [name: RegExp, says: string, hint: Hint])[] = [
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
  const [, says, hint] = alert;
  const sentence = `${authorityText(peer)} did not take the client certificate of the grant: ${says} (${code}).`;
  return new SidekeyError('upstream_tls', sentence, { hint, cause: error });
}

/** Returns a hint for a connection that closed without an alert; undefined without a client certificate. */
export function clientCertificateHint({ identity }: Peer): Hint | undefined {
  return identity === undefined
    ? undefined
    : hintOf`it may not take the client certificate of the grant: ${remedy('grant.get', { grant: null })} says whose it is, and who issued it`;
}
