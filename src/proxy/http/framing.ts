import { SidekeyError } from '../../lib/errors.ts';
import type { Limits } from '../policy/limits.ts';
import { disguisedField } from '../policy/text.ts';
import { type Fault, known, Malformed, type Whose } from './h1/scan.ts';
import {
  FieldList,
  type FieldTable,
  type HeadFields,
  type RequestHead,
  type RequestHeadBytes,
  type ResponseHeadBytes,
} from './head.ts';

/** Message framing (RFC 9112 §6). Ambiguous framing enables smuggling: here it is refused. */

/** The framing of a request body. */
export type BodyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' };

/** The framing of a response body (RFC 9112 §6.3). `until_close`: the body ends with its connection. */
export type ResponseFraming = BodyFraming | { readonly kind: 'until_close' } | { readonly kind: 'tunnel' };

const none: BodyFraming = { kind: 'none' };
const chunked: BodyFraming = { kind: 'chunked' };
const untilClose: ResponseFraming = { kind: 'until_close' };
const tunnel: ResponseFraming = { kind: 'tunnel' };

/**
 * Returns the framing of a request of HTTP/1.1 or HTTP/2, or the reason to refuse it: an ambiguous length,
 * too many fields, a disguised field name, or a body above `limits.body_bytes`.
 */
export function framingOf({ fields, version }: RequestHead, limits: Limits): BodyFraming | SidekeyError {
  if (fields.length / 2 > limits.head_fields) {
    return new SidekeyError('bad_request', `The request has more than ${limits.head_fields} header fields.`);
  }
  for (let i = 0; i < fields.length; i += 2) {
    const read = disguisedField(fields[i]!);
    if (read !== null) return disguised(read);
  }
  const length = announced(new FieldList(fields), version === '1.0', true);
  if (typeof length === 'string') return new Malformed('request', length);
  if (limits.body_bytes > 0 && length > limits.body_bytes) return bodyTooLarge(limits.body_bytes);
  return framingOfLength(length);
}

/** Returns the error for a body larger than `limits.body_bytes`. */
export function bodyTooLarge(limit: number): SidekeyError {
  return new SidekeyError('body_too_large', `The request body is larger than ${limit} bytes.`, {
    hint: 'raise limits.body_bytes',
  });
}

/** Servers that map names to CGI variables would frame or route by such a field (RFC 3875 §4.1.18). */
function disguised(read: string): SidekeyError {
  return new SidekeyError('bad_request', `The request has a field that some servers read as ${read}.`, {
    hint: 'write hyphens in its name, or leave it out',
  });
}

/** Returns the framing of an HTTP/1.1 request, or its fault. Only `framingOf` checks the limits. */
export function requestFraming(head: RequestHeadBytes): BodyFraming | Malformed {
  const length = announced(head, head.version === '1.0', true);
  if (typeof length === 'string') return new Malformed('request', length);
  const framing = framingOfLength(length);
  // One program would read the next bytes as a body, another as the first bytes of the tunnel.
  if (framing.kind !== 'none' && head.method === 'CONNECT')
    return new Malformed('request', 'body_of_connect');
  return framing;
}

/**
 * Returns the framing of an HTTP/1.1 response, or its fault.
 *
 * @param method of the request
 */
export function responseFraming(head: ResponseHeadBytes, method: string): ResponseFraming | Malformed {
  const { status } = head;
  // RFC 9110 §9.3.6: the fields are ignored.
  if (method === 'CONNECT' && status >= 200 && status < 300) return tunnel;
  const length = announced(head, head.version === '1.0', false);
  if (typeof length === 'string') return new Malformed('response', length);
  if (status < 200) {
    // RFC 9112 §6.3 allows no body, but Node's parser reads the body of a 104.
    if (length === inChunks || length > 0) return new Malformed('response', 'interim_with_body');
    if (status !== 101 && !persists(head)) return new Malformed('response', 'interim_is_last');
  }
  if (!hasResponseBody(method, status)) return none;
  return length === unannounced ? untilClose : framingOfLength(length);
}

/** Reports whether a response has a body. If not, `Content-Length` describes another response's body. */
export function hasResponseBody(method: string, status: number): boolean {
  return method !== 'HEAD' && !isBodiless(status);
}

/** Reports whether responses of this status never have a body, despite their fields (RFC 9112 §6.3). */
function isBodiless(status: number): boolean {
  return status < 200 || status === 204 || status === 304;
}

/**
 * Reports whether a 204 or 304 announces a body, as some servers do. The connection must not be reused, and
 * only the `Content-Length` of a 304 may be forwarded.
 */
