import { SidekeyError } from '../lib/errors.ts';
import type { Limits } from '../policy/limits.ts';
import { disguisedField } from '../policy/text.ts';
import { valuesOf } from './fields.ts';
import type { RequestHead } from './head.ts';
import { type FieldTable, type RequestHeadBytes, type ResponseHeadBytes, width } from './head.ts';
import { type Fault, known, Malformed, type Whose, ZERO } from './h1/scan.ts';

/**
 * How the body of a request is framed (RFC 9112 §6.3), or why that cannot be told without a guess. A request that two
 * programs could cut at different places is refused, never repaired: that is how requests are smuggled.
 */
export function framingOf({ fields, version }: RequestHead, limits: Limits): BodyPlan | SidekeyError {
  if (fields.length / 2 > limits.head_fields) {
    return refusal(`The request has more than ${limits.head_fields} header fields.`);
  }
  for (let i = 0; i < fields.length; i += 2) {
    const read = disguisedField(fields[i]!);
    if (read !== null) return disguised(read);
  }
  const codings = valuesOf(fields, 'transfer-encoding');
  const lengths = valuesOf(fields, 'content-length');
  if (codings.length > 0) {
    if (lengths.length > 0) return refusal('The request has both Content-Length and Transfer-Encoding.');
    if (version === '1.0') return refusal('The request has Transfer-Encoding in HTTP/1.0.');
    const [coding, ...more] = codings;
    if (more.length > 0 || coding?.toLowerCase() !== 'chunked') {
      return refusal('The request has a transfer coding other than chunked.');
    }
    return { kind: 'chunked' };
  }
  const [length, ...more] = lengths;
  if (length === undefined) return { kind: 'none' };
  if (more.length > 0 || !/^(?:0|[1-9][0-9]{0,14})$/.test(length)) {
    return refusal('The request has no single, plain Content-Length.');
  }
  const bytes = Number(length);
  if (limits.body_bytes > 0 && bytes > limits.body_bytes) return bodyTooLarge(limits.body_bytes);
  return bytes === 0 ? { kind: 'none' } : { kind: 'length', bytes };
}

/** Whether a final response has a body; else its `Content-Length` tells of the one that another would have. */
export function hasResponseBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}

/** The refusal of a body beyond `limits.body_bytes`, whether that was announced or came to pass. */
export function bodyTooLarge(limit: number): SidekeyError {
  return new SidekeyError('body_too_large', `The request body is larger than ${limit} bytes.`, {
    hint: 'raise limits.body_bytes',
  });
}

/** Servers that fold names would frame or route the request by it (RFC 3875 §4.1.18). */
function disguised(read: string): SidekeyError {
  return new SidekeyError('bad_request', `The request has a field that some servers read as ${read}.`, {
    hint: 'write hyphens in its name, or leave it out',
  });
}

function refusal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence);
}

/**
 * Whether an upstream connection can be used for another request when this response is over. Where it cannot, or where
 * bytes have come that nobody asked for, what still comes on it is not to be taken for an answer.
 */
export function isReusable(head: ResponseHeadBytes, plan: ResponsePlan): boolean {
  if (plan.kind === 'until_close' || plan.kind === 'tunnel' || head.status === 101) return false;
  return persists(head) && !announcesInVain(head);
}

/** How the body of a response is framed (RFC 9112 §6.3). `until_close`: it ends with its connection. */
export type ResponsePlan = BodyPlan | { readonly kind: 'until_close' } | { readonly kind: 'tunnel' };

const none: BodyPlan = { kind: 'none' };
const chunked: BodyPlan = { kind: 'chunked' };
const untilClose: ResponsePlan = { kind: 'until_close' };
const tunnel: ResponsePlan = { kind: 'tunnel' };

/** More digits than a length can use: 10^15 - 1 is below the numbers that a double can no longer count one by one. */
const mostDigits = 15;

/**
 * How the body of a request is framed, or why that cannot be told without a guess. `body_bytes` is not asked here.
 */
export function requestPlan(head: RequestHeadBytes): BodyPlan | Malformed {
  const length = announced(head, true);
  if (typeof length === 'string') return new Malformed('request', length);
  if (length === 0 || length === unannounced) return none;
  // What stands behind it is read by one program as its body, and by another as the tunnel's first bytes.
  if (head.method === 'CONNECT') return new Malformed('request', 'body_of_connect');
  return length === inChunks ? chunked : { kind: 'length', bytes: length };
}

