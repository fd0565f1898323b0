import type { ServerOptions } from 'node:http2';
import type { Limits } from '../../policy/limits.ts';

/** A few fields more than `limits.head_fields` are read, so that one too many is refused with a word of why. */
const spareFields = 32;

/**
 * What a session with a client is bounded by, where nghttp2 and Node count for us.
 *
 * @param extendedConnect offers WebSockets over HTTP/2 (RFC 8441 §3)
 */
export function sessionOptions(limits: Limits, extendedConnect: boolean): ServerOptions {
  return {
    settings: {
      maxConcurrentStreams: limits.client_streams,
      // Of a head as it is without compression: a bomb is refused by what it would be (RFC 7541 §7.3).
      maxHeaderListSize: limits.head_bytes,
      enableConnectProtocol: extendedConnect,
      enablePush: false,
    },
    maxHeaderListPairs: limits.head_fields + spareFields,
    // As nghttp2 reckons, which counts more for a field than HTTP/1.1 has: a head that it finds too long ends the session.
    maxSendHeaderBlockLength: 4 * limits.head_bytes,
    // A client that opens streams to reset them (CVE-2023-44487) has so many at once, and so many a second.
    streamResetBurst: 4 * limits.client_streams,
    streamResetRate: 33,
    // Malformed heads, DATA frames with nothing in them, streams beyond the limit: a client that errs so often is none.
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxSettings: 32,
    maxOutstandingPings: 4,
    // Megabytes; responses that wait for their windows count, and each holds up to two pieces of 64 KB.
    maxSessionMemory: 16 + Math.ceil((limits.client_streams * 131_072) / 1_000_000),
    strictSingleValueFields: false,
  };
}
