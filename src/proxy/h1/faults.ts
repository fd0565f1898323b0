import { SidekeyError } from '../../errors.ts';

/** Which message it is: it decides who is at fault. */
export type Whose = 'request' | 'response';

/**
 * Every way in which a message is not what RFC 9112 says, or could be read in two ways. None is repaired: that is how
 * requests are smuggled. No sentence repeats a byte of the message.
 */
export const faults = {
  // Lines.
  bare_lf: 'has a line that ends in a bare line feed',
  bare_cr: 'has a carriage return without a line feed',
  control_byte: 'has a control byte in its head',
  // Another protocol.
  tls_handshake: 'is a TLS handshake, where plain HTTP is expected',
  http2_preface: 'begins HTTP/2, where HTTP/1.1 is expected',
  // The first line.
  bad_method: 'has a method that is no short token of capitals',
  bad_target: 'has a target with a byte that does not belong there',
  raw_target: 'has a target with a byte beyond ASCII that is not percent-encoded',
  no_version: 'names no version of HTTP in its first line',
  unknown_version: 'is neither HTTP/1.1 nor HTTP/1.0',
  bad_status: 'has a status that is no number from 100 to 999',
  // Fields.
  folded_field: 'has a field that goes on in the next line',
  empty_name: 'has a field without a name',
  bad_name: 'has a field name that is no token',
  space_before_colon: 'has a blank between a field name and its colon',
  no_colon: 'has a field line without a colon',
  // Framing.
  length_and_coding: 'has both Content-Length and Transfer-Encoding',
  bad_length: 'has no single, plain Content-Length',
  bad_coding: 'has a transfer coding other than chunked',
  coding_in_1_0: 'has Transfer-Encoding in HTTP/1.0',
  body_of_connect: 'is a CONNECT with a body',
  framing_in_trailers: 'has a trailer that would frame it or its connection',
  interim_with_body: 'is an interim response that announces a body',
  interim_is_last: 'is an interim response that ends its connection',
  // Chunks.
  bad_chunk_size: 'has a chunk size that is no plain hex number',
  chunk_size_too_large: 'has a chunk size beyond all bounds',
  bad_chunk_extension: 'has a chunk extension that is not well-formed',
  chunk_extension_too_large: 'has a chunk extension that is too long',
  too_much_chunk_overhead: 'has far more bytes around its chunks than in them',
  bad_chunk_end: 'has a chunk that does not end where its size says',
  // Limits.
  head_too_large: 'has a head that is too large',
  too_many_fields: 'has too many header fields',
  trailers_too_large: 'has trailers that are too large',
  too_many_trailers: 'has too many trailers',
  // Connections.
  bytes_behind_last: 'is the last of its connection, and bytes stand behind it',
} as const satisfies Record<string, string>;

/** The name of a fault. */
export type Fault = keyof typeof faults;

/** How much may come; see `limits` of the config. */
export interface HeadLimits {
  /** From the first byte of a head to its end; also of the trailers of a body. */
  readonly head_bytes: number;
  readonly head_fields: number;
}

/** A message that is refused: `bad_request` where it is a request, `upstream_protocol` where it is a response. */
export class Malformed extends SidekeyError {
  readonly fault: Fault;

  constructor(whose: Whose, fault: Fault, limits?: HeadLimits) {
    super(whose === 'request' ? 'bad_request' : 'upstream_protocol', sentence(whose, fault, limits), {
      hint: hintOf(fault),
    });
    this.fault = fault;
  }
}

function sentence(whose: Whose, fault: Fault, limits: HeadLimits | undefined): string {
  const bound = limits === undefined ? '' : boundOf(fault, limits);
  return `The ${whose} ${faults[fault]}${bound}.`;
}

function boundOf(fault: Fault, { head_bytes: bytes, head_fields: fields }: HeadLimits): string {
  switch (fault) {
    case 'head_too_large':
    case 'trailers_too_large':
      return `: more than ${bytes} bytes`;
    case 'too_many_fields':
    case 'too_many_trailers':
      return `: more than ${fields}`;
    default:
      return '';
  }
}

function hintOf(fault: Fault): string | undefined {
  switch (fault) {
    case 'head_too_large':
    case 'trailers_too_large':
      return 'raise limits.head_bytes';
    case 'too_many_fields':
    case 'too_many_trailers':
      return 'raise limits.head_fields';
    case 'raw_target':
      return 'send text in UTF-8, each byte beyond ASCII as %XX; curl does so by --get --data-urlencode';
    case 'tls_handshake':
      return 'write the address of the proxy with http://, not https://; TLS begins inside CONNECT';
    case 'http2_preface':
      return 'speak HTTP/1.1 to the proxy; HTTP/2 is chosen by ALPN inside CONNECT';
    case 'bad_method':
      return 'speak HTTP/1.1 to the proxy; a client of another protocol has come to the wrong port';
    default:
      return undefined;
  }
}
