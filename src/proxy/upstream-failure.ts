import { SidekeyError } from '../lib/errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { clientCertificateRefused, clientCertificateHint } from '../policy/certificate-alerts.ts';

/**
 * What went wrong with an upstream, as a client is told.
 *
 * @param answering whether the first bytes of an answer had come
 */
export function upstreamFailure(error: Error, peer: Peer, answering: boolean): SidekeyError {
  if (error instanceof SidekeyError) return error;
  const notTaken = clientCertificateRefused(peer, error);
  if (notTaken !== null) return notTaken;
  const where = authorityText(peer);
  const failure = (code: UpstreamCode, sentence: string, hint?: string) =>
    new SidekeyError(code, sentence, { hint, cause: error });
  if (codeOf(error).startsWith('ERR_SSL_')) {
    const sentence = `The TLS connection to ${where} failed (${codeOf(error)}).`;
    // Under TLS 1.3 a server says so when the handshake is over for us (RFC 8446 §4.4.2.4).
    const hint = codeOf(error).includes('CERTIFICATE_REQUIRED')
      ? 'it asks for a client certificate: see upstream.client_certificates'
      : undefined;
    return new SidekeyError('upstream_tls', sentence, { hint, cause: error });
  }
  if (isConnectionLoss(error) && !answering) {
    return failure(
      'upstream_unreachable',
      `${where} closed the connection before it answered.`,
      clientCertificateHint(peer),
    );
  }
  return failure('upstream_protocol', `${where} did not answer in HTTP/1.1 as it should.`);
}

/** It kept silent for longer than it may. */
export function timedOut(
  authority: Authority,
  how: 'did not answer in time' | 'stopped sending',
): SidekeyError {
  return new SidekeyError('upstream_timeout', `${authorityText(authority)} ${how}.`);
}

/** The upstream ended its side of the connection, in good order but too early. */
export class ConnectionEnded extends Error {
  constructor() {
    super('the upstream ended the connection');
  }
}

type UpstreamCode = 'upstream_tls' | 'upstream_unreachable' | 'upstream_protocol';

/** Whether an error says no more than that the connection is gone. */
export function isConnectionLoss(error: Error): boolean {
  return error instanceof ConnectionEnded || ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
