import type { BodyPlan } from '../../inject/body-plan.ts';
import { ZERO } from './bytes.ts';
import { Malformed, type Fault, type Whose } from './faults.ts';
import { width, type FieldTable } from './field-table.ts';
import { known } from './known-names.ts';
import { persists } from './persistence.ts';
import type { RequestHeadBytes } from './request-head.ts';
import type { ResponseHeadBytes } from './response-head.ts';

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
