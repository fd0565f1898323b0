import { constants, type ClientHttp2Stream } from 'node:http2';
import { SidekeyError } from '../../errors.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import type { StreamHome } from './session-stream.ts';
import type { StreamLoss } from './stream.ts';

/**
 * Why a stream has closed that was not whole, and whether its upstream has done anything with the request.
 *
 * @param error what node said of it; null: nothing
 */
export function lossOf(
  { rstCode, id }: Pick<ClientHttp2Stream, 'rstCode' | 'id'>,
  error: Error | null,
  home: Pick<StreamHome, 'authority' | 'isGone' | 'isUnprocessed'>,
): StreamLoss {
  if (home.isUnprocessed(id) || neverSent.has(codeOf(error)))
    return { how: 'unprocessed', error: connectionLost() };
  if (isOfSession(error)) return { how: 'lost', error: ofSession(error, home.authority) };
  if (rstCode === constants.NGHTTP2_REFUSED_STREAM)
    return { how: 'unprocessed', error: wasReset(rstCode, home.authority) };
  if (home.isGone) return { how: 'lost', error: connectionLost() };
  const how = rstCode === constants.NGHTTP2_HTTP_1_1_REQUIRED ? 'http_1_1_required' : 'lost';
  return { how, error: wasReset(rstCode, home.authority) };
}

/** Errors of node's for a stream that it did not open. */
const neverSent: ReadonlySet<string> = new Set([
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_INVALID_SESSION',
  'ERR_HTTP2_OUT_OF_STREAMS',
  'ERR_HTTP2_STREAM_CANCEL',
]);

/** Whether an error is of the whole session, and not of this stream alone. */
function isOfSession(error: Error | null): error is Error {
  return error !== null && codeOf(error) !== 'ERR_HTTP2_STREAM_ERROR';
}

function ofSession(error: Error, authority: Authority): Error {
  const code = codeOf(error);
  // It said goodbye, with a reason.
  if (code === 'ERR_HTTP2_SESSION_ERROR') return connectionLost();
  if (!code.startsWith('ERR_HTTP2_')) return error;
  const sentence = `${authorityText(authority)} did not speak HTTP/2 as it should.`;
  return new SidekeyError('upstream_protocol', sentence, { cause: error });
}

/** The names of error codes, in their order (RFC 9113 §7). */
const codeNames = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

function wasReset(code: number | undefined, authority: Authority): SidekeyError {
  const why = codeNames[code ?? 0] ?? `code ${code}`;
  const sentence = `${authorityText(authority)} reset the stream of the request (${why}).`;
  return new SidekeyError('upstream_protocol', sentence);
}

function connectionLost(): Error {
  return Object.assign(new Error('the session is gone'), { code: 'ECONNRESET' });
}

function codeOf(error: Error | null): string {
  return error !== null && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
