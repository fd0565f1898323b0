import { errors as undici } from 'undici';
import { SidekeyError } from '../errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';

/**
 * What went wrong with an upstream, as a client is told.
 *
 * @param answering whether the first bytes of an answer had come
 */
export function upstreamFailure(error: Error, authority: Authority, answering: boolean): SidekeyError {
  if (error instanceof SidekeyError) return error;
  const where = authorityText(authority);
  const failure = (code: UpstreamCode, sentence: string, hint?: string) =>
    new SidekeyError(code, sentence, { hint, cause: error });
  if (error instanceof undici.HeadersTimeoutError) {
    return failure('upstream_timeout', `${where} did not answer in time.`);
  }
  if (error instanceof undici.BodyTimeoutError) {
    return failure('upstream_timeout', `${where} stopped sending.`);
  }
  if (error instanceof undici.RequestContentLengthMismatchError) {
    return failure('bad_request', 'The request body is not as long as its Content-Length says.');
  }
  if (error instanceof undici.InvalidArgumentError || error instanceof undici.NotSupportedError) {
    return failure('bad_request', 'The request has a field or a target that cannot be forwarded.');
  }
  if (error instanceof undici.HeadersOverflowError) {
    return failure(
      'upstream_protocol',
      `${where} answered with a head that is too large.`,
      'raise limits.head_bytes',
    );
  }
  if (codeOf(error).startsWith('ERR_SSL_')) {
    return failure('upstream_tls', `The TLS connection to ${where} failed (${codeOf(error)}).`);
  }
  if (isConnectionLoss(error) && !answering) {
    return failure('upstream_unreachable', `${where} closed the connection before it answered.`);
  }
  return failure('upstream_protocol', `${where} did not answer in HTTP/1.1 as it should.`);
}

type UpstreamCode =
  'bad_request' | 'upstream_timeout' | 'upstream_tls' | 'upstream_unreachable' | 'upstream_protocol';

/** Whether an error says no more than that the connection is gone. */
export function isConnectionLoss(error: Error): boolean {
  return error instanceof undici.SocketError || ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