/**
 * How the body of a response is framed, or why that cannot be told without a guess.
 *
 * @param method of the request that it answers
 */
export function responsePlan(head: ResponseHeadBytes, method: string): ResponsePlan | Malformed {
  const { status } = head;
  // RFC 9110 §9.3.6: whatever its fields say.
  if (method === 'CONNECT' && status >= 200 && status < 300) return tunnel;
  const length = announced(head);
  if (typeof length === 'string') return new Malformed('response', length);
  if (status < 200) {
    // RFC 9112 §6.3 gives it none, and Node's parser reads that of a 104.
    if (length === inChunks || length > 0) return new Malformed('response', 'interim_with_body');
    if (status !== 101 && !persists(head)) return new Malformed('response', 'interim_is_last');
  }
  if (method === 'HEAD' || isBodiless(status)) return none;
  if (length === unannounced) return untilClose;
  if (length === 0) return none;
  return length === inChunks ? chunked : { kind: 'length', bytes: length };
}

/** Statuses that have no body, whatever the fields say (RFC 9112 §6.3). */
function isBodiless(status: number): boolean {
  return status < 200 || status === 204 || status === 304;
}

/**
 * Whether the head of a 204 or a 304 announces a body. Some servers send it all the same: no such connection is to be used
 * again, and except of a 304's Content-Length the announcement is not to be passed on.
 */
export function announcesInVain(head: ResponseHeadBytes): boolean {
  if (!isBodiless(head.status)) return false;
  const length = announced(head);
  return length === inChunks || (typeof length === 'number' && length > 0);
}

const unannounced = -1;
const inChunks = -2;

/**
 * The length that a head announces, in bytes; `unannounced` or `inChunks`; or what is wrong with it.
 *
 * @param isPlain whether zeros in front are refused, which some servers take for octal
 */
function announced(head: FieldTable & { readonly version: '1.0' | '1.1' }, isPlain = false): number | Fault {
  let length = -1;
  let coding = -1;
  const { offsets } = head;
  for (let at = 0; at < offsets.length; at += width) {
    if (offsets[at] === known['content-length']) {
      if (coding >= 0) return 'length_and_coding';
      if (length >= 0) return 'bad_length';
      length = at;
    } else if (offsets[at] === known['transfer-encoding']) {
      if (length >= 0) return 'length_and_coding';
      if (coding >= 0) return 'bad_coding';
      coding = at;
    }
  }
  if (coding >= 0) {
    if (head.version === '1.0') return 'coding_in_1_0';
    return head.isPlain(coding / width, 'chunked') ? inChunks : 'bad_coding';
  }
  return length < 0 ? unannounced : lengthOf(head, length / width, isPlain);
}

function lengthOf(head: FieldTable, index: number, isPlain: boolean): number | 'bad_length' {
  const { bytes, base, offsets } = head;
  const start = base + offsets[index * width + 3]!;
  const end = base + offsets[index * width + 4]!;
  // Tabs are blanks, and not to every program.
  if (start === end || end - start > mostDigits || head.hasTabs(index)) return 'bad_length';
  if (isPlain && bytes[start] === ZERO && end - start > 1) return 'bad_length';
  let length = 0;
  for (let i = start; i < end; i += 1) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9) return 'bad_length';
    length = length * 10 + digit;
  }
  return length;
}

/** What bytes behind the last message of a connection are: nobody asked for them, and they are not to be served. */
export function bytesBehindLast(whose: Whose): Malformed {
  return new Malformed(whose, 'bytes_behind_last');
}

/** How the body of a request is framed (RFC 9112 §6). */
export type BodyPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' };

/**
 * Whether a message leaves its connection open for another one (RFC 9112 §9.3). `close` goes before all else; where a
 * client of old says it of its proxy (`Proxy-Connection`), it is heard too, and `keep-alive` there is not.
 */
export function persists(head: FieldTable & { readonly version: '1.0' | '1.1' }): boolean {
  if (head.lists('connection', 'close') || head.lists('proxy-connection', 'close')) return false;
  return head.version === '1.1' || head.lists('connection', 'keep-alive');
}
