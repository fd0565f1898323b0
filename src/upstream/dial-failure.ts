import { SidekeyError } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import { certificateNotTaken, mayNotBeTaken } from '../policy/certificate-not-taken.ts';
import type { Peer } from '../policy/peer.ts';
import type { CheckedAddress } from './resolve.ts';

/** A socket's handshake failed. */
export function tlsFailed(peer: Peer, cause: Error): SidekeyError {
  const notTaken = certificateNotTaken(peer, cause);
  if (notTaken !== null) return notTaken;
  const why = reasonOf(cause);
  const unknownIssuer = /ISSUER|SELF_SIGNED|UNABLE_TO/.test(why);
  return new SidekeyError('upstream_tls', `The TLS handshake with ${nameOf(peer)} failed (${why}).`, {
    hint: unknownIssuer
      ? 'if a company CA signed it, add its certificate to upstream.ca'
      : /ECONNRESET|EPIPE|^closed/.test(why)
        ? mayNotBeTaken(peer)
        : undefined,
    cause,
  });
}

/** No more are named: the first ones explain the rest. */
const mostNamed = 3;

/** No address of it could be connected to: why, of each. */
export function unreachable(
  authority: Authority,
  addresses: readonly CheckedAddress[],
  causes: readonly Error[],
): SidekeyError {
  const reasons = addresses.map(({ address }, at) => `${address}: ${reasonOf(causes[at])}`);
  const more = reasons.length > mostNamed ? `, and ${reasons.length - mostNamed} more` : '';
  const why = reasons.length === 1 ? reasonOf(causes[0]) : `${reasons.slice(0, mostNamed).join(', ')}${more}`;
  return new SidekeyError('upstream_unreachable', `${nameOf(authority)} cannot be reached (${why}).`, {
    cause: causes[0],
  });
}

/** Why the proxy of `upstream.proxy` has no connection for us: else its name would stand there as if it had been asked for. */
export function proxyNotReached(error: unknown): unknown {
  if (!(error instanceof SidekeyError) || error.code === 'address_blocked') return error;
  const { code, message, hint = 'check upstream.proxy, or what upstream.no_proxy leaves to it' } = error;
  return new SidekeyError(code, `No way to the proxy of upstream.proxy: ${message}`, { hint, cause: error });
}

/** @param through the proxy on the way, if there is one */
export function tooLate(authority: Authority, ms: number, through: Authority | null): SidekeyError {
  const by = through === null ? '' : ` through the proxy ${nameOf(through)}`;
  const sentence = `${nameOf(authority)} did not accept a connection${by} within ${ms} ms.`;
  return new SidekeyError('upstream_timeout', sentence);
}

function nameOf({ host, port }: Authority): string {
  return `${host}:${port}`;
}

function reasonOf(cause: Error | undefined): string {
  if (cause === undefined) return 'unknown';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