export function announcesInVain(head: ResponseHeadBytes): boolean {
  if (!isBodiless(head.status)) return false;
  const length = announced(head, head.version === '1.0', false);
  return length === inChunks || (typeof length === 'number' && length > 0);
}

/** Reports whether an upstream connection can be reused after this response. */
export function isReusable(head: ResponseHeadBytes, framing: ResponseFraming): boolean {
  if (framing.kind === 'until_close' || framing.kind === 'tunnel' || head.status === 101) return false;
  return persists(head) && !announcesInVain(head);
}

/**
 * Reports whether the connection stays open after a message (RFC 9112 §9.3). `close` has precedence. Old
 * clients send `Proxy-Connection`: its `close` counts, its `keep-alive` does not.
 */
export function persists(head: FieldTable & { readonly version: '1.0' | '1.1' }): boolean {
  if (head.lists('connection', 'close') || head.lists('proxy-connection', 'close')) return false;
  return head.version === '1.1' || head.lists('connection', 'keep-alive');
}

/** Returns the error for bytes after the last message of a connection. */
export function bytesBehindLast(whose: Whose): Malformed {
  return new Malformed(whose, 'bytes_behind_last');
}

const unannounced = -1;
const inChunks = -2;

function framingOfLength(length: number): BodyFraming {
  if (length === inChunks) return chunked;
  if (length === unannounced || length === 0) return none;
  if (lastLength.bytes !== length) lastLength = { kind: 'length', bytes: length };
  return lastLength;
}

/** The last result. Each response needs it twice, and many have the length of the one before. */
let lastLength: { readonly kind: 'length'; readonly bytes: number } = { kind: 'length', bytes: 0 };

/**
 * Returns the announced length in bytes, `unannounced`, `inChunks`, or a fault.
 *
 * @param isPlain refuses leading zeros, which some servers read as octal
 */
function announced(head: HeadFields, isHttp10: boolean, isPlain: boolean): number | Fault {
  let length = -1;
  let coding = -1;
  for (let index = 0; index < head.count; index += 1) {
    const name = head.numberAt(index);
    if (name === known['content-length']) {
      if (coding >= 0) return 'length_and_coding';
      if (length >= 0) return 'bad_length';
      length = index;
    } else if (name === known['transfer-encoding']) {
      if (length >= 0) return 'length_and_coding';
      if (coding >= 0) return 'bad_coding';
      coding = index;
    }
  }
  if (coding >= 0) {
    if (isHttp10) return 'coding_in_1_0';
    return head.isPlain(coding, 'chunked') ? inChunks : 'bad_coding';
  }
  if (length < 0) return unannounced;
  // Some programs do not accept tabs as blanks. A number of 15 digits is exact in a double.
  const bytes = head.hasTabs(length) ? -1 : head.lengthAt(length, isPlain);
  return bytes < 0 ? 'bad_length' : bytes;
}

/** The head of a WebSocket frame (RFC 6455 §5.2). */
interface FrameHead {
  readonly opcode: number;
  readonly isFinal: boolean;
  /** Control frames may appear between the fragments of a message (§5.4). Maximum payload: 125 bytes. */
  readonly isControl: boolean;
  /** Number of bytes of the head, including its mask. */
  readonly length: number;
  /** Number of bytes of the payload. */
  readonly payload: number;
  /** The mask of a client's frame, a view of the input. Empty for servers. */
  readonly mask: Buffer;
}

const firstControl = 8;

/** Reads the head of a frame. `malformed`: an extension, or the wrong masking for its sender (§5.1). */
export function readFrameHead(
  bytes: Buffer,
  sender: 'client' | 'server',
): FrameHead | 'incomplete' | 'malformed' {
  if (bytes.length < 2) return 'incomplete';
  const [first, second] = [bytes[0]!, bytes[1]!];
  const isMasked = (second & 0x80) !== 0;
  if ((first & 0x70) !== 0 || isMasked !== (sender === 'client')) return 'malformed';
  const short = second & 0x7f;
  const start = short === 127 ? 10 : short === 126 ? 4 : 2;
  const length = isMasked ? start + 4 : start;
  if (bytes.length < length) return 'incomplete';
  const payload =
    short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  const opcode = first & 0x0f;
  const isControl = opcode >= firstControl;
  if (!Number.isSafeInteger(payload) || (isControl && payload > 125)) return 'malformed';
  const mask = bytes.subarray(start, length);
  return { opcode, isFinal: (first & 0x80) !== 0, isControl, length, payload, mask };
}
